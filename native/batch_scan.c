/* Reads the request of a batch. See request.h for the scanner.
 *
 * Items with the same keys form a group: the same KeyId, and for blobs the same first 55 bytes. The caller authorizes
 * each group once, however many items it has. Most batches have a single group, so each item is compared with the one
 * before it first, and looked up in a hash table only if they differ.
 */
#include "random.h"
#include "request.h"

#define BLOB_MOST (KMS_MAXIMUM_PLAINTEXT + KMS_BLOB_OVERHEAD)
#define KEY_BITS (KMS_BIT(KMS_KEY) | KMS_BIT(KMS_CONTEXT))
#define SOURCE_BITS (KMS_BIT(KMS_SOURCE_KEY) | KMS_BIT(KMS_SOURCE_CONTEXT))

static const struct kms_shape item_shapes[] = {
    [KMS_ENCRYPT] = KMS_SHAPE(KMS_ENCRYPT_BATCH_ITEM, KEY_BITS | KMS_BIT(KMS_PLAINTEXT), 0),
    [KMS_DECRYPT] = KMS_SHAPE(KMS_DECRYPT_BATCH_ITEM, KEY_BITS | KMS_BIT(KMS_BLOB), 0),
    [KMS_RE_ENCRYPT] = KMS_SHAPE(KMS_RE_ENCRYPT_BATCH_ITEM, KEY_BITS | SOURCE_BITS | KMS_BIT(KMS_BLOB), 0),
    [KMS_DATA_KEY] = KMS_SHAPE(KMS_GENERATE_DATA_KEY_BATCH_ITEM, KEY_BITS, KMS_BIT(KMS_COUNT)),
};
static const struct kms_shape batch_shapes[] = {
    [KMS_ENCRYPT] = KMS_SHAPE(KMS_ENCRYPT_BATCH_REQUEST, KEY_BITS, 0),
    [KMS_DECRYPT] = KMS_SHAPE(KMS_DECRYPT_BATCH_REQUEST, KEY_BITS, 0),
    [KMS_RE_ENCRYPT] = KMS_SHAPE(KMS_RE_ENCRYPT_BATCH_REQUEST, KEY_BITS | SOURCE_BITS, 0),
    [KMS_DATA_KEY] =
        KMS_SHAPE(KMS_GENERATE_DATA_KEY_BATCH_REQUEST, KEY_BITS, KMS_BIT(KMS_KEY_SPEC) | KMS_BIT(KMS_NUMBER_OF_BYTES)),
};

/* --- one item ----------------------------------------------------------------------------------------------------- */

static int data_fit(kms_operation operation, const kms_item *item) {
    if (operation == KMS_DATA_KEY) return item->count >= 1 && item->count <= KMS_MAXIMUM_ITEMS;
    if (operation == KMS_ENCRYPT) return item->data.len >= 1 && item->data.len <= KMS_MAXIMUM_PLAINTEXT;
    return item->data.len > KMS_BLOB_OVERHEAD && item->data.len <= BLOB_MOST;
}

static int keys_fit(kms_operation operation, const kms_item *item) {
    return (item->key.len > 0 || operation == KMS_DECRYPT) && item->key.len <= KMS_MAXIMUM_KEY_ID &&
           item->source_key.len <= KMS_MAXIMUM_KEY_ID;
}

/* Reads the pairs only to reject what protobuf would reject; the canonical form is made later. */
static int check_context(kms_item *item, const kms_place *pairs, const uint8_t *raw, int written) {
    uint8_t canonical[KMS_MAXIMUM_CONTEXT];
    uint32_t len = 0;
    kms_status status = pairs->len ? kms_read_context(canonical, &len, raw + pairs->at, pairs->len) : KMS_OK;
    if (status == KMS_CONTEXT_TOO_LONG && written && item->status == KMS_OK) item->status = KMS_CONTEXT_TOO_LONG;
    return status == KMS_OK || (status == KMS_CONTEXT_TOO_LONG && written);
}

