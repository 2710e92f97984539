/* One slot of the keyring: a seqlock whose sequence is the key's generation. Readers take no lock; writers hold the
 * mutex of the slot's shard, so there is one at a time, but not always the same thread.
 *
 *     canary 8 · state 8 · key 48
 *
 * tests/crypto/keyring_model.cpp compiles this file with the atomics of a model checker.
 */
#ifndef KMS_KEYRING_SLOT_H
#define KMS_KEYRING_SLOT_H

#include "keyring.h"

#ifndef KMS_MODEL_CHECKED
#include <stdatomic.h>
typedef _Atomic uint64_t kms_atomic;
#endif

#define KMS_SLOT_SIZE 64

struct kms_slot {
    _Alignas(KMS_SLOT_SIZE) kms_atomic canary;
    kms_atomic state; /* generation << 32 | kind; 0: free */
    kms_atomic words[KMS_KEY_WORDS];
};

/* Both writers change the state or the words, and then the other. A reader that sees a word of this change also sees the
 * state that was stored before: 0, so that it rejects its copy. The fence orders the two. It must be repeated where a
 * slot is refilled: the thread that freed the slot may be another one, and a fence orders the stores of its own thread
 * alone. */
static inline void kms_slot_write(struct kms_slot *slot, const union kms_key *key, uint64_t state) {
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < KMS_KEY_WORDS; i++) atomic_store_explicit(&slot->words[i], key->words[i], memory_order_relaxed);
    atomic_store_explicit(&slot->state, state, memory_order_release);
}

static inline void kms_slot_clear(struct kms_slot *slot) {
    atomic_store_explicit(&slot->state, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < KMS_KEY_WORDS; i++) atomic_store_explicit(&slot->words[i], 0, memory_order_relaxed);
}

/* Copies the key. It is whole, and of the returned state, unless that is 0. */
static inline uint64_t kms_slot_read(union kms_key *key, struct kms_slot *slot) {
    uint64_t before = atomic_load_explicit(&slot->state, memory_order_acquire);
    for (int i = 0; i < KMS_KEY_WORDS; i++) key->words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    uint64_t after = atomic_load_explicit(&slot->state, memory_order_relaxed);
    return before == after ? before : 0;
}

#endif
