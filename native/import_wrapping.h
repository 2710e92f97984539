/* Parts of importing that are compared with published vectors one by one. */
#ifndef KMS_IMPORT_WRAPPING_H
#define KMS_IMPORT_WRAPPING_H

#include "core.h"

/* AES-KWP (RFC 5649, SP 800-38F KWP-AD) under AES-256. `out` takes wrapped_len bytes, of which out_len are the key.
 * KMS_INVALID_CIPHERTEXT where the integrity check fails: out_len is 0 and `out` zeroed then. */
kms_status kms_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                        size_t wrapped_len);

#endif
