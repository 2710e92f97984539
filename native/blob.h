/* The ciphertext blob as a message of xaes.h. See blob.c for its layout. */
#ifndef KMS_BLOB_H
#define KMS_BLOB_H

#include "xaes.h"

#define KMS_NONCE_AT KMS_PREFIX_SIZE

/* Checks whether length, version and suite are those of a blob that this core writes. */
int kms_blob_is_known(const uint8_t *blob, size_t blob_len);

/* Describes a blob to seal. `blob` already holds prefix and nonce and has plaintext_len + KMS_BLOB_OVERHEAD bytes.
 * `plaintext` may be the place of the ciphertext in `blob`. */
struct kms_message kms_blob_sealing(uint8_t *blob, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *plaintext, size_t plaintext_len);

/* Describes a blob to open, of which kms_blob_is_known is true. */
struct kms_message kms_blob_opening(uint8_t *plaintext, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *blob, size_t blob_len);

#endif
