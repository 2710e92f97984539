/* Declarations that the fuzz targets share. They are built with -DKMS_TEST_NONCES, so that a run is reproducible. */
#ifndef KMS_FUZZ_H
#define KMS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)         \
    do {                           \
        if (!(condition)) abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int kms_test_planted(uint8_t *out, size_t out_len);

/* Replaces every nonce that the core draws. */
static uint8_t fuzz_nonce[24];

int kms_test_planted(uint8_t *out, size_t out_len) {
    for (size_t i = 0; i < out_len; i++) out[i] = fuzz_nonce[i % sizeof fuzz_nonce];
    return 1;
}

#endif
