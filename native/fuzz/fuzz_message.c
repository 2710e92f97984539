/* Fuzzes messages of the AWS Encryption SDK's format: reads each input as a header, and where the data key (bytes 0-31)
 * opens it, its frames are decrypted at once and in parts, which must agree. Encrypts each input as well, and requires
 * that it decrypts.
 */
#include "core.h"
#include "esdk.h"
#include "fuzz.h"

static uint8_t data_key[32];

static void open_keyring(void) {
    for (uint8_t i = 0; i < 32; i++) data_key[i] = i;
    REQUIRE(kms_keyring_open(64) == KMS_OK);
}

/* Allocates exactly `size` bytes. A byte that is not written keeps `fill`, which differs between the two readings. */
static uint8_t *allocate(size_t size, uint8_t fill) {
    uint8_t *bytes = malloc(size ? size : 1);
    REQUIRE(bytes);
    memset(bytes, fill, size);
    return bytes;
}

/* Decrypts the bytes after the header in parts of `step` bytes. Returns the length of the plaintext, or SIZE_MAX if the
 * message is rejected. */
static size_t decrypt(uint8_t *out, const uint8_t *data, size_t size, const kms_esdk_header_t *header, size_t step) {
    kms_esdk_message_t message;
    size_t held_len = header->frame_len + KMS_ESDK_HELD_OVERHEAD, total = 0;
    size_t key_len = kms_esdk_suite(header->suite)->key_len;
    if (kms_esdk_decryption_begin_with(&message, data, header->header_len, data_key, key_len) != KMS_OK)
        return SIZE_MAX;
    uint8_t *held = malloc(held_len);
    REQUIRE(held);
    kms_status status = KMS_OK;
    for (size_t at = header->header_len; status == KMS_OK && at < size; at += step) {
        size_t in_len = size - at < step ? size - at : step;
        size_t len = kms_esdk_decrypted_len(&message, held, held_len, data + at, in_len);
        REQUIRE(total + len <= size);
        uint8_t *part = allocate(len, (uint8_t)step);
        status = kms_esdk_decrypt(part, len, &message, held, held_len, data + at, in_len);
        for (size_t i = 0; status != KMS_OK && i < len; i++) REQUIRE(part[i] == 0);
        memcpy(out + total, part, len);
        free(part);
        total += len;
    }
    int ended = message.progress == 1;
    REQUIRE(kms_keyring_evict(message.key) == KMS_OK);
    free(held);
    return status == KMS_OK && ended ? total : SIZE_MAX;
}

static void read_message(const uint8_t *data, size_t size) {
    kms_esdk_header_t header;
    kms_status status = kms_esdk_header_read(&header, data, size);
    REQUIRE(status == KMS_OK || status == KMS_INVALID_CIPHERTEXT ||
            (status == KMS_INCOMPLETE && size < KMS_ESDK_MAXIMUM_HEADER));
    if (status != KMS_OK) return;
    REQUIRE(header.header_len <= size && header.frame_len <= KMS_ESDK_MAXIMUM_FRAME);
    uint8_t *whole = allocate(size, 0xA5), *parts = allocate(size, 0xA5);
    size_t len = decrypt(whole, data, size, &header, size), again = decrypt(parts, data, size, &header, 7);
    REQUIRE(len == again && (len == SIZE_MAX || memcmp(whole, parts, len) == 0));
    free(whole);
    free(parts);
}

/* Encrypts the input in two parts and reads it again. */
static void write_and_read(const uint8_t *data, size_t size) {
    const kms_esdk_begin_t begin = {.frame_len = size ? 1 + data[0] : 1};
    uint8_t header[KMS_ESDK_HEADER_OVERHEAD + 4], held[256];
    kms_esdk_message_t message;
    kms_esdk_header_t read;
    REQUIRE(kms_esdk_encryption_begin_with(header, sizeof header, &message, data_key, 32, (const uint8_t *)"blob", 4,
                                           &begin) == KMS_OK);
    size_t first = size / 3, rest = size - first, at = sizeof header;
    size_t most = at + size + KMS_ESDK_FINAL_OVERHEAD + (size / begin.frame_len + 2) * KMS_ESDK_FRAME_OVERHEAD;
    uint8_t *written = allocate(most, 0xA5), *plaintext = allocate(most, 0xA5);
    memcpy(written, header, at);
    size_t len = kms_esdk_encrypted_len(&message, first, 0);
    REQUIRE(kms_esdk_encrypt(written + at, len, &message, held, sizeof held, data, first, 0) == KMS_OK);
    at += len;
    len = kms_esdk_encrypted_len(&message, rest, 1);
    REQUIRE(kms_esdk_encrypt(written + at, len, &message, held, sizeof held, data + first, rest, 1) == KMS_OK);
    REQUIRE(kms_keyring_evict(message.key) == KMS_OK && at + len <= most);
    REQUIRE(kms_esdk_header_read(&read, written, at + len) == KMS_OK && read.header_len == sizeof header);
    REQUIRE(decrypt(plaintext, written, at + len, &read, 13) == size && memcmp(plaintext, data, size) == 0);
    free(written);
    free(plaintext);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_keyring();
    read_message(data, size);
    write_and_read(data, size);
    return 0;
}
