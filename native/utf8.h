/* UTF-8 (RFC 3629). */
#ifndef KMS_UTF8_H
#define KMS_UTF8_H

#include "core.h"

/* Checks that the bytes are well-formed: no surrogates, overlong or truncated sequences, nothing above U+10FFFF. */
int kms_is_utf8(const uint8_t *bytes, size_t len);

#endif
