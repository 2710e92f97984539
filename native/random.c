#include "random.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#ifdef KMS_TEST_NONCES
/* The tests' build alone: nonces that the test planted, to compare whole blobs with vectors. */
#include "with_nonces.cdef.h"
#endif

/* Drawn by the very call that uses them, and never ahead: no random byte outlives the call that drew it. DO NOT pool nonces,
 * however dear a draw is. A fork is not the only way to get two copies of a process: a virtual machine that is restored
 * or cloned from a snapshot gives both copies the same pool, and nothing in it can tell. */
kms_status kms_nonces(uint8_t *out, size_t out_len) {
#ifdef KMS_TEST_NONCES
    if (kms_test_planted(out, out_len)) return KMS_OK;
#endif
    if (out_len > INT_MAX) return KMS_WRONG_LENGTH;
    return RAND_bytes(out, (int)out_len) == 1 ? KMS_OK : KMS_NO_RANDOMNESS;
}

/* Keys and what callers ask for come from the generator that libcrypto keeps for secrets. */
kms_status kms_random(uint8_t *out, size_t out_len) {
    if (out_len > INT_MAX) return KMS_WRONG_LENGTH;
    if (RAND_priv_bytes(out, (int)out_len) == 1) return KMS_OK;
    OPENSSL_cleanse(out, out_len);
    return KMS_NO_RANDOMNESS;
}

void kms_cleanse(void *buffer, size_t buffer_len) { OPENSSL_cleanse(buffer, buffer_len); }
