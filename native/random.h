/* Randomness of libcrypto. */
#ifndef KMS_RANDOM_H
#define KMS_RANDOM_H

#include "core.h"

/* Nonces and other public values. */
kms_status kms_nonces(uint8_t *out, size_t out_len);

#endif
