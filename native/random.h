/* Random bytes from libcrypto. */
#ifndef KMS_RANDOM_H
#define KMS_RANDOM_H

#include "core.h"

/* Draws nonces and other values that are not secret. */
kms_status kms_nonces(uint8_t *out, size_t out_len);

#endif
