/* Algorithm suites of the AWS Encryption SDK: key derivation and AES-GCM.
 *
 *     version 2   key         HKDF(salt: message id, data key, info: suite || "DERIVEKEY")
 *                 commitment  HKDF(salt: message id, data key, info: "COMMITKEY")
 *     version 1   key         HKDF(no salt, data key, info: suite || message id), or the data key itself
 *
 * HKDF: RFC 5869.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#include "ciphers.h"
#include "esdk.h"
#include "gcm.h"
#include "keyring.h"

static const struct kms_esdk_suite suites[] = {
    {0x0478, 2, 32, 32, 0, "SHA512"}, {0x0578, 2, 32, 32, 1, "SHA512"}, {0x0378, 1, 32, 16, 1, "SHA384"},
    {0x0346, 1, 24, 16, 1, "SHA384"}, {0x0214, 1, 16, 16, 1, "SHA256"}, {0x0178, 1, 32, 16, 0, "SHA256"},
    {0x0146, 1, 24, 16, 0, "SHA256"}, {0x0114, 1, 16, 16, 0, "SHA256"}, {0x0078, 1, 32, 16, 0, NULL},
    {0x0046, 1, 24, 16, 0, NULL},     {0x0014, 1, 16, 16, 0, NULL},
};

const struct kms_esdk_suite *kms_esdk_suite(uint16_t id) {
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if (suites[i].id == id) return &suites[i];
    return NULL;
}

/* --- derivation --------------------------------------------------------------------------------------------------- */

struct input {
    const char *digest;
    const uint8_t *data_key;
    size_t data_key_len;
    const uint8_t *salt;
    size_t salt_len;
};

static int hkdf(uint8_t *out, size_t len, const struct input *input, const uint8_t *info, size_t info_len) {
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[5] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)input->digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)input->data_key, input->data_key_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_len), OSSL_PARAM_construct_end(),
        OSSL_PARAM_construct_end()};
    if (input->salt_len > 0)
        params[3] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)input->salt, input->salt_len);
    int well = context && EVP_KDF_derive(context, out, len, params) == 1;
    EVP_KDF_CTX_free(context); /* clears the data key */
    EVP_KDF_free(kdf);
    return well;
}

static int derive_committing(uint8_t *key, uint8_t *commitment, const struct kms_esdk_suite *suite,
                             const uint8_t *message_id, const uint8_t *data_key) {
    uint8_t info[2 + 9];
    const struct input input = {suite->digest, data_key, suite->key_len, message_id, suite->message_id_len};
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): bytes, no string */
    memcpy(kms_put_u16(info, suite->id), "DERIVEKEY", 9);
    return hkdf(key, 32, &input, info, sizeof info) &&
           hkdf(commitment, KMS_ESDK_COMMITMENT_SIZE, &input, (const uint8_t *)"COMMITKEY", 9);
}

static int derive_plainly(uint8_t *key, const struct kms_esdk_suite *suite, const uint8_t *message_id,
                          const uint8_t *data_key) {
    uint8_t info[2 + 16];
    const struct input input = {suite->digest, data_key, suite->key_len, NULL, 0};
    if (!suite->digest) {
        memcpy(key, data_key, suite->key_len);
        return 1;
    }
    memcpy(kms_put_u16(info, suite->id), message_id, 16);
    return hkdf(key, suite->key_len, &input, info, sizeof info);
}

kms_status kms_esdk_derive(uint64_t *key, uint8_t commitment[KMS_ESDK_COMMITMENT_SIZE],
                           const struct kms_esdk_suite *suite, const uint8_t *message_id, const uint8_t *data_key,
                           size_t data_key_len) {
    union kms_key derived;
    memset(&derived, 0, sizeof derived);
    memset(commitment, 0, KMS_ESDK_COMMITMENT_SIZE);
    *key = 0;
    if (data_key_len != suite->key_len) return KMS_WRONG_LENGTH;
    int well = suite->version == 2 ? derive_committing(derived.key, commitment, suite, message_id, data_key)
                                   : derive_plainly(derived.key, suite, message_id, data_key);
    kms_status status = well ? kms_keyring_put(key, &derived, KMS_STREAM_KEY) : KMS_CIPHER_FAILED;
    OPENSSL_cleanse(&derived, sizeof derived);
    if (status != KMS_OK) OPENSSL_cleanse(commitment, KMS_ESDK_COMMITMENT_SIZE);
    return status;
}

/* --- AES-GCM ------------------------------------------------------------------------------------------------------ */

