/* AES-256-GCM by EVP: one message under one key, in a context that is used again. */
#ifndef KMS_GCM_H
#define KMS_GCM_H

#include <openssl/evp.h>

#include "xaes.h"

/* Ciphertext and tag to message->out; the GCM nonce is bytes 12-23 of message->nonce. 1, or 0 where libcrypto refuses. */
int kms_gcm_seal(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message);

/* The tag of what was encrypted last. 1, or 0. */
int kms_gcm_tag(EVP_CIPHER_CTX *gcm, uint8_t tag[KMS_TAG_SIZE]);

/* 1, or 0 where the tag is wrong: message->out then holds what must not be used. */
int kms_gcm_open(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message);

#endif
