/* The ciphertext blob as a message to seal or to open. See blob.c for its layout. */
#ifndef KMS_BLOB_H
#define KMS_BLOB_H

#include "xaes.h"

#define KMS_NONCE_AT KMS_PREFIX_SIZE

/* Whether length, version and suite are those of a blob that this core makes. */
int kms_blob_is_ours(const uint8_t *blob, size_t blob_len);

/* `blob` holds prefix and nonce already, and takes plaintext_len + KMS_BLOB_OVERHEAD bytes. `plaintext` may stand where
 * the ciphertext goes. */
struct kms_message kms_blob_sealing(uint8_t *blob, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *plaintext, size_t plaintext_len);

/* `blob` is one of ours. */
struct kms_message kms_blob_opening(uint8_t *plaintext, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *blob, size_t blob_len);

#endif
