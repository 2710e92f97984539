/* What a data key may still be used for. See data_key_budget.c. */
#ifndef KMS_DATA_KEY_BUDGET_H
#define KMS_DATA_KEY_BUDGET_H

#include "core.h"

/* One record of so many bytes, before `until`, where `least_messages` and `least_bytes` stay. 1, or 0: nothing was taken. */
int kms_budget_take_unasked(kms_budget_t *budget, double now, int64_t bytes);

#endif
