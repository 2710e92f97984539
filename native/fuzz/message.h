/* Definitions that fuzz_message.c and fuzz_written.c share: the data key, and decryption in parts. */
#ifndef KMS_FUZZ_MESSAGE_H
#define KMS_FUZZ_MESSAGE_H

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

#endif
