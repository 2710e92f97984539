/* Bare AES-256-GCM by EVP, as a careful programmer would write it, and loops over functions of the core. See
 * yardsticks.cdef.h. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "core.h"
#include "yardsticks.cdef.h"

#define KEY_SIZE 32
#define NONCE_SIZE 12
#define TAG_SIZE 16
#define BLOB_SIZE (KEY_SIZE + KMS_BLOB_OVERHEAD)

_Static_assert(YARDSTICK_ENVELOPE_OVERHEAD == BLOB_SIZE + NONCE_SIZE + TAG_SIZE, "blob, nonce, tag");

typedef __typeof__(&kms_seal) seal_function;
typedef __typeof__(&kms_seal_many) seal_many_function;
typedef __typeof__(&kms_open_many) open_many_function;
typedef __typeof__(&kms_random) random_function;

struct yardstick {
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *context;
    uint8_t key[KEY_SIZE];
    uint8_t nonce[NONCE_SIZE];
    const uint8_t *associated;
    size_t associated_len;
    size_t len;
};

static int begin(struct yardstick *yardstick) {
    yardstick->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    yardstick->context = EVP_CIPHER_CTX_new();
    return yardstick->cipher && yardstick->context &&
           EVP_EncryptInit_ex2(yardstick->context, yardstick->cipher, yardstick->key, yardstick->nonce, NULL) == 1;
}

static int end(struct yardstick *yardstick, int well) {
    EVP_CIPHER_CTX_free(yardstick->context);
    EVP_CIPHER_free(yardstick->cipher);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* Sets another key and nonce for each message. */
static void choose(struct yardstick *yardstick, size_t number) {
    memcpy(yardstick->key, &number, sizeof number);
    memcpy(yardstick->nonce, &number, sizeof number);
}

static int seal_one(struct yardstick *r, uint8_t *out, const uint8_t *in) {
    int len = 0;
    return EVP_EncryptInit_ex2(r->context, NULL, r->key, r->nonce, NULL) == 1 &&
           EVP_EncryptUpdate(r->context, NULL, &len, r->associated, (int)r->associated_len) == 1 &&
           EVP_EncryptUpdate(r->context, out, &len, in, (int)r->len) == 1 &&
           EVP_EncryptFinal_ex(r->context, out + r->len, &len) == 1 &&
           EVP_CIPHER_CTX_ctrl(r->context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + r->len) == 1;
}

static int open_one(struct yardstick *r, uint8_t *out, const uint8_t *in) {
    int len = 0;
    return EVP_DecryptInit_ex2(r->context, NULL, r->key, r->nonce, NULL) == 1 &&
           EVP_DecryptUpdate(r->context, NULL, &len, r->associated, (int)r->associated_len) == 1 &&
           EVP_DecryptUpdate(r->context, out, &len, in, (int)r->len) == 1 &&
           EVP_CIPHER_CTX_ctrl(r->context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (uint8_t *)in + r->len) == 1 &&
           EVP_DecryptFinal_ex(r->context, out + r->len, &len) == 1;
}

int yardstick_bare_seal(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len,
                        size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = seal_one(&yardstick, out + i * (len + TAG_SIZE), in + i * len);
    }
    return end(&yardstick, well);
}

int yardstick_bare_open(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len,
                        size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = open_one(&yardstick, out + i * len, in + i * (len + TAG_SIZE));
    }
    return end(&yardstick, well);
}

int yardstick_bare_seal_singly(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                               size_t len, size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = RAND_bytes(yardstick.nonce, NONCE_SIZE) == 1 && seal_one(&yardstick, out, in);
    }
    return end(&yardstick, well);
}

int yardstick_speed(uint8_t *buffer, size_t len, size_t count) {
    static const uint8_t associated[13];
    struct yardstick r = {.associated = associated, .associated_len = sizeof associated, .len = len};
    int ignored = 0, well = begin(&r);
    for (size_t i = 0; well && i < count; i++)
        well = EVP_EncryptInit_ex2(r.context, NULL, NULL, r.nonce, NULL) == 1 &&
               EVP_EncryptUpdate(r.context, NULL, &ignored, r.associated, (int)r.associated_len) == 1 &&
               EVP_EncryptUpdate(r.context, buffer, &ignored, buffer, (int)len) == 1 &&
               EVP_EncryptFinal_ex(r.context, buffer + len, &ignored) == 1;
    return end(&r, well);
}

int yardstick_seal_many(void *seal_many, uint8_t *blobs, size_t blobs_len, uint64_t key, const uint8_t *prefix,
                        size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *plaintexts,
                        const uint32_t *lengths, size_t count) {
    return (int)((seal_many_function)seal_many)(blobs, blobs_len, key, prefix, prefix_len, associated, associated_len,
                                                plaintexts, lengths, count);
}

int yardstick_open_many(void *open_many, uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, uint64_t key,
                        const uint8_t *associated, size_t associated_len, const uint8_t *blobs, const uint32_t *lengths,
                        size_t count) {
    return (int)((open_many_function)open_many)(plaintexts, plaintexts_len, statuses, key, associated, associated_len,
                                                blobs, lengths, count);
}

int yardstick_seal_singly(void *seal, uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix,
                          size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *plaintext,
                          size_t plaintext_len, size_t count) {
    kms_status status = KMS_OK;
    for (size_t i = 0; status == KMS_OK && i < count; i++)
        status = ((seal_function)seal)(blob, blob_len, key, prefix, prefix_len, associated, associated_len, plaintext,
                                       plaintext_len);
    return (int)status;
}

/* Encrypts each message under its data key, behind its blob and its nonce. */
static int encrypt_behind(uint8_t *envelopes, const uint8_t *data_keys, const uint8_t *nonces, const uint8_t *blobs,
                          const uint8_t *in, size_t len, size_t count) {
    struct yardstick r = {.associated_len = 0, .len = len};
    int well = begin(&r);
    for (size_t i = 0; well && i < count; i++, envelopes += len + YARDSTICK_ENVELOPE_OVERHEAD) {
        memcpy(envelopes, blobs + i * BLOB_SIZE, BLOB_SIZE);
        memcpy(r.key, data_keys + i * KEY_SIZE, KEY_SIZE);
        memcpy(r.nonce, nonces + i * NONCE_SIZE, NONCE_SIZE);
        memcpy(envelopes + BLOB_SIZE, r.nonce, NONCE_SIZE);
        well = seal_one(&r, envelopes + BLOB_SIZE + NONCE_SIZE, in + i * len);
    }
    OPENSSL_cleanse(r.key, sizeof r.key);
    return end(&r, well);
}

int yardstick_envelopes(void *seal_many, void *random, uint8_t *envelopes, uint8_t *work, const uint32_t *lengths,
                        uint64_t key, const uint8_t *prefix, size_t prefix_len, const uint8_t *associated,
                        size_t associated_len, const uint8_t *in, size_t len, size_t count) {
    uint8_t *nonces = work + count * KEY_SIZE, *blobs = nonces + count * NONCE_SIZE;
    int status = (int)((random_function)random)(work, count * (KEY_SIZE + NONCE_SIZE));
    if (status == KMS_OK)
        status = yardstick_seal_many(seal_many, blobs, count * BLOB_SIZE, key, prefix, prefix_len, associated,
                                     associated_len, work, lengths, count);
    if (status == KMS_OK) status = encrypt_behind(envelopes, work, nonces, blobs, in, len, count);
    OPENSSL_cleanse(work, count * KEY_SIZE);
    return status;
}
