/* The keyring: an anonymous mapping of locked pages.
 *
 *     16 shards of 64 bytes   canary 8 · free slot 4 · used 4 · lock 40 · padding
 *     slots of 64 bytes       keyring_slot.h
 *
 * A free slot has state 0 and holds the number of the next free slot in its first key word. The lists of free slots
 * count from 1, so that 0 ends a list. Slot s belongs to shard s % 16.
 *
 * A page that a fork wiped reads as zeros. The canary is never zero and is checked at every use, so the core never
 * encrypts under a zero key. The mutexes are in these pages as well: zeros are an unlocked mutex on Linux, so a mutex
 * that another thread held at the fork does not block the child.
 *
 * Readers take no lock: they read state, key, and state again. Generations come from one counter, which a child
 * inherits, so a handle of the parent never names a key of the child.
 *
 * A fork copies the stacks and cipher contexts of all threads, and with them the keys of calls in progress. Nothing
 * wipes those copies in the child. Processes that hold keys therefore start others with exec, and never only fork.
 */
#include "keyring.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keyring_slot.h"
#include "random.h"

#define SHARDS 16
#define LINE 64

struct shard {
    _Alignas(LINE) _Atomic uint64_t canary;
    uint32_t free_slot;
    _Atomic uint32_t used;
    pthread_mutex_t lock;
};

_Static_assert(sizeof(struct shard) == LINE, "a shard is one cache line");
_Static_assert(sizeof(struct kms_slot) == KMS_SLOT_SIZE, "a slot is one cache line");

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static struct {
    _Atomic(struct shard *) shards; /* the start of the mapping; NULL until it was opened */
    struct kms_slot *slots;
    uint32_t count;
    uint64_t canary;
    _Atomic uint32_t generation; /* of the last stored key */
    _Atomic uint32_t turn;       /* the shard that takes the next key */
    uint8_t locked, left_out_of_dumps, wiped_on_fork;
} ring;

static size_t mapping_size(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = SHARDS * sizeof(struct shard) + ring.count * sizeof(struct kms_slot);
    return (bytes + page - 1) / page * page;
}

static struct shard *opened(void) { return atomic_load_explicit(&ring.shards, memory_order_acquire); }

