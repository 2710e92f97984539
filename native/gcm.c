#include "gcm.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <string.h>

#define JOINED_AT_MOST 512

static int associate(EVP_CIPHER_CTX *gcm, const uint8_t *bytes, size_t len) {
    int ignored = 0;
    return len == 0 || EVP_CipherUpdate(gcm, NULL, &ignored, bytes, (int)len) == 1;
}

/* An EVP update costs more than copying a few hundred bytes, so short associated data is joined first. */
static int associate_all(EVP_CIPHER_CTX *gcm, const struct kms_message *message) {
    uint8_t joined[JOINED_AT_MOST];
    int one_is_empty = message->header_len == 0 || message->associated_len == 0;
    if (one_is_empty || message->header_len + message->associated_len > sizeof joined)
        return associate(gcm, message->header, message->header_len) &&
               associate(gcm, message->associated, message->associated_len);
    memcpy(joined, message->header, message->header_len);
    memcpy(joined + message->header_len, message->associated, message->associated_len);
    return associate(gcm, joined, message->header_len + message->associated_len);
}

/* Reads the tag by OSSL_PARAM, because EVP_CIPHER_CTX_ctrl first searches a table, which costs as much as sealing 150
 * bytes. */
int kms_gcm_tag(EVP_CIPHER_CTX *gcm, uint8_t tag[KMS_TAG_SIZE]) {
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, KMS_TAG_SIZE),
                               OSSL_PARAM_construct_end()};
    return EVP_CIPHER_CTX_get_params(gcm, parameters) == 1;
}

int kms_gcm_seal(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message) {
    int len = 0;
    const int size = (int)message->len;
    return EVP_EncryptInit_ex2(gcm, NULL, key, message->nonce + 12, NULL) == 1 && associate_all(gcm, message) &&
           EVP_EncryptUpdate(gcm, message->out, &len, message->in, size) == 1 && len == size &&
           EVP_EncryptFinal_ex(gcm, message->out + size, &len) == 1 && kms_gcm_tag(gcm, message->out + size);
}

int kms_gcm_open(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message) {
    int len = 0;
    const int size = (int)message->len;
    uint8_t *tag = (uint8_t *)message->in + size; /* not written; EVP_CIPHER_CTX_ctrl lacks const */
    return EVP_DecryptInit_ex2(gcm, NULL, key, message->nonce + 12, NULL) == 1 &&
           EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_SET_TAG, KMS_TAG_SIZE, tag) == 1 && associate_all(gcm, message) &&
           EVP_DecryptUpdate(gcm, message->out, &len, message->in, size) == 1 && len == size &&
           EVP_DecryptFinal_ex(gcm, message->out + size, &len) == 1;
}
