/* Processes the items of a batch and writes the serialised results.
 *
 *     response   Results, one for each item; Python appends Keys
 *     result     Plaintext or CiphertextBlob, Key, in ReEncryptBatch SourceKey
 *                in GenerateDataKeyBatch: DataKeys (Plaintext, CiphertextBlob), as many as the item asks for, and Key
 *
 * kms_batch_plan gives each result its place beforehand, so several threads can process parts of a batch. Up to 256
 * messages of one group, a chunk, go through the cipher at once.
 *
 * A call draws the nonces of all its messages at once, into the end of its part of the answer. A message is longer than
 * a nonce, so no message overwrites the nonce of a later one, and the last messages overwrite all of them.
 */
#include <openssl/crypto.h>

#include "blob.h"
#include "random.h"
#include "request.h"

/* Field numbers of the responses, their results, and a data key. */
enum {
    RESULTS = KMS_ENCRYPT_BATCH_RESPONSE_RESULTS,
    PLAINTEXT = KMS_DECRYPT_BATCH_RESULT_PLAINTEXT,
    BLOB = KMS_ENCRYPT_BATCH_RESULT_CIPHERTEXT_BLOB,
    KEY = KMS_ENCRYPT_BATCH_RESULT_KEY,
    SOURCE_KEY = KMS_RE_ENCRYPT_BATCH_RESULT_SOURCE_KEY,
    DATA_KEYS = KMS_GENERATE_DATA_KEY_BATCH_RESULT_DATA_KEYS,
};

_Static_assert(KMS_DECRYPT_BATCH_RESPONSE_RESULTS == RESULTS && KMS_RE_ENCRYPT_BATCH_RESPONSE_RESULTS == RESULTS &&
                   KMS_GENERATE_DATA_KEY_BATCH_RESPONSE_RESULTS == RESULTS,
               "the responses number their results alike");
_Static_assert(KMS_DECRYPT_BATCH_RESULT_KEY == KEY && KMS_RE_ENCRYPT_BATCH_RESULT_KEY == KEY &&
                   KMS_GENERATE_DATA_KEY_BATCH_RESULT_KEY == KEY && KMS_RE_ENCRYPT_BATCH_RESULT_CIPHERTEXT_BLOB == BLOB,
               "the results number their fields alike");
_Static_assert(KMS_BATCH_DATA_KEY_PLAINTEXT == PLAINTEXT && KMS_BATCH_DATA_KEY_CIPHERTEXT_BLOB == BLOB,
               "a data key numbers its fields as a result does");

#define ASSOCIATED_MOST ((size_t)KMS_MAXIMUM_ARN + 2 + KMS_MAXIMUM_CONTEXT)
#define ARENA_SIZE (4 * ASSOCIATED_MOST)
#define DRAWN_SIZE 8192 /* the most bytes of data keys in a chunk */
#define DATA_KEY_MOST 1024

/* --- places in the answer ----------------------------------------------------------------------------------------- */

static uint32_t messages_of(const kms_item *item, kms_operation operation) {
    return operation == KMS_DATA_KEY ? item->count : 1;
}

static uint32_t data_key_size(uint32_t len) {
    return kms_wire_field_size(len) + kms_wire_field_size(len + KMS_BLOB_OVERHEAD);
}

static uint32_t result_size(const kms_item *item, kms_operation operation, const kms_admitted *admitted,
                            uint32_t data_key_len) {
    uint32_t keys = 1 + kms_wire_number_size(admitted->key);
    switch (operation) {
        case KMS_ENCRYPT:
            return keys + kms_wire_field_size(item->data.len + KMS_BLOB_OVERHEAD);
        case KMS_DECRYPT:
            return keys + kms_wire_field_size(item->data.len - KMS_BLOB_OVERHEAD);
        case KMS_RE_ENCRYPT:
            return keys + 1 + kms_wire_number_size(admitted->source_key) + kms_wire_field_size(item->data.len);
        default:
            return keys + item->count * kms_wire_field_size(data_key_size(data_key_len));
    }
}

