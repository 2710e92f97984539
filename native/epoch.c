/* Epochs: counters in a file that all processes of the host map. Each is an aligned u64. */
#include <stdatomic.h>

#include "core.h"

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the atomic type. */
void kms_epoch_bump(uint64_t *epoch) { atomic_fetch_add_explicit((_Atomic uint64_t *)epoch, 1, memory_order_release); }

uint64_t kms_epoch_read(const uint64_t *epoch) {
    return atomic_load_explicit((const _Atomic uint64_t *)epoch, memory_order_acquire);
}
