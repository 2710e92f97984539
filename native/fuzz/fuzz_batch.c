/* Fuzzes batches: a request that the scanner accepts is planned and processed in two parts, within the bounds that the
 * plan gave. The first byte of an input chooses the operation and whether groups have contexts, the rest is the
 * request. Every fourth group is not admitted.
 */
#include "core.h"
#include "fuzz.h"
#include "keyring.h"
#include "xaes.h"

#define DATA_KEY_LEN 32
#define DATA_KEYS_MOST 500

static const kms_material *material(void) {
    static kms_material *made;
    union kms_key key;
    if (made) return made;
    for (uint8_t i = 0; i < 32; i++) key.key[i] = i;
    made = calloc(1, sizeof *made + 10);
    REQUIRE(made && kms_keyring_open(16) == KMS_OK && kms_xaes_subkey(&key) == KMS_OK);
    REQUIRE(kms_keyring_put(&made->handle, &key, KMS_MESSAGE_ROOT) == KMS_OK);
    made->associated_len = 10;
    memcpy(made->associated, "\0\x08the:name", 10);
    return made;
}

static void require_places(const kms_batch *batch, size_t raw_len) {
    for (uint32_t i = 0; i < batch->item_count; i++) {
        const kms_item *item = &batch->items[i];
        const kms_place places[] = {item->own, item->key, item->source_key, item->context, item->source_context};
        for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
            REQUIRE((size_t)places[p].at + places[p].len <= raw_len);
        REQUIRE(item->status != KMS_OK || item->group < batch->group_count);
    }
}

static void process(kms_batch *batch, kms_operation operation, const uint8_t *raw, size_t raw_len) {
    kms_admitted *admitted = calloc(batch->group_count + 1, sizeof *admitted);
    uint32_t *done = calloc(batch->group_count + 1, sizeof *done), *failed = calloc(batch->item_count, sizeof *failed);
    uint32_t *data_keys = calloc(batch->group_count + 1, sizeof *data_keys);
    REQUIRE(admitted && done && data_keys && failed);
    for (uint32_t i = 0; i < batch->group_count; i++)
        if (i % 4 != 3) admitted[i] = (kms_admitted){material(), material(), i, 300 - i % 300};
    size_t size = kms_batch_plan(batch, operation, admitted, DATA_KEY_LEN);
    uint8_t *out = malloc(size ? size : 1);
    uint32_t middle = batch->item_count / 2, count = batch->item_count, sum = 0;
    REQUIRE(out);
    if (middle)
        REQUIRE(kms_batch_run(out, size, batch, operation, admitted, DATA_KEY_LEN, 0, middle, raw, raw_len) == KMS_OK);
    REQUIRE(kms_batch_run(out, size, batch, operation, admitted, DATA_KEY_LEN, middle, count, raw, raw_len) == KMS_OK);
    sum = kms_batch_tally(done, data_keys, failed, batch);
    for (uint32_t i = 0; i < batch->group_count; i++) {
        sum += done[i];
        REQUIRE(operation != KMS_DATA_KEY || data_keys[i] >= done[i]);
    }
    REQUIRE(sum == count);
    free(out);
    free(failed);
    free(data_keys);
    free(done);
    free(admitted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static kms_batch batch;
    if (size == 0) return 0;
    kms_operation operation = (kms_operation)(data[0] & 3);
    uint8_t *raw = malloc(size); /* an exact allocation, so that ASan sees a read beyond it */
    REQUIRE(raw);
    memcpy(raw, data + 1, size - 1);
    if (kms_batch_scan(&batch, operation, raw, size - 1, data[0] & 4, data[0] & 8)) {
        require_places(&batch, size - 1);
        if (operation != KMS_DATA_KEY || batch.data_keys <= DATA_KEYS_MOST) process(&batch, operation, raw, size - 1);
    }
    free(raw);
    return 0;
}