size_t kms_batch_plan(kms_batch *batch, kms_operation operation, const kms_admitted *admitted, uint32_t data_key_len) {
    size_t at = 0;
    for (uint32_t i = 0; i < batch->item_count; i++) {
        kms_item *item = &batch->items[i];
        const kms_admitted *group = &admitted[item->group];
        if (item->status == KMS_OK && !group->material) item->status = KMS_NOT_ADMITTED;
        item->out_at = (uint32_t)at;
        item->out_len =
            item->status == KMS_OK ? kms_wire_field_size(result_size(item, operation, group, data_key_len)) : 0;
        at += item->out_len;
    }
    return at;
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

/* Associated data, cached for the next items of the chunk: most items share their encryption context. */
struct made {
    kms_place pairs;
    const uint8_t *bytes;
    size_t len;
};

struct chunk {
    uint8_t *out;
    const uint8_t *raw;
    kms_operation operation;
    uint32_t data_key_len;
    const kms_admitted *admitted;
    size_t count;
    kms_item *items[KMS_XAES_BATCH];
    struct kms_message opening[KMS_XAES_BATCH];
    struct kms_message sealing[KMS_XAES_BATCH];
    uint8_t *data_keys[KMS_XAES_BATCH]; /* plaintext */
    const uint8_t *nonces;              /* of the next message */
    struct made made, source_made;
    size_t arena_len;
    uint8_t arena[ARENA_SIZE];
};

static void begin(struct chunk *chunk, const kms_admitted *admitted) {
    chunk->admitted = admitted;
    chunk->count = 0;
    chunk->arena_len = 0;
    chunk->made.bytes = chunk->source_made.bytes = NULL;
}

static int is_full(const struct chunk *chunk) {
    return chunk->count == KMS_XAES_BATCH || chunk->arena_len + 2 * ASSOCIATED_MOST > ARENA_SIZE ||
           (chunk->operation == KMS_DATA_KEY && (chunk->count + 1) * chunk->data_key_len > DRAWN_SIZE);
}

/* Makes the associated data of an item: ARN and canonical context. */
static kms_status associate(struct chunk *chunk, struct made *made, const kms_material *material,
                            const kms_place *pairs) {
    if (made->bytes && made->pairs.at == pairs->at && made->pairs.len == pairs->len) return KMS_OK;
    uint8_t *bytes = chunk->arena + chunk->arena_len;
    uint32_t context_len = 0;
    memcpy(bytes, material->associated, material->associated_len);
    kms_status status =
        kms_read_context(bytes + material->associated_len, &context_len, chunk->raw + pairs->at, pairs->len);
    *made = (struct made){*pairs, bytes, material->associated_len + (size_t)context_len};
    chunk->arena_len += made->len;
    return status;
}

/* --- processing a chunk ------------------------------------------------------------------------------------------- */

static kms_status seal_all(const struct chunk *chunk, struct kms_message *messages, size_t count) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, chunk->admitted->material->handle, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) status = kms_xaes_seal(&root, messages, count);
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

/* Rejects other versions and suites; tag and commitment reject everything else. */
static kms_status open_all(const struct chunk *chunk, struct kms_message *messages, const kms_material *material) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, material->handle, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) status = kms_xaes_open(&root, messages, chunk->count);
    OPENSSL_cleanse(&root, sizeof root);
    for (size_t i = 0; status == KMS_OK && i < chunk->count; i++) {
        kms_item *item = chunk->items[i];
        int well = messages[i].status == KMS_OK && kms_blob_is_known(chunk->raw + item->data.at, item->data.len);
        if (!well) OPENSSL_cleanse(messages[i].out, messages[i].len);
        item->status = (uint8_t)(well ? KMS_OK : KMS_INVALID_CIPHERTEXT);
    }
    return status;
}

/* Decrypts each plaintext into the place of its new ciphertext. Zeroes the whole place of a blob that does not open. */
static kms_status reseal(struct chunk *chunk) {
    struct kms_message opened[KMS_XAES_BATCH];
    size_t count = 0;
    kms_status status = open_all(chunk, chunk->opening, chunk->admitted->source);
    for (size_t i = 0; status == KMS_OK && i < chunk->count; i++) {
        const struct kms_message *message = &chunk->sealing[i];
        if (chunk->items[i]->status == KMS_OK)
            opened[count++] = *message;
        else
            memset(message->out - KMS_HEADER_SIZE, 0, message->len + KMS_BLOB_OVERHEAD);
    }
    return status == KMS_OK && count ? seal_all(chunk, opened, count) : status;
}

