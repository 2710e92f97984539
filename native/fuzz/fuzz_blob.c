/* Fuzzes ciphertext blobs: opens each input as one blob and as several, and seals it, changes it and opens it again.
 *
 * The key is bytes 0-31, the associated data "associated"; tests/vectors/corpus/blob has blobs that open.
 */
#include "core.h"
#include "fuzz.h"
#include "keyring.h"
#include "xaes.h"

static const uint8_t associated[] = "associated";
#define ASSOCIATED associated, sizeof associated - 1

static uint64_t key_handle(void) {
    static uint64_t handle;
    union kms_key key;
    if (handle) return handle;
    for (uint8_t i = 0; i < 32; i++) key.key[i] = i;
    REQUIRE(kms_keyring_open(16) == KMS_OK && kms_xaes_subkey(&key) == KMS_OK);
    REQUIRE(kms_keyring_put(&handle, &key, KMS_MESSAGE_ROOT) == KMS_OK);
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

/* Requires that sealing the plaintext with the same nonce gives the same blob. */
static void require_sealed_again(const uint8_t *blob, size_t size, const uint8_t *plaintext) {
    uint8_t *again = allocate(size);
    memcpy(fuzz_nonce, blob + KMS_PREFIX_SIZE, sizeof fuzz_nonce);
    REQUIRE(kms_seal(again, size, key_handle(), blob, KMS_PREFIX_SIZE, ASSOCIATED, plaintext,
                     size - KMS_BLOB_OVERHEAD) == KMS_OK);
    REQUIRE(memcmp(again, blob, size) == 0);
    free(again);
}

static void open_whole(const uint8_t *data, size_t size) {
    size_t len = size > KMS_BLOB_OVERHEAD ? size - KMS_BLOB_OVERHEAD : 0;
    uint8_t *plaintext = allocate(len), *resealed = allocate(size);
    int opened = kms_open(plaintext, len, key_handle(), ASSOCIATED, data, size) == KMS_OK;
    int moved = kms_reseal(resealed, key_handle(), ASSOCIATED, data, size, key_handle(), data,
                           size < KMS_PREFIX_SIZE ? size : KMS_PREFIX_SIZE, ASSOCIATED) == KMS_OK;
    REQUIRE(opened == moved);
    if (opened)
        require_sealed_again(data, size, plaintext);
    else
        REQUIRE(is_zero(plaintext, len) && is_zero(resealed, size));
    (void)kms_blob_check(data, size);
    free(plaintext);
    free(resealed);
}

/* Reads the input as a count of up to 7, u16 lengths, and the blobs. */
static void open_batch(const uint8_t *data, size_t size) {
    uint32_t lens[8] = {0};
    uint8_t statuses[8];
    size_t count = size ? data[0] % 8 : 0, total = 0;
    if (size < 1 + 2 * count) return;
    for (size_t i = 0; i < count; i++) {
        lens[i] = (uint32_t)data[1 + 2 * i] << 8 | data[2 + 2 * i];
        total += lens[i];
    }
    if (total > size - 1 - 2 * count || total < count * KMS_BLOB_OVERHEAD) return;
    size_t room = total - count * KMS_BLOB_OVERHEAD;
    uint8_t *plaintexts = allocate(room);
    kms_status status =
        kms_open_many(plaintexts, room, statuses, key_handle(), ASSOCIATED, data + 1 + 2 * count, lens, count);
    REQUIRE(status == KMS_OK || status == KMS_WRONG_LENGTH);
    REQUIRE(status == KMS_OK || is_zero(plaintexts, room));
    free(plaintexts);
}

/* Reads the input as a prefix, offset and bits of a change, and a plaintext. */
static void seal_and_change(const uint8_t *data, size_t size) {
    if (size < KMS_PREFIX_SIZE + 4) return;
    const uint8_t *plaintext = data + KMS_PREFIX_SIZE + 3;
    size_t len = size - KMS_PREFIX_SIZE - 3, blob_len = len + KMS_BLOB_OVERHEAD;
    REQUIRE(blob_len > KMS_BLOB_OVERHEAD);
    uint8_t *blob = allocate(blob_len), *opened = allocate(len);
    kms_status status = kms_seal(blob, blob_len, key_handle(), data, KMS_PREFIX_SIZE, ASSOCIATED, plaintext, len);
    REQUIRE(status == (len <= KMS_MAXIMUM_PLAINTEXT ? KMS_OK : KMS_WRONG_LENGTH));
    size_t at = ((size_t)data[KMS_PREFIX_SIZE] << 8 | data[KMS_PREFIX_SIZE + 1]) % blob_len;
    uint8_t bits = data[KMS_PREFIX_SIZE + 2];
    blob[at] ^= bits;
    status = kms_open(opened, len, key_handle(), ASSOCIATED, blob, blob_len);
    REQUIRE(status != KMS_OK || (bits == 0 && memcmp(opened, plaintext, len) == 0));
    REQUIRE(status == KMS_OK || is_zero(opened, len));
    free(blob);
    free(opened);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_whole(data, size);
    open_batch(data, size);
    seal_and_change(data, size);
    return 0;
}
