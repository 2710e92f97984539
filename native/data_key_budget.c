/* The budget of a data key: the records, bytes and seconds that remain. Its counters are atomic, so threads that seal
 * at the same time need no lock, and no order of their steps exceeds a bound.
 *
 * A record takes one message and some bytes. The code checks both counters, takes from the first, then from the second,
 * and returns the message if the bytes are gone by then. Meanwhile other threads may see one message too few, never one
 * too many.
 *
 * A fork copies the counters but not the key: see keyring.c.
 */
#include "data_key_budget.h"

#include <stdatomic.h>

static int64_t seen(const int64_t *count) {
    return atomic_load_explicit((const _Atomic int64_t *)count, memory_order_relaxed);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the atomic type. */
static void set(int64_t *count, int64_t value) {
    atomic_store_explicit((_Atomic int64_t *)count, value, memory_order_relaxed);
}

static int is_before(double now, const double *end) {
    return now < atomic_load_explicit((const _Atomic double *)end, memory_order_relaxed);
}

/* Takes `count` if at least `least` remains. */
static int take_from(int64_t *left, int64_t count, int64_t least) {
    int64_t before = seen(left);
    do {
        if (before - count < least) return 0;
    } while (!atomic_compare_exchange_weak_explicit((_Atomic int64_t *)left, &before, before - count,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 1;
}

static int take_both(kms_budget_t *budget, int64_t messages, int64_t bytes, int64_t least_messages,
                     int64_t least_bytes) {
    if (seen(&budget->bytes) - bytes < least_bytes || !take_from(&budget->messages, messages, least_messages)) return 0;
    if (take_from(&budget->bytes, bytes, least_bytes)) return 1;
    atomic_fetch_add_explicit((_Atomic int64_t *)&budget->messages, messages, memory_order_relaxed);
    return 0;
}

static void count(kms_budget_t *budget, size_t messages) {
    uint64_t before = atomic_fetch_add_explicit((_Atomic uint64_t *)budget->granted, messages, memory_order_relaxed);
    atomic_store_explicit((_Atomic uint64_t *)&budget->last, before + messages, memory_order_relaxed);
}

void kms_budget_begin(kms_budget_t *budget, uint64_t *granted, int64_t messages, int64_t bytes, double ends) {
    budget->granted = granted;
    budget->ends = ends;
    budget->last = *granted;
    set(&budget->messages, messages);
    set(&budget->bytes, bytes);
    kms_budget_allow(budget, ends, 0, 0);
}

void kms_budget_allow(kms_budget_t *budget, double until, int64_t least_messages, int64_t least_bytes) {
    set(&budget->least_messages, least_messages > 0 ? least_messages : 0);
    set(&budget->least_bytes, least_bytes > 0 ? least_bytes : 0);
    atomic_store_explicit((_Atomic double *)&budget->until, until < budget->ends ? until : budget->ends,
                          memory_order_relaxed);
}

int kms_budget_take(kms_budget_t *budget, double now, int64_t bytes) {
    if (!(now < budget->ends) || bytes < 0 || !take_both(budget, 1, bytes, 0, 0)) return 0;
    count(budget, 1);
    return 1;
}

int kms_budget_take_allowed(kms_budget_t *budget, double now, int64_t bytes) {
    if (!is_before(now, &budget->until) || bytes < 0 ||
        !take_both(budget, 1, bytes, seen(&budget->least_messages), seen(&budget->least_bytes)))
        return 0;
    count(budget, 1);
    return 1;
}

/* Returns how many of these records fit at this moment, and their total bytes. */
static size_t fitting(int64_t *total, const kms_budget_t *budget, const uint64_t *lens, size_t most) {
    uint64_t messages = (uint64_t)seen(&budget->messages), bytes = (uint64_t)seen(&budget->bytes), sum = 0;
    size_t count = 0;
    for (; count < most && count < messages && lens[count] <= bytes - sum; count++) sum += lens[count];
    *total = (int64_t)sum;
    return count;
}

size_t kms_budget_grant(kms_budget_t *budget, double now, const uint64_t *lens, size_t most) {
    int64_t total = 0;
    size_t granted = 0;
    if (!(now < budget->ends)) return 0;
    do granted = fitting(&total, budget, lens, most);
    while (granted > 0 && !take_both(budget, (int64_t)granted, total, 0, 0));
    if (granted > 0) count(budget, granted);
    return granted;
}
