/* Wrapping under a key of the keyring.
 *
 *     offset  bytes  field
 *          0      1  format version, 1
 *          1     24  nonce
 *         25      n  ciphertext
 *     25 + n     16  GCM tag
 *     41 + n     32  key commitment
 *
 * KC-XAES-256-GCM under a key that is derived from the wrapping key with a label. Associated data: bytes 0-24, then the
 * caller's, which names the place that the wrapped key belongs to.
 */
#ifndef KMS_KEY_WRAPPING_H
#define KMS_KEY_WRAPPING_H

#include "keyring.h"

/* Wraps `secret`. `wrapped` has len + KMS_WRAPPING_OVERHEAD bytes. */
kms_status kms_wrap(uint8_t *wrapped, uint64_t handle, enum kms_kind kind, const char *label, const uint8_t *associated,
                    size_t associated_len, const uint8_t *secret, size_t len);

/* Unwraps. Returns KMS_WRAPPED_KEY_DAMAGED if `wrapped` does not open or has not len + KMS_WRAPPING_OVERHEAD bytes. */
kms_status kms_unwrap(uint8_t *secret, size_t len, uint64_t handle, enum kms_kind kind, const char *label,
                      const uint8_t *associated, size_t associated_len, const uint8_t *wrapped, size_t wrapped_len);

/* Derives the id of key material and wraps the material under its region key. */
kms_status kms_material_store(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                              uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                              size_t associated_len, const uint8_t material[KMS_MATERIAL_SIZE]);

#endif
