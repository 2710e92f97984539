/* Fuzzes records: opens each input as one record and as several under two keys, and seals it, changes it and opens it
 * again.
 *
 * The data key is bytes 0-31, the context {} in its canonical form; tests/vectors/corpus/record has records that open.
 */
#include "core.h"
#include "fuzz.h"

static const uint8_t context[4];
#define CONTEXT context, sizeof context

static uint64_t import(uint8_t first) {
    uint64_t handle = 0;
    uint8_t data_key[KMS_DATA_KEY_SIZE];
    for (uint8_t i = 0; i < sizeof data_key; i++) data_key[i] = (uint8_t)(first + i);
    REQUIRE(kms_keyring_open(32) == KMS_OK);
    REQUIRE(kms_record_key_import(&handle, data_key, sizeof data_key) == KMS_OK);
    return handle;
}

static uint64_t key(void) {
    static uint64_t handle;
    if (!handle) handle = import(0);
    return handle;
}

static uint64_t other_key(void) {
    static uint64_t handle;
    if (!handle) handle = import(100);
    return handle;
}

static uint8_t *allocate(size_t size) {
    uint8_t *bytes = malloc(size ? size : 1);
    REQUIRE(bytes);
    memset(bytes, 0xA5, size);
    return bytes;
}

static int is_zero(const uint8_t *bytes, size_t len) {
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++) any |= bytes[i];
    return any == 0;
}

/* Requires that sealing the plaintext with the same nonce gives the same record. */
static void require_sealed_again(const uint8_t *record, size_t size, const uint8_t *plaintext) {
    uint8_t *again = allocate(size);
    memcpy(fuzz_nonce, record + KMS_RECORD_PREFIX_SIZE, sizeof fuzz_nonce);
    REQUIRE(kms_record_seal(again, size, key(), record + 4, KMS_WRAPPED_DATA_KEY_SIZE, CONTEXT, plaintext,
                            size - KMS_RECORD_OVERHEAD) == KMS_OK);
    REQUIRE(memcmp(again, record, size) == 0);
    free(again);
}

/* Requires that a cached data key gives what kms_record_open gave, and that a budget is taken for records alone. */
static void open_within(const uint8_t *data, size_t size, size_t len, kms_status expected) {
    uint64_t granted = 0;
    kms_data_key_t cached = {.key = key()};
    uint8_t *plaintext = allocate(len);
    kms_budget_begin(&cached.budget, &granted, 1, 0, 1.0);
    kms_budget_allow(&cached.budget, 1.0, 0, 0);
    REQUIRE(kms_record_open_within(plaintext, len, &cached, 0.0, CONTEXT, data, size) == expected);
    REQUIRE(granted == (kms_record_check(data, size) == KMS_OK));
    REQUIRE(expected == KMS_OK || is_zero(plaintext, len));
    free(plaintext);
}

static void open_whole(const uint8_t *data, size_t size) {
    size_t len = size > KMS_RECORD_OVERHEAD ? size - KMS_RECORD_OVERHEAD : 0;
    uint8_t *plaintext = allocate(len);
    kms_status status = kms_record_open(plaintext, len, key(), CONTEXT, data, size);
    open_within(data, size, len, status);
    if (status == KMS_OK) {
        REQUIRE(kms_record_check(data, size) == KMS_OK);
        require_sealed_again(data, size, plaintext);
    } else {
        REQUIRE(is_zero(plaintext, len));
    }
    free(plaintext);
}

/* Reads the input as a count of up to 7, then for each record its key and a u16 length, then the records. Each
 * plaintext has a buffer of its own. */
static void open_batch(const uint8_t *data, size_t size) {
    uint64_t keys[8] = {0}, lens[8] = {0};
    uint8_t statuses[8], *plaintexts[8] = {NULL};
    const uint8_t *records[8] = {NULL};
    size_t count = size ? data[0] % 8 : 0, at = 1 + 3 * count;
    if (size < at) return;
    for (size_t i = 0; i < count; i++) {
        keys[i] = data[1 + 3 * i] & 1 ? other_key() : key();
        lens[i] = (size_t)data[2 + 3 * i] << 8 | data[3 + 3 * i];
        if (lens[i] > size - at) lens[i] = size - at;
        records[i] = data + at;
        at += lens[i];
        plaintexts[i] = allocate(lens[i] < KMS_RECORD_OVERHEAD ? 0 : lens[i] - KMS_RECORD_OVERHEAD);
    }
    kms_status status = kms_record_open_many(plaintexts, statuses, keys, CONTEXT, records, lens, count);
    REQUIRE(status == KMS_OK || status == KMS_WRONG_LENGTH);
    for (size_t i = 0; i < count; i++) {
        if (status == KMS_OK && statuses[i] != KMS_OK) REQUIRE(is_zero(plaintexts[i], lens[i] - KMS_RECORD_OVERHEAD));
        free(plaintexts[i]);
    }
}

/* Reads the input as a wrapped key, offset and bits of a change, and a plaintext. */
static void seal_and_change(const uint8_t *data, size_t size) {
    const size_t fixed = KMS_WRAPPED_DATA_KEY_SIZE + 3;
    if (size < fixed) return;
    const uint8_t *change = data + KMS_WRAPPED_DATA_KEY_SIZE, *plaintext = data + fixed;
    size_t len = size - fixed, record_len = len + KMS_RECORD_OVERHEAD;
    uint8_t *record = allocate(record_len), *opened = allocate(len);
    kms_status status =
        kms_record_seal(record, record_len, key(), data, KMS_WRAPPED_DATA_KEY_SIZE, CONTEXT, plaintext, len);
    REQUIRE(status == KMS_OK);
    size_t at = ((size_t)change[0] << 8 | change[1]) % record_len;
    record[at] ^= change[2];
    status = kms_record_open(opened, len, key(), CONTEXT, record, record_len);
    REQUIRE((status == KMS_OK) == (change[2] == 0));
    REQUIRE(status == KMS_OK ? memcmp(opened, plaintext, len) == 0 : is_zero(opened, len));
    free(record);
    free(opened);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_whole(data, size);
    open_batch(data, size);
    seal_and_change(data, size);
    return 0;
}
