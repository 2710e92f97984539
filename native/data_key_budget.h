/* The budget of a data key. See data_key_budget.c. */
#ifndef KMS_DATA_KEY_BUDGET_H
#define KMS_DATA_KEY_BUDGET_H

#include "core.h"

/* Takes one record of so many bytes, within the bounds of kms_budget_allow. Returns 1, or 0 if nothing was taken. */
int kms_budget_take_allowed(kms_budget_t *budget, double now, int64_t bytes);

#endif
