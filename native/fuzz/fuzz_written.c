/* Fuzzes the writer of messages of the AWS Encryption SDK's format: encrypts each input in two parts, and requires that
 * it decrypts. The first byte gives the length of a frame. This target is separate from fuzz_message.c because it is
 * slow: each frame costs a key schedule. More than MOST_FRAMES frames would test nothing new.
 */
#include "message.h"

#define MOST_FRAMES 20

/* Encrypts the input in two parts and reads it again. */
static void write_and_read(const uint8_t *data, size_t size) {
    const kms_esdk_begin_t begin = {.frame_len = size ? 1 + data[0] : 1};
    if (size > MOST_FRAMES * begin.frame_len) size = MOST_FRAMES * begin.frame_len;
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
    write_and_read(data, size);
    return 0;
}
