/* Yardsticks of `kms-grpc bench`: bare AES-256-GCM by EVP, as a careful programmer would write it, and one kms_seal
 * after another. The service itself calls none of this. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "core.h"

#define KEY_SIZE 32
#define NONCE_SIZE 12
#define TAG_SIZE 16

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

static kms_status end(struct yardstick *yardstick, int well) {
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

kms_status kms_reference_seal(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = seal_one(&yardstick, out + i * (len + TAG_SIZE), in + i * len);
    }
    return end(&yardstick, well);
}

kms_status kms_reference_open(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = open_one(&yardstick, out + i * len, in + i * (len + TAG_SIZE));
    }
    return end(&yardstick, well);
}

kms_status kms_reference_seal_singly(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                                     size_t len, size_t count) {
    struct yardstick yardstick = {.associated = associated, .associated_len = associated_len, .len = len};
    int well = begin(&yardstick);
    for (size_t i = 0; well && i < count; i++) {
        choose(&yardstick, i);
        well = RAND_bytes(yardstick.nonce, NONCE_SIZE) == 1 && seal_one(&yardstick, out, in);
    }
    return end(&yardstick, well);
}

kms_status kms_reference_speed(uint8_t *buffer, size_t len, size_t count) {
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

kms_status kms_seal_singly(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                           const uint8_t *associated, size_t associated_len, const uint8_t *plaintext,
                           size_t plaintext_len, size_t count) {
    kms_status status = KMS_OK;
    for (size_t i = 0; status == KMS_OK && i < count; i++)
        status =
            kms_seal(blob, blob_len, key, prefix, prefix_len, associated, associated_len, plaintext, plaintext_len);
    return status;
}
