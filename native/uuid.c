#include <string.h>

#include "random.h"

#define UUID_SIZE 16

kms_status kms_uuid(char text[KMS_UUID_TEXT_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[UUID_SIZE];
    memset(text, 0, KMS_UUID_TEXT_SIZE);
    kms_status status = kms_nonces(bytes, sizeof bytes);
    if (status != KMS_OK) return status;
    bytes[6] = (uint8_t)((bytes[6] & 0x0F) | 0x40); /* version 4: random */
    bytes[8] = (uint8_t)((bytes[8] & 0x3F) | 0x80); /* the variant of RFC 9562 */
    for (size_t i = 0; i < UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *text++ = '-';
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 0x0F];
    }
    return KMS_OK;
}
