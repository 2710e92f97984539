/* Checks native/keyring_slot.h under the memory model of C11, by Relacy (Debian: relacy-dev): each load may read any
 * value that the model allows, which a processor of x86 never shows.
 *
 *     keyring_model ITERATIONS LINE
 *
 * leaves out the fence in line LINE of keyring_slot.h; 0: none.
 *
 * One thread evicts a key, another puts a new one into the same slot, a third reads by the handle of the old key or the
 * new one. It must get all words of that key, or none.
 */
#define KMS_MODEL_CHECKED 1
#include <relacy/relacy.hpp>

typedef rl::atomic<uint64_t> kms_atomic;
#define _Alignas(size)
#define memory_order_relaxed rl::mo_relaxed
#define memory_order_acquire rl::mo_acquire
#define memory_order_release rl::mo_release
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_thread_fence
#define atomic_load_explicit(atomic, order) (atomic)->load(order, $)
#define atomic_store_explicit(atomic, value, order) (atomic)->store(value, order, $)
#define atomic_thread_fence(order) \
    if (__LINE__ != left_out) rl::atomic_thread_fence(order, $)

static int left_out;

#include "keyring_slot.h"

static const uint64_t OLD = UINT64_C(1) << 32 | KMS_MESSAGE_ROOT, NEW = UINT64_C(2) << 32 | KMS_MESSAGE_ROOT;

static union kms_key key_of(uint64_t state) {
    union kms_key key;
    for (int i = 0; i < KMS_KEY_WORDS; i++) key.words[i] = state;
    return key;
}

struct refilled : rl::test_suite<refilled, 3> {
    struct kms_slot slot;
    rl::mutex shard;

    void before() {
        const union kms_key key = key_of(OLD);
        kms_slot_write(&slot, &key, OLD);
    }

    void evict() {
        shard.lock($);
        kms_slot_clear(&slot);
        shard.unlock($);
    }

    void put() {
        const union kms_key key = key_of(NEW);
        shard.lock($);
        if (slot.state.load(rl::mo_relaxed, $) == 0) kms_slot_write(&slot, &key, NEW);
        shard.unlock($);
    }

    void read() {
        union kms_key key;
        const uint64_t state = kms_slot_read(&key, &slot);
        for (int i = 0; state != 0 && i < KMS_KEY_WORDS; i++) RL_ASSERT(key.words[i] == state);
    }

    void thread(unsigned index) {
        if (index == 0) evict();
        if (index == 1) put();
        if (index == 2) read();
    }
};

int main(int, char **arguments) {
    rl::test_params params;
    params.iteration_count = strtoull(arguments[1], nullptr, 10);
    left_out = atoi(arguments[2]);
    return rl::simulate<refilled>(params) ? 0 : 1;
}