static kms_status seal_data_keys(struct chunk *chunk) {
    uint8_t drawn[DRAWN_SIZE];
    uint32_t len = chunk->data_key_len;
    kms_status status = kms_random(drawn, chunk->count * len);
    for (size_t i = 0; status == KMS_OK && i < chunk->count; i++) {
        memcpy(chunk->data_keys[i], drawn + i * len, len);
        memcpy(chunk->sealing[i].out, drawn + i * len, len);
    }
    OPENSSL_cleanse(drawn, chunk->count * len);
    return status == KMS_OK ? seal_all(chunk, chunk->sealing, chunk->count) : status;
}

static kms_status finish(struct chunk *chunk) {
    if (chunk->count == 0) return KMS_OK;
    switch (chunk->operation) {
        case KMS_ENCRYPT:
            return seal_all(chunk, chunk->sealing, chunk->count);
        case KMS_DECRYPT:
            return open_all(chunk, chunk->opening, chunk->admitted->material);
        case KMS_RE_ENCRYPT:
            return reseal(chunk);
        default:
            return seal_data_keys(chunk);
    }
}

/* --- putting items into chunks ------------------------------------------------------------------------------------ */

static uint8_t *put_head(uint8_t *out, uint8_t number, uint32_t len) {
    return kms_wire_put_number(out, KMS_WIRE_TAG(number, KMS_WIRE_BYTES), len);
}

/* Writes the header of a blob and adds it to the messages to seal. */
static void will_seal(struct chunk *chunk, uint8_t *blob, const uint8_t *plaintext, uint32_t len) {
    memcpy(blob, chunk->admitted->material->prefix, KMS_PREFIX_SIZE);
    memcpy(blob + KMS_NONCE_AT, chunk->nonces, KMS_NONCE_SIZE);
    chunk->nonces += KMS_NONCE_SIZE;
    chunk->sealing[chunk->count] = kms_blob_sealing(blob, chunk->made.bytes, chunk->made.len, plaintext, len);
}

static void will_open(struct chunk *chunk, uint8_t *plaintext, const struct made *made, const kms_item *item) {
    chunk->opening[chunk->count] =
        kms_blob_opening(plaintext, made->bytes, made->len, chunk->raw + item->data.at, item->data.len);
}

/* Adds an item to the chunk and writes the head of its field. finish() writes the content. Returns the place after
 * it. */
static uint8_t *add(struct chunk *chunk, uint8_t *out, kms_item *item) {
    uint32_t len = item->data.len;
    chunk->items[chunk->count] = item;
    if (chunk->operation == KMS_ENCRYPT) {
        out = put_head(out, BLOB, len + KMS_BLOB_OVERHEAD);
        will_seal(chunk, out, chunk->raw + item->data.at, len);
        return out + len + KMS_BLOB_OVERHEAD;
    }
    if (chunk->operation == KMS_DECRYPT) {
        out = put_head(out, PLAINTEXT, len - KMS_BLOB_OVERHEAD);
        will_open(chunk, out, &chunk->made, item);
        return out + len - KMS_BLOB_OVERHEAD;
    }
    out = put_head(out, BLOB, len);
    will_open(chunk, out + KMS_HEADER_SIZE, &chunk->source_made, item);
    will_seal(chunk, out, out + KMS_HEADER_SIZE, len - KMS_BLOB_OVERHEAD);
    return out + len;
}

static uint8_t *add_data_key(struct chunk *chunk, uint8_t *out, kms_item *item) {
    uint32_t len = chunk->data_key_len;
    chunk->items[chunk->count] = item;
    out = put_head(put_head(out, DATA_KEYS, data_key_size(len)), PLAINTEXT, len);
    chunk->data_keys[chunk->count] = out;
    out = put_head(out + len, BLOB, len + KMS_BLOB_OVERHEAD);
    will_seal(chunk, out, out + KMS_HEADER_SIZE, len);
    return out + len + KMS_BLOB_OVERHEAD;
}

