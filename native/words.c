/* Shared words: aligned u64 in a file that all processes of the host map (kms_grpc/registry/words.py), and the check of
 * the lists that keep a Permit valid while the words have certain values (kms_grpc/crypto/validity.py). */
#include <stdatomic.h>
#include <string.h>

#include "core.h"

#define HEAD 16       /* three counts and a zero, u32 each */
#define EQUAL_SIZE 16 /* word, value */
#define UNTIL_SIZE 24 /* word, clock, end */
#define COUNT_SIZE 8  /* cell */

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the atomic type. */
void kms_word_add(uint64_t *word, uint64_t more) {
    atomic_fetch_add_explicit((_Atomic uint64_t *)word, more, memory_order_release);
}

uint64_t kms_word_read(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

void kms_word_raise(uint64_t *word, uint64_t least) {
    uint64_t seen = kms_word_read(word);
    while (seen < least && !atomic_compare_exchange_weak_explicit((_Atomic uint64_t *)word, &seen, least,
                                                                  memory_order_release, memory_order_acquire)) {
    }
}

static uint64_t u64_at(const uint8_t *at) {
    uint64_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u32_at(const uint8_t *at) {
    uint32_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

static int all_equal(const uint64_t *words, size_t words_len, const uint8_t *at, uint64_t entries) {
    for (; entries > 0; entries--, at += EQUAL_SIZE) {
        const uint64_t word = u64_at(at);
        if (word >= words_len || kms_word_read(words + word) != u64_at(at + 8)) return 0;
    }
    return 1;
}

/* Shard time is the later of the wall clock and the word. Boot time must be before the word and the end. */
static int before(uint64_t word, uint64_t clock, uint64_t end, uint64_t wall_ns, uint64_t boot_ns) {
    if (clock == KMS_SHARD_TIME) return (wall_ns > word ? wall_ns : word) < end;
    return clock == KMS_BOOT_TIME && boot_ns < word && boot_ns < end;
}

static int none_ended(const uint64_t *words, size_t words_len, const uint8_t *at, uint64_t entries, uint64_t wall_ns,
                      uint64_t boot_ns) {
    for (; entries > 0; entries--, at += UNTIL_SIZE) {
        const uint64_t word = u64_at(at);
        if (word >= words_len) return 0;
        if (!before(kms_word_read(words + word), u64_at(at + 8), u64_at(at + 16), wall_ns, boot_ns)) return 0;
    }
    return 1;
}

int kms_lists_hold(const uint64_t *words, size_t words_len, const uint8_t *lists, size_t lists_len, uint64_t wall_ns,
                   uint64_t boot_ns) {
    if (lists_len < HEAD || u32_at(lists + 12) != 0) return 0;
    const uint64_t equal = u32_at(lists);
    const uint64_t until = u32_at(lists + 4);
    const uint64_t count = u32_at(lists + 8);
    if (lists_len != HEAD + EQUAL_SIZE * equal + UNTIL_SIZE * until + COUNT_SIZE * count) return 0;
    const uint8_t *at = lists + HEAD;
    return all_equal(words, words_len, at, equal) &&
           none_ended(words, words_len, at + EQUAL_SIZE * equal, until, wall_ns, boot_ns);
}
