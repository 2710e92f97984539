/* Tokens: what a caller keeps for the service and can neither read nor make. They hold no key. See key_wrapping.h. */
#include <string.h>

#include "key_wrapping.h"

#define TOKEN_SEALING "kms-grpc v1 token sealing"

static int fits(size_t data_len, size_t sealed_len) {
    return data_len > 0 && data_len <= KMS_MAXIMUM_PLAINTEXT && sealed_len == data_len + KMS_WRAPPING_OVERHEAD;
}

kms_status kms_token_seal(uint8_t *sealed, size_t sealed_len, uint64_t service, const uint8_t *associated,
                          size_t associated_len, const uint8_t *data, size_t data_len) {
    if (!fits(data_len, sealed_len)) {
        memset(sealed, 0, sealed_len);
        return KMS_WRONG_LENGTH;
    }
    return kms_wrap(sealed, service, KMS_SERVICE_KEY, TOKEN_SEALING, associated, associated_len, data, data_len);
}

kms_status kms_token_open(uint8_t *data, size_t data_len, uint64_t service, const uint8_t *associated,
                          size_t associated_len, const uint8_t *sealed, size_t sealed_len) {
    if (!fits(data_len, sealed_len)) {
        memset(data, 0, data_len);
        return KMS_WRAPPED_KEY_DAMAGED;
    }
    return kms_unwrap(data, data_len, service, KMS_SERVICE_KEY, TOKEN_SEALING, associated, associated_len, sealed,
                      sealed_len);
}
