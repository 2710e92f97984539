/* Fuzzes messages of the AWS Encryption SDK's format: reads each input as a header, and where the data key (bytes 0-31)
 * opens it, its frames are decrypted at once and in parts, which must agree. fuzz_written.c encrypts inputs.
 */
#include "message.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_keyring();
    read_message(data, size);
    return 0;
}