static int read_item(kms_item *item, kms_operation operation, const uint8_t *raw, struct kms_wire *wire) {
    struct kms_fields fields = {.present = 0};
    const uint8_t *bytes = NULL;
    uint32_t len = 0;
    if (!kms_wire_bytes(&bytes, &len, wire)) return 0;
    struct kms_wire inside = {bytes, bytes + len};
    while (inside.next < inside.end)
        if (!kms_read_field(&fields, &item_shapes[operation], raw, &inside)) return 0;
    *item = (kms_item){.own = {(uint32_t)(bytes - raw), len},
                       .key = fields.key,
                       .source_key = fields.source_key,
                       .context = fields.context,
                       .source_context = fields.source_context,
                       .data = fields.data,
                       .count = fields.present & KMS_BIT(KMS_COUNT) ? fields.numbers[KMS_COUNT] : 1};
    return 1;
}

static void inherit(kms_place *own, const kms_place *of_batch) {
    if (own->len == 0) *own = *of_batch;
}

/* Fills in the batch's keys and contexts. Runs after the whole request was read, because the batch's own fields may
 * follow the items. */
static int complete(kms_item *item, kms_operation operation, const struct kms_fields *batch, const uint8_t *raw,
                    int written) {
    item->status = KMS_OK;
    if (!check_context(item, &item->context, raw, written) || !check_context(item, &item->source_context, raw, written))
        return 0;
    inherit(&item->key, &batch->key);
    inherit(&item->source_key, &batch->source_key);
    inherit(&item->context, &batch->context);
    inherit(&item->source_context, &batch->source_context);
    if (!data_fit(operation, item) || !keys_fit(operation, item)) item->status = KMS_WRONG_LENGTH;
    return 1;
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

static int same(const kms_place *a, const kms_place *b, const uint8_t *raw) {
    return a->len == b->len && (a->at == b->at || memcmp(raw + a->at, raw + b->at, a->len) == 0);
}

static kms_place prefix_of(const kms_item *item, kms_operation operation) {
    kms_place prefix = {item->data.at, KMS_PREFIX_SIZE};
    return operation == KMS_DECRYPT || operation == KMS_RE_ENCRYPT ? prefix : (kms_place){0, 0};
}

static int belong_together(const kms_item *a, const kms_item *b, kms_operation operation, int by_context,
                           const uint8_t *raw) {
    kms_place of_a = prefix_of(a, operation), of_b = prefix_of(b, operation);
    return same(&a->key, &b->key, raw) && same(&a->source_key, &b->source_key, raw) && same(&of_a, &of_b, raw) &&
           (!by_context || (same(&a->context, &b->context, raw) && same(&a->source_context, &b->source_context, raw)));
}

/* FNV-1a with a random start, so that callers cannot choose items that collide. */
static uint64_t hash(uint64_t state, const kms_place *place, const uint8_t *raw) {
    for (uint32_t i = 0; i < place->len; i++) state = (state ^ raw[place->at + i]) * 0x100000001B3u;
    return state * 0x9E3779B97F4A7C15u + place->len;
}

static uint64_t hash_of(const kms_batch *batch, const kms_item *item, kms_operation operation, int by_context,
                        const uint8_t *raw) {
    kms_place prefix = prefix_of(item, operation);
    uint64_t state = hash(hash(hash(batch->seed, &item->key, raw), &item->source_key, raw), &prefix, raw);
    return by_context ? hash(hash(state, &item->context, raw), &item->source_context, raw) : state;
}

static void join_group(kms_batch *batch, kms_item *item, kms_operation operation, int by_context, const uint8_t *raw) {
    uint64_t slot = hash_of(batch, item, operation, by_context, raw);
    for (slot ^= slot >> 32;; slot++) {
        uint16_t *bucket = &batch->buckets[slot % KMS_BATCH_BUCKETS];
        if (*bucket == 0) {
            batch->first_items[batch->group_count] = (uint32_t)(item - batch->items);
            *bucket = (uint16_t)++batch->group_count;
        }
        item->group = *bucket - 1u;
        if (belong_together(item, &batch->items[batch->first_items[item->group]], operation, by_context, raw)) return;
    }
}

static int group_all(kms_batch *batch, kms_operation operation, int by_context, const uint8_t *raw) {
    const kms_item *last = NULL;
    memset(batch->buckets, 0, sizeof batch->buckets);
    if (kms_nonces((uint8_t *)&batch->seed, sizeof batch->seed) != KMS_OK) return 0;
    for (uint32_t i = 0; i < batch->item_count; i++) {
        kms_item *item = &batch->items[i];
        if (item->status != KMS_OK) continue;
        if (last && belong_together(last, item, operation, by_context, raw))
            item->group = last->group;
        else
            join_group(batch, item, operation, by_context, raw);
        last = item;
    }
    return 1;
}

/* --- the request -------------------------------------------------------------------------------------------------- */

static int read_all(kms_batch *batch, struct kms_fields *fields, kms_operation operation, const uint8_t *raw,
                    int written, struct kms_wire *wire) {
    while (wire->next < wire->end) {
        int is_item = *wire->next == KMS_WIRE_TAG(KMS_ITEMS, KMS_WIRE_BYTES);
        if (!is_item && !kms_read_field(fields, &batch_shapes[operation], raw, wire)) return 0;
        if (!is_item) continue;
        wire->next++;
        if (batch->item_count == KMS_MAXIMUM_ITEMS) return 0;
        if (!read_item(&batch->items[batch->item_count++], operation, raw, wire)) return 0;
    }
    if (fields->numbers[KMS_KEY_SPEC] > INT32_MAX || fields->numbers[KMS_NUMBER_OF_BYTES] > INT32_MAX) return 0;
    int are_keys_short = fields->key.len <= KMS_MAXIMUM_KEY_ID && fields->source_key.len <= KMS_MAXIMUM_KEY_ID;
    return batch->item_count > 0 && (written || are_keys_short);
}

/* Checks the batch's own contexts. One that is too long rejects the whole request. */
static int check_own(const struct kms_fields *fields, const uint8_t *raw) {
    kms_item unused = {.status = KMS_OK};
    return check_context(&unused, &fields->context, raw, 0) && check_context(&unused, &fields->source_context, raw, 0);
}

int kms_batch_scan(kms_batch *batch, kms_operation operation, const uint8_t *raw, size_t raw_len, int by_context,
                   int written) {
    struct kms_fields fields = {.present = 0};
    struct kms_wire wire = {raw, raw + raw_len};
    batch->item_count = batch->group_count = batch->data_keys = batch->unfit = batch->with_own_context = 0;
    if (operation > KMS_DATA_KEY || raw_len > INT32_MAX || !read_all(batch, &fields, operation, raw, written, &wire) ||
        !check_own(&fields, raw))
        return 0;
    batch->key = fields.key;
    batch->source_key = fields.source_key;
    batch->context = fields.context;
    batch->source_context = fields.source_context;
    batch->key_spec = fields.numbers[KMS_KEY_SPEC];
    batch->number_of_bytes = fields.numbers[KMS_NUMBER_OF_BYTES];
    batch->has_number_of_bytes = (fields.present & KMS_BIT(KMS_NUMBER_OF_BYTES)) != 0;
    for (uint32_t i = 0; i < batch->item_count; i++) {
        kms_item *item = &batch->items[i];
        batch->with_own_context += item->context.len > 0 || item->source_context.len > 0;
        if (!complete(item, operation, &fields, raw, written)) return 0;
        if (item->status == KMS_OK)
            batch->data_keys += item->count;
        else
            batch->unfit++;
    }
    return group_all(batch, operation, by_context, raw);
}
