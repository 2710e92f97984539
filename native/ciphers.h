/* libcrypto's ciphers, MACs and hashes: fetched once per process, with one set of contexts per thread. */
#ifndef KMS_CIPHERS_H
#define KMS_CIPHERS_H

#include <openssl/evp.h>

#include "core.h"

/* The contexts of a thread. They are in libcrypto's heap, so each call wipes its key from them: kms_ciphers_forget. */
struct kms_ciphers {
    EVP_CIPHER_CTX *ecb;
    EVP_CIPHER_CTX *gcm;
    EVP_MAC_CTX *hmac;
};

/* Gives the calling thread's contexts, which are freed when it ends. Errors: KMS_CIPHER_FAILED, KMS_OUT_OF_MEMORY. */
kms_status kms_ciphers_of_thread(struct kms_ciphers **ciphers);

/* Overwrites key schedules, hash keys and keystream in the AES contexts, and the vector registers. */
void kms_ciphers_forget(struct kms_ciphers *ciphers);

/* HMAC-SHA-256 over the concatenation of `count` parts. */
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
