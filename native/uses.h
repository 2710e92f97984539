/* What a data key may still be used for. See uses.c. */
#ifndef KMS_USES_H
#define KMS_USES_H

#include "core.h"

/* One record of so many bytes, before `until`, where `least_messages` and `least_bytes` stay. 1, or 0: nothing was taken. */
int kms_uses_take_unasked(kms_uses_t *uses, double now, int64_t bytes);

#endif