static int is_whole(_Atomic uint64_t *canary) {
    return atomic_load_explicit(canary, memory_order_acquire) == ring.canary;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static void before_fork(void) { pthread_mutex_lock(&opening); }
static void after_fork(void) { pthread_mutex_unlock(&opening); }

static kms_status map(uint32_t slots) {
    kms_status status = kms_nonces((uint8_t *)&ring.canary, sizeof ring.canary);
    if (status != KMS_OK) return status;
    ring.canary |= 1;
    ring.count = slots;
    void *pages = mmap(NULL, mapping_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return KMS_OUT_OF_MEMORY;
    ring.slots = (struct kms_slot *)((uint8_t *)pages + SHARDS * sizeof(struct shard));
    pthread_atfork(before_fork, after_fork, after_fork);
    atomic_store_explicit(&ring.shards, pages, memory_order_release);
    return KMS_OK;
}

/* A child inherits madvise but not mlock. A process that may not lock memory continues; kms_keyring_facts reports
 * it. */
static void protect(struct shard *shards) {
    size_t size = mapping_size();
    ring.left_out_of_dumps = madvise(shards, size, MADV_DONTDUMP) == 0;
    ring.wiped_on_fork = madvise(shards, size, MADV_WIPEONFORK) == 0;
    ring.locked = mlock(shards, size) == 0;
}

static void push_free(struct shard *shard, uint32_t index) {
    atomic_store_explicit(&ring.slots[index].words[0], shard->free_slot, memory_order_relaxed);
    shard->free_slot = index + 1;
}

static void fill(struct shard *shards) {
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct shard *shard = &shards[s];
        pthread_mutex_lock(&shard->lock);
        for (uint32_t i = s; i < ring.count; i += SHARDS) {
            push_free(shard, i);
            atomic_store_explicit(&ring.slots[i].canary, ring.canary, memory_order_release);
        }
        atomic_store_explicit(&shard->canary, ring.canary, memory_order_release);
        pthread_mutex_unlock(&shard->lock);
    }
}

kms_status kms_keyring_open(uint32_t slots) {
    kms_status status = slots > 0 && slots < UINT32_MAX / LINE ? KMS_OK : KMS_WRONG_LENGTH;
    pthread_mutex_lock(&opening);
    if (status == KMS_OK && !opened()) status = map(slots);
    if (status == KMS_OK && !is_whole(&opened()[SHARDS - 1].canary)) {
        protect(opened());
        fill(opened());
    }
    pthread_mutex_unlock(&opening);
    return status;
}

void kms_keyring_facts(kms_keyring_facts_t *facts) {
    memset(facts, 0, sizeof *facts);
    struct shard *shards = opened();
    if (!shards || !is_whole(&shards[SHARDS - 1].canary)) return;
    for (int s = 0; s < SHARDS; s++) facts->used += atomic_load_explicit(&shards[s].used, memory_order_relaxed);
    facts->slots = ring.count;
    facts->locked = ring.locked;
    facts->left_out_of_dumps = ring.left_out_of_dumps;
    facts->wiped_on_fork = ring.wiped_on_fork;
}

/* --- storing and evicting, with the shard's mutex ----------------------------------------------------------------- */

static uint32_t next_generation(void) {
    uint32_t generation = atomic_fetch_add_explicit(&ring.generation, 1, memory_order_relaxed) + 1;
    return generation ? generation : next_generation(); /* 0 marks a free slot */
}

static kms_status put_into(struct shard *shard, uint64_t *handle, const union kms_key *key, enum kms_kind kind) {
    if (!is_whole(&shard->canary)) return KMS_KEYRING_LOST;
    if (!shard->free_slot) return KMS_KEYRING_FULL;
    uint32_t index = shard->free_slot - 1;
    struct kms_slot *slot = &ring.slots[index];
    uint64_t generation = (uint64_t)next_generation() << 32;
    shard->free_slot = (uint32_t)atomic_load_explicit(&slot->words[0], memory_order_relaxed);
    kms_slot_write(slot, key, generation | kind);
    atomic_fetch_add_explicit(&shard->used, 1, memory_order_relaxed);
    *handle = generation | index;
    return KMS_OK;
}

kms_status kms_keyring_put(uint64_t *handle, const union kms_key *key, enum kms_kind kind) {
    struct shard *shards = opened();
    kms_status status = shards ? KMS_KEYRING_FULL : KMS_KEYRING_LOST;
    uint32_t first = atomic_fetch_add_explicit(&ring.turn, 1, memory_order_relaxed);
    *handle = 0;
    for (uint32_t i = 0; status == KMS_KEYRING_FULL && i < SHARDS; i++) {
        struct shard *shard = &shards[(first + i) % SHARDS];
        pthread_mutex_lock(&shard->lock);
        status = put_into(shard, handle, key, kind);
        pthread_mutex_unlock(&shard->lock);
    }
    return status;
}

static kms_status find(struct kms_slot **slot, uint64_t handle) {
    uint32_t index = (uint32_t)handle;
    if (!opened()) return KMS_KEYRING_LOST;
    if (index >= ring.count) return KMS_STALE_HANDLE;
    *slot = &ring.slots[index];
    return is_whole(&(*slot)->canary) ? KMS_OK : KMS_KEYRING_LOST;
}

kms_status kms_keyring_evict(uint64_t handle) {
    struct kms_slot *slot = NULL;
    kms_status status = find(&slot, handle);
    if (status != KMS_OK) return status;
    struct shard *shard = &opened()[(uint32_t)handle % SHARDS];
    pthread_mutex_lock(&shard->lock);
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    if (state == 0 || state >> 32 != handle >> 32) status = KMS_STALE_HANDLE;
    if (status == KMS_OK) {
        kms_slot_clear(slot);
        push_free(shard, (uint32_t)handle);
        atomic_fetch_sub_explicit(&shard->used, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->lock);
    return status;
}

/* --- reading, without a mutex ------------------------------------------------------------------------------------- */

static kms_status judge(struct kms_slot *slot, uint64_t handle, uint64_t state, enum kms_kind kind) {
    if (!is_whole(&slot->canary)) return KMS_KEYRING_LOST;
    if (state == 0 || state >> 32 != handle >> 32) return KMS_STALE_HANDLE;
    return (uint32_t)state == (uint32_t)kind ? KMS_OK : KMS_WRONG_KIND;
}

kms_status kms_keyring_get(union kms_key *key, uint64_t handle, enum kms_kind kind) {
    struct kms_slot *slot = NULL;
    memset(key, 0, sizeof *key);
    kms_status status = find(&slot, handle);
    if (status != KMS_OK) return status;
    status = judge(slot, handle, kms_slot_read(key, slot), kind);
    if (status != KMS_OK) OPENSSL_cleanse(key, sizeof *key);
    return status;
}
