/* libcrypto's ciphers: fetched once per process, a set of contexts per thread. */
#ifndef KMS_CIPHERS_H
#define KMS_CIPHERS_H

#include <openssl/evp.h>

#include "core.h"

/* Contexts live in OpenSSL's heap, so they hold a key only while a call runs: see kms_ciphers_forget. */
struct kms_ciphers {
    EVP_CIPHER_CTX *ecb;
    EVP_CIPHER_CTX *gcm;
    EVP_MAC_CTX *hmac;
};

/* The calling thread's contexts; freed when it ends. KMS_CIPHER_FAILED, KMS_OUT_OF_MEMORY. */
kms_status kms_ciphers_of_thread(struct kms_ciphers **ciphers);

/* Overwrites what the last call left in the AES contexts (key schedules, hash keys, keystream) and in registers. */
void kms_ciphers_forget(struct kms_ciphers *ciphers);

/* HMAC-SHA-256 over `count` parts, one after the other. */
struct kms_part {
    const uint8_t *bytes;
    size_t len;
};
kms_status kms_hmac(uint8_t out[32], const uint8_t key[32], const struct kms_part *parts, size_t count);

/* One block of the counter-mode KDF of SP 800-108r1: HMAC(key, 00000001 || label || 00 || context || 00000100). */
kms_status kms_derive(uint8_t out[32], const uint8_t key[32], const char *label, const uint8_t *context,
                      size_t context_len);

kms_status kms_sha256(uint8_t out[32], const uint8_t *in, size_t len);

#endif
