/* AES-KWP, declared here so that a test can compare it with published vectors. */
#ifndef KMS_IMPORT_WRAPPING_H
#define KMS_IMPORT_WRAPPING_H

#include "core.h"

/* Unwraps with AES-256-KWP (RFC 5649, SP 800-38F KWP-AD). `out` has wrapped_len bytes; the first out_len are the key.
 * If the integrity check fails, returns KMS_INVALID_CIPHERTEXT, with out_len 0 and `out` zeroed. */
kms_status kms_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                        size_t wrapped_len);

#endif
