/* UTF-8 (RFC 3629). */
#ifndef KMS_UTF8_H
#define KMS_UTF8_H

#include "core.h"

/* Whether all of it is well-formed: no surrogates, nothing overlong, nothing beyond U+10FFFF, nothing cut off. */
int kms_is_utf8(const uint8_t *bytes, size_t len);

#endif
