/* Random bytes of the kernel and the processor, fresh for each call. core.cdef.h declares kms_random. */
#ifndef KMS_RANDOM_H
#define KMS_RANDOM_H

#include "core.h"

/* Draws nonces and other values that are not secret. A test may set them. */
kms_status kms_nonces(uint8_t *out, size_t out_len);

/* Mixes fresh bytes into the calling thread's generators of libcrypto. Call it before each function of libcrypto that
 * draws a secret by itself. */
kms_status kms_refresh_libcrypto(void);

#endif
