/* AES-256-GCM by EVP: one message under one key, in a reused context. */
#ifndef KMS_GCM_H
#define KMS_GCM_H

#include <openssl/evp.h>

#include "xaes.h"

/* Writes ciphertext and tag to message->out. The GCM nonce is bytes 12-23 of message->nonce. Returns 1, or 0 if
 * libcrypto fails. */
int kms_gcm_seal(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message);

/* Writes the tag of the last encrypted message. Returns 1, or 0 if libcrypto fails. */
int kms_gcm_tag(EVP_CIPHER_CTX *gcm, uint8_t tag[KMS_TAG_SIZE]);

/* Decrypts. Returns 1, or 0 if the tag is wrong; then message->out holds unauthenticated bytes, which the caller
 * wipes. */
int kms_gcm_open(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message);

#endif
