/* Wrapping under a key of the keyring.
 *
 *     version 1 · nonce 24 · ciphertext · tag 16 · commitment 32
 *
 * KC-XAES-256-GCM under a key that is derived from the wrapping key by a label. Associated data: bytes 0-24, then the
 * place that the caller names.
 */
#ifndef KMS_KEY_WRAPPING_H
#define KMS_KEY_WRAPPING_H

#include "keyring.h"

/* `wrapped` takes len + KMS_WRAPPING_OVERHEAD bytes. */
kms_status kms_wrap(uint8_t *wrapped, uint64_t handle, enum kms_kind kind, const char *label, const uint8_t *associated,
                    size_t associated_len, const uint8_t *secret, size_t len);

/* KMS_WRAPPED_KEY_DAMAGED, also where `wrapped` has not len + KMS_WRAPPING_OVERHEAD bytes. */
kms_status kms_unwrap(uint8_t *secret, size_t len, uint64_t handle, enum kms_kind kind, const char *label,
                      const uint8_t *associated, size_t associated_len, const uint8_t *wrapped, size_t wrapped_len);

/* The id of a symmetric key's material, and itself as it is stored: wrapped under its region key. */
kms_status kms_material_store(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                              uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                              size_t associated_len, const uint8_t material[KMS_MATERIAL_SIZE]);

#endif
