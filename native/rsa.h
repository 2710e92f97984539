/* RSA key pairs as numbers, their PKCS#8 form, and the bare private operation.
 *
 * libcrypto's own readers and writers of private keys leave copies in its heap. So the numbers go in and out by
 * OSSL_PARAM, and the few bytes of DER are written and read here.
 */
#ifndef KMS_RSA_H
#define KMS_RSA_H

#include "core.h"

#define KMS_RSA_MAXIMUM 512 /* bytes of a modulus of 4,096 bits */
#define KMS_RSA_MAXIMUM_PKCS8 (KMS_MAXIMUM_WRAPPED_PAIR - KMS_WRAPPING_OVERHEAD)

enum { KMS_RSA_N, KMS_RSA_E, KMS_RSA_D, KMS_RSA_P, KMS_RSA_Q, KMS_RSA_DP, KMS_RSA_DQ, KMS_RSA_QI, KMS_RSA_NUMBERS };

/* A pair, in the order of RSAPrivateKey (RFC 8017, A.1.2). Cleanse it. */
struct kms_rsa {
    uint8_t numbers[KMS_RSA_NUMBERS][KMS_RSA_MAXIMUM]; /* the host's byte order, as OSSL_PARAM has them */
};

/* A new pair, e = 65537, and its SubjectPublicKeyInfo. */
kms_status kms_rsa_generate(struct kms_rsa *rsa, uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                            uint32_t bits);

/* PrivateKeyInfo (RFC 5208) in DER. It is written from its end: to the last bytes of `pkcs8`. Gives its length. */
size_t kms_rsa_write(uint8_t pkcs8[KMS_RSA_MAXIMUM_PKCS8], const struct kms_rsa *rsa);

/* Reads what kms_rsa_write wrote, and nothing else. KMS_WRAPPED_KEY_DAMAGED. */
kms_status kms_rsa_read(struct kms_rsa *rsa, const uint8_t *pkcs8, size_t pkcs8_len);

/* Bytes of the modulus; and the modulus itself, big-endian. */
size_t kms_rsa_modulus(uint8_t modulus[KMS_RSA_MAXIMUM], const struct kms_rsa *rsa);

/* The private operation, blinded, without any padding: `out` = `in` ^ d mod n. `in` is below n; both have n's length. */
kms_status kms_rsa_decrypt(uint8_t *out, const struct kms_rsa *rsa, const uint8_t *in, size_t len);

#endif
