/* Yardsticks of `kms-grpc bench`: bare AES-256-GCM by EVP, as a careful programmer would write it. Nothing of the service
 * calls them. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "core.h"

#define KEY_SIZE 32
#define NONCE_SIZE 12
#define TAG_SIZE 16

struct reference {
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *context;
    uint8_t key[KEY_SIZE];
    uint8_t nonce[NONCE_SIZE];
    const uint8_t *associated;
    size_t associated_len;
    size_t len;
};

static int begin(struct reference *reference) {
    reference->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    reference->context = EVP_CIPHER_CTX_new();
    return reference->cipher && reference->context &&
           EVP_EncryptInit_ex2(reference->context, reference->cipher, reference->key, reference->nonce, NULL) == 1;
}

static kms_status end(struct reference *reference, int well) {
    EVP_CIPHER_CTX_free(reference->context);
    EVP_CIPHER_free(reference->cipher);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* A key and a nonce of its own for each message. */
static void choose(struct reference *reference, size_t number) {
    memcpy(reference->key, &number, sizeof number);
    memcpy(reference->nonce, &number, sizeof number);
}

static int seal_one(struct reference *r, uint8_t *out, const uint8_t *in) {
    int len = 0;
    return EVP_EncryptInit_ex2(r->context, NULL, r->key, r->nonce, NULL) == 1 &&
           EVP_EncryptUpdate(r->context, NULL, &len, r->associated, (int)r->associated_len) == 1 &&
           EVP_EncryptUpdate(r->context, out, &len, in, (int)r->len) == 1 &&
           EVP_EncryptFinal_ex(r->context, out + r->len, &len) == 1 &&
           EVP_CIPHER_CTX_ctrl(r->context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + r->len) == 1;
}

static int open_one(struct reference *r, uint8_t *out, const uint8_t *in) {
    int len = 0;
    return EVP_DecryptInit_ex2(r->context, NULL, r->key, r->nonce, NULL) == 1 &&
           EVP_DecryptUpdate(r->context, NULL, &len, r->associated, (int)r->associated_len) == 1 &&
           EVP_DecryptUpdate(r->context, out, &len, in, (int)r->len) == 1 &&
           EVP_CIPHER_CTX_ctrl(r->context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (uint8_t *)in + r->len) == 1 &&
           EVP_DecryptFinal_ex(r->context, out + r->len, &len) == 1;
}

kms_status kms_reference_seal(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count) {
    struct reference reference = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&reference);
    for (size_t i = 0; well && i < count; i++) {
        choose(&reference, i);
        well = seal_one(&reference, out + i * (len + TAG_SIZE), in + i * len);
    }
    return end(&reference, well);
}

kms_status kms_reference_open(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count) {
    struct reference reference = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&reference);
    for (size_t i = 0; well && i < count; i++) {
        choose(&reference, i);
        well = open_one(&reference, out + i * len, in + i * (len + TAG_SIZE));
    }
    return end(&reference, well);
}

kms_status kms_reference_seal_singly(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                                     size_t len, size_t count) {
    struct reference reference = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&reference);
    for (size_t i = 0; well && i < count; i++) {
        choose(&reference, i);
        well = RAND_bytes(reference.nonce, NONCE_SIZE) == 1 && seal_one(&reference, out, in);
    }
    return end(&reference, well);
}

kms_status kms_reference_speed(uint8_t *buffer, size_t len, size_t count) {
    static const uint8_t associated[13];
    struct reference r = {.associated = associated, .associated_len = sizeof associated, .len = len};
    int ignored = 0, well = begin(&r);
    for (size_t i = 0; well && i < count; i++)
        well = EVP_EncryptInit_ex2(r.context, NULL, NULL, r.nonce, NULL) == 1 &&
               EVP_EncryptUpdate(r.context, NULL, &ignored, r.associated, (int)r.associated_len) == 1 &&
               EVP_EncryptUpdate(r.context, buffer, &ignored, buffer, (int)len) == 1 &&
               EVP_EncryptFinal_ex(r.context, buffer + len, &ignored) == 1;
    return end(&r, well);
}

kms_status kms_seal_singly(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                           const uint8_t *associated, size_t associated_len, const uint8_t *plaintext,
                           size_t plaintext_len, size_t count) {
    kms_status status = KMS_OK;
    for (size_t i = 0; status == KMS_OK && i < count; i++)
        status =
            kms_seal(blob, blob_len, key, prefix, prefix_len, associated, associated_len, plaintext, plaintext_len);
    return status;
}
