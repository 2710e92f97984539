/* The random number generator of the processor: RDRAND (x86-64), RNDR (ARMv8.5). */
#ifndef KMS_PROCESSOR_RANDOM_H
#define KMS_PROCESSOR_RANDOM_H

#include "core.h"

/* Draws 64 bits. Returns 0, with a zero word, where the processor has no generator or it gives nothing. */
int kms_processor_random(uint64_t *word);

#endif
