/* KC-XAES-256-GCM: XAES-256-GCM (c2sp.org/XAES-256-GCM) with the CMAC-based key commitment of Kampanakis, Halevi, Ebeid
 * and Campagna (IACR ePrint 2025/758).
 *
 *     L = AES_K(0)          K1 = dbl(L), the CMAC subkey of K (SP 800-38B); kept beside K
 *     message key           AES_K((00 01 58 00 || N[0:12]) ^ K1) || AES_K((00 02 58 00 || N[0:12]) ^ K1)
 *     GCM nonce             N[12:24]
 *     commitment            CMAC_K("XCMT" || N || 00 01 00 01) || CMAC_K("XCMT" || N || 00 01 00 02)
 */
#ifndef KMS_XAES_H
#define KMS_XAES_H

#include "keyring.h"

#define KMS_NONCE_SIZE 24
#define KMS_TAG_SIZE 16
#define KMS_COMMITMENT_SIZE 32
#define KMS_TRAILER_SIZE 48 /* tag and commitment */
#define KMS_XAES_BATCH 256  /* messages per call: enough to make the fixed costs negligible */

/* A message to seal or to open. Its associated data is header || associated. The trailer follows the ciphertext: to
 * seal, `out` has len + KMS_TRAILER_SIZE bytes; to open, `in` has as many. `in` and `out` are the same or do not
 * overlap. */
struct kms_message {
    const uint8_t *nonce;
    const uint8_t *header;
    size_t header_len;
    const uint8_t *associated;
    size_t associated_len;
    const uint8_t *in;
    size_t len;
    uint8_t *out;
    kms_status status; /* result of opening: KMS_OK, or KMS_INVALID_CIPHERTEXT with `out` zeroed */
};

/* Derives K1 from K. */
kms_status kms_xaes_subkey(union kms_key *root);

/* Seals 1 to KMS_XAES_BATCH messages under one root. On failure all `out` are zeroed. */
kms_status kms_xaes_seal(const union kms_key *root, struct kms_message *messages, size_t count);

/* Opens messages and sets the status of each. The call itself fails only if libcrypto fails. */
kms_status kms_xaes_open(const union kms_key *root, struct kms_message *messages, size_t count);

#endif