/* Adds a message to the chunk, after processing a chunk that is full or of another group. */
static kms_status put(struct chunk *chunk, uint8_t **out, kms_item *item, const kms_admitted *admitted) {
    kms_status status = KMS_OK;
    if (chunk->admitted != admitted || is_full(chunk)) {
        status = finish(chunk);
        begin(chunk, admitted);
    }
    if (status == KMS_OK) status = associate(chunk, &chunk->made, admitted->material, &item->context);
    if (status == KMS_OK && chunk->operation == KMS_RE_ENCRYPT)
        status = associate(chunk, &chunk->source_made, admitted->source, &item->source_context);
    if (status != KMS_OK) return status;
    *out = chunk->operation == KMS_DATA_KEY ? add_data_key(chunk, *out, item) : add(chunk, *out, item);
    chunk->count++;
    return KMS_OK;
}

static kms_status put_result(struct chunk *chunk, kms_item *item, const kms_admitted *admitted) {
    kms_status status = KMS_OK;
    uint32_t messages = messages_of(item, chunk->operation);
    uint32_t size = result_size(item, chunk->operation, admitted, chunk->data_key_len);
    uint8_t *out = put_head(chunk->out + item->out_at, RESULTS, size);
    for (uint32_t i = 0; status == KMS_OK && i < messages; i++) status = put(chunk, &out, item, admitted);
    out = kms_wire_put_number(out, KMS_WIRE_TAG(KEY, KMS_WIRE_VARINT), admitted->key);
    if (chunk->operation == KMS_RE_ENCRYPT)
        kms_wire_put_number(out, KMS_WIRE_TAG(SOURCE_KEY, KMS_WIRE_VARINT), admitted->source_key);
    return status;
}

/* Draws the nonces of all messages to seal into the end of the output. */
static kms_status draw_nonces(struct chunk *chunk, uint8_t *end, const kms_item *items, uint32_t count) {
    size_t messages = 0;
    if (chunk->operation == KMS_DECRYPT) return KMS_OK;
    for (uint32_t i = 0; i < count; i++)
        if (items[i].status == KMS_OK) messages += messages_of(&items[i], chunk->operation);
    uint8_t *nonces = end - messages * KMS_NONCE_SIZE;
    chunk->nonces = nonces;
    return kms_nonces(nonces, messages * KMS_NONCE_SIZE);
}

static kms_status run(struct chunk *chunk, uint8_t *end, kms_item *items, uint32_t count,
                      const kms_admitted *admitted) {
    kms_status status = draw_nonces(chunk, end, items, count);
    for (uint32_t i = 0; status == KMS_OK && i < count; i++)
        if (items[i].status == KMS_OK) status = put_result(chunk, &items[i], &admitted[items[i].group]);
    return status == KMS_OK ? finish(chunk) : status;
}

kms_status kms_batch_run(uint8_t *out, size_t out_len, kms_batch *batch, kms_operation operation,
                         const kms_admitted *admitted, uint32_t data_key_len, uint32_t first, uint32_t end,
                         const uint8_t *raw, size_t raw_len) {
    struct chunk chunk;
    if (first >= end || end > batch->item_count || data_key_len > DATA_KEY_MOST || raw_len > INT32_MAX)
        return KMS_WRONG_LENGTH;
    const kms_item *begins = &batch->items[first], *ends = &batch->items[end - 1];
    size_t len = (size_t)ends->out_at + ends->out_len - begins->out_at;
    if (begins->out_at + len > out_len) return KMS_WRONG_LENGTH;
    chunk.out = out;
    chunk.raw = raw;
    chunk.operation = operation;
    chunk.data_key_len = data_key_len;
    begin(&chunk, NULL);
    kms_status status = run(&chunk, out + begins->out_at + len, batch->items + first, end - first, admitted);
    if (status != KMS_OK) OPENSSL_cleanse(out + begins->out_at, len);
    return status;
}

uint32_t kms_batch_tally(uint32_t *done, uint32_t *data_keys, uint32_t *failed, const kms_batch *batch) {
    uint32_t count = 0;
    memset(done, 0, batch->group_count * sizeof *done);
    memset(data_keys, 0, batch->group_count * sizeof *data_keys);
    for (uint32_t i = 0; i < batch->item_count; i++) {
        const kms_item *item = &batch->items[i];
        if (item->status == KMS_OK) done[item->group]++;
        if (item->status == KMS_OK) data_keys[item->group] += item->count;
        if (item->status != KMS_OK && failed) failed[count] = i;
        count += item->status != KMS_OK;
    }
    return count;
}