/* Returns the thread's context for AES-256. Smaller keys, which only old messages have, get a context for the call. */
static EVP_CIPHER_CTX *context_for(struct kms_ciphers *of_thread, const struct kms_esdk_suite *suite) {
    static const uint8_t zeros[32];
    if (suite->key_len == 32) return of_thread->gcm;
    EVP_CIPHER *fetched = EVP_CIPHER_fetch(NULL, suite->key_len == 16 ? "AES-128-GCM" : "AES-192-GCM", NULL);
    EVP_CIPHER_CTX *made = EVP_CIPHER_CTX_new();
    int well = fetched && made && EVP_EncryptInit_ex2(made, fetched, zeros, zeros, NULL) == 1;
    EVP_CIPHER_free(fetched);
    if (well) return made;
    EVP_CIPHER_CTX_free(made);
    return NULL;
}

kms_status kms_esdk_cipher_begin(struct kms_esdk_cipher *cipher, uint64_t key, const struct kms_esdk_suite *suite,
                                 int encrypts) {
    static const uint8_t nonce[KMS_ESDK_NONCE_SIZE];
    union kms_key copy;
    *cipher = (struct kms_esdk_cipher){.encrypts = encrypts};
    kms_status status = kms_ciphers_of_thread(&cipher->of_thread);
    if (status != KMS_OK) return status;
    status = kms_keyring_get(&copy, key, KMS_STREAM_KEY);
    if (status == KMS_OK) {
        cipher->gcm = context_for(cipher->of_thread, suite);
        if (!cipher->gcm || EVP_CipherInit_ex2(cipher->gcm, NULL, copy.key, nonce, encrypts, NULL) != 1)
            status = KMS_CIPHER_FAILED;
    }
    OPENSSL_cleanse(&copy, sizeof copy);
    return status;
}

/* Memory is slower than the cipher, and the hardware prefetcher stops at the end of a page. So while the cipher works
 * on one piece, the code prefetches the cache lines one piece ahead, for writing or for reading. */
#define PIECE 4096
#define CACHE_LINE 64

/* For a buffer that is not part of the call's (a held frame) the prefetch is useless but harmless. */
#define FETCH_AHEAD(piece, len, end, writes)                                                            \
    for (size_t i = PIECE; i < PIECE + (len) + CACHE_LINE && (uintptr_t)(piece) + i < (uintptr_t)(end); \
         i += CACHE_LINE)                                                                               \
    __builtin_prefetch((piece) + i, writes)

static int update(const struct kms_esdk_cipher *cipher, uint8_t *out, const uint8_t *in, size_t len) {
    const size_t piece = cipher->out_end ? PIECE : KMS_ESDK_MAXIMUM_FRAME;
    int written = 0;
    for (size_t done = 0; done < len; done += piece) {
        const int size = (int)(len - done < piece ? len - done : piece);
        FETCH_AHEAD(out + done, (size_t)size, cipher->out_end, 1);
        FETCH_AHEAD(in + done, (size_t)size, cipher->in_end, 0);
        if (EVP_CipherUpdate(cipher->gcm, out + done, &written, in + done, size) != 1 || written != size) return 0;
    }
    return 1;
}

int kms_esdk_cipher_run(struct kms_esdk_cipher *cipher, uint8_t *out, uint8_t *tag, const uint8_t *nonce,
                        const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len) {
    EVP_CIPHER_CTX *gcm = cipher->gcm;
    uint8_t nothing[KMS_ESDK_TAG_SIZE]; /* EVP_CipherFinal_ex writes nothing for GCM, but needs a pointer */
    int written = 0;
    if (EVP_CipherInit_ex2(gcm, NULL, NULL, nonce, cipher->encrypts, NULL) != 1) return 0;
    if (!cipher->encrypts && EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_SET_TAG, KMS_ESDK_TAG_SIZE, tag) != 1) return 0;
    if (EVP_CipherUpdate(gcm, NULL, &written, associated, (int)associated_len) != 1) return 0;
    if (!update(cipher, out, in, len) || EVP_CipherFinal_ex(gcm, nothing, &written) != 1) return 0;
    return !cipher->encrypts || kms_gcm_tag(gcm, tag);
}

void kms_esdk_cipher_end(struct kms_esdk_cipher *cipher) {
    if (!cipher->of_thread) return;
    if (cipher->gcm != cipher->of_thread->gcm) EVP_CIPHER_CTX_free(cipher->gcm); /* clears the key */
    kms_ciphers_forget(cipher->of_thread);
}
