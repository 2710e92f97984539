#include "random.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#ifdef KMS_TEST_NONCES
/* In the test build only: a test sets the nonce, to compare whole blobs with test vectors. */
#include "with_nonces.cdef.h"
#endif

/* Every call draws its own nonces; no random byte outlives the call that drew it. DO NOT pool nonces, even though
 * drawing is expensive. A fork is not the only way to duplicate a process: a virtual machine that is restored or cloned
 * from a snapshot has the same pool as the original, and cannot detect it. */
kms_status kms_nonces(uint8_t *out, size_t out_len) {
#ifdef KMS_TEST_NONCES
    if (kms_test_planted(out, out_len)) return KMS_OK;
#endif
    if (out_len > INT_MAX) return KMS_WRONG_LENGTH;
    return RAND_bytes(out, (int)out_len) == 1 ? KMS_OK : KMS_NO_RANDOMNESS;
}

/* Draws keys and random bytes for callers, from libcrypto's separate generator for secrets. */
kms_status kms_random(uint8_t *out, size_t out_len) {
    if (out_len > INT_MAX) return KMS_WRONG_LENGTH;
    if (RAND_priv_bytes(out, (int)out_len) == 1) return KMS_OK;
    OPENSSL_cleanse(out, out_len);
    return KMS_NO_RANDOMNESS;
}

void kms_cleanse(void *buffer, size_t buffer_len) { OPENSSL_cleanse(buffer, buffer_len); }
