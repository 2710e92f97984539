/* RSA key pairs as integers, their PKCS#8 form, and the private operation without padding.
 *
 * libcrypto's functions that read and write private keys leave copies in its heap. This code passes the integers by
 * OSSL_PARAM instead, and reads and writes the DER encoding itself.
 */
#ifndef KMS_RSA_H
#define KMS_RSA_H

#include "core.h"

#define KMS_RSA_MAXIMUM 512 /* bytes of a modulus of 4,096 bits */
#define KMS_RSA_MAXIMUM_PKCS8 (KMS_MAXIMUM_WRAPPED_PAIR - KMS_WRAPPING_OVERHEAD)

enum { KMS_RSA_N, KMS_RSA_E, KMS_RSA_D, KMS_RSA_P, KMS_RSA_Q, KMS_RSA_DP, KMS_RSA_DQ, KMS_RSA_QI, KMS_RSA_NUMBERS };

/* A pair's integers in the order of RSAPrivateKey (RFC 8017, A.1.2). The caller wipes it. */
struct kms_rsa {
    uint8_t numbers[KMS_RSA_NUMBERS][KMS_RSA_MAXIMUM]; /* in the host's byte order, as in OSSL_PARAM */
};

/* Generates a pair with e = 65537 and gives its SubjectPublicKeyInfo. */
kms_status kms_rsa_generate(struct kms_rsa *rsa, uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                            uint32_t bits);

/* Writes PrivateKeyInfo (RFC 5208) in DER to the last bytes of `pkcs8` and returns its length. */
size_t kms_rsa_write(uint8_t pkcs8[KMS_RSA_MAXIMUM_PKCS8], const struct kms_rsa *rsa);

/* Reads the exact form that kms_rsa_write writes. Returns KMS_WRAPPED_KEY_DAMAGED for any other. */
kms_status kms_rsa_read(struct kms_rsa *rsa, const uint8_t *pkcs8, size_t pkcs8_len);

/* Gives the modulus, big-endian, and returns its length. */
size_t kms_rsa_modulus(uint8_t modulus[KMS_RSA_MAXIMUM], const struct kms_rsa *rsa);

/* Computes `out` = `in` ^ d mod n, blinded, without padding. `in` is below n; both have the length of n. */
kms_status kms_rsa_decrypt(uint8_t *out, const struct kms_rsa *rsa, const uint8_t *in, size_t len);

#endif
