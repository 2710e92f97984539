/* Begins messages of the AWS Encryption SDK's format, to encrypt and to decrypt. See esdk.h for the layout.
 *
 * This code generates or opens the data key, stores the key derived from it in the keyring, and wipes the data key. It
 * writes suite 0x0478: AES-256-GCM, HKDF-SHA-512, key commitment, no signature.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "esdk.h"
#include "keyring.h"
#include "random.h"

#define WRITTEN_SUITE 0x0478
#define DATA_KEY_SIZE 32
#define PROVIDER "aws-kms"
#define PROVIDER_SIZE (sizeof PROVIDER - 1)
#define FIXED_SIZE (1 + 2 + KMS_ESDK_MESSAGE_ID_SIZE + 2 + 2 + 2 + PROVIDER_SIZE + 2 + 2 + 1 + 4)
#define TRAILER_SIZE (KMS_ESDK_COMMITMENT_SIZE + KMS_ESDK_TAG_SIZE)

_Static_assert(FIXED_SIZE + TRAILER_SIZE == KMS_ESDK_HEADER_OVERHEAD, "the fixed parts of a header");

/* Makes or compares the header's tag: AES-GCM of an empty plaintext. */
static int run_header(struct kms_esdk_cipher *cipher, uint8_t *tag, const uint8_t *nonce, const uint8_t *header,
                      size_t len) {
    uint8_t nothing[1];
    return kms_esdk_cipher_run(cipher, nothing, tag, nonce, header, len, NULL, 0);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct written {
    uint8_t *header;
    uint8_t *data_key_at; /* place of the encrypted data key */
    uint8_t *commitment_at;
};

static uint8_t *put_field(uint8_t *out, const uint8_t *bytes, size_t len) {
    out = kms_put_u16(out, len);
    if (len > 0) memcpy(out, bytes, len);
    return out + len;
}

/* Writes a header, except for data key, commitment and tag. */
static void put_header(struct written *written, const kms_esdk_message_t *message, const kms_esdk_begin_t *begin,
                       size_t encrypted_len) {
    uint8_t *out = written->header;
    *out++ = 2;
    out = kms_put_u16(out, message->suite);
    memcpy(out, message->message_id, KMS_ESDK_MESSAGE_ID_SIZE);
    out = put_field(out + KMS_ESDK_MESSAGE_ID_SIZE, begin->context, begin->context_len);
    out = kms_put_u16(out, 1);
    out = put_field(out, (const uint8_t *)PROVIDER, PROVIDER_SIZE);
    out = put_field(out, begin->provider_info, begin->provider_info_len);
    out = kms_put_u16(out, encrypted_len);
    written->data_key_at = out;
    out += encrypted_len;
    *out++ = 2;
    written->commitment_at = kms_put_u32(out, message->frame_len);
}

static kms_status finish_header(struct written *written, kms_esdk_message_t *message, const uint8_t *data_key) {
    static const uint8_t nonce[KMS_ESDK_NONCE_SIZE];
    struct kms_esdk_cipher cipher;
    const struct kms_esdk_suite *suite = kms_esdk_suite(message->suite);
    kms_status status =
        kms_esdk_derive(&message->key, written->commitment_at, suite, message->message_id, data_key, DATA_KEY_SIZE);
    if (status != KMS_OK) return status;
    uint8_t *tag = written->commitment_at + KMS_ESDK_COMMITMENT_SIZE;
    status = kms_esdk_cipher_begin(&cipher, message->key, suite, 1);
    if (status == KMS_OK && !run_header(&cipher, tag, nonce, written->header, (size_t)(tag - written->header)))
        status = KMS_CIPHER_FAILED;
    kms_esdk_cipher_end(&cipher);
    return status;
}

static int fits(const kms_esdk_begin_t *begin, size_t header_len, size_t encrypted_len) {
    return begin->context_len <= KMS_MAXIMUM_CONTEXT && begin->provider_info_len <= UINT16_MAX &&
           encrypted_len <= UINT16_MAX && begin->frame_len > 0 && begin->frame_len <= KMS_ESDK_MAXIMUM_FRAME &&
           header_len == KMS_ESDK_HEADER_OVERHEAD + begin->context_len + begin->provider_info_len + encrypted_len;
}

static kms_status begin_message(kms_esdk_message_t *message, uint32_t frame_len) {
    *message = (kms_esdk_message_t){.suite = WRITTEN_SUITE, .frame_len = frame_len, .sequence = 1};
    return kms_nonces(message->message_id, sizeof message->message_id);
}

static kms_status end_beginning(kms_status status, uint8_t *header, size_t header_len, kms_esdk_message_t *message) {
    if (status == KMS_OK) return status;
    if (message->key) (void)kms_keyring_evict(message->key);
    OPENSSL_cleanse(header, header_len);
    OPENSSL_cleanse(message, sizeof *message);
    return status;
}

kms_status kms_esdk_encryption_begin(uint8_t *header, size_t header_len, kms_esdk_message_t *message, uint64_t key,
                                     const uint8_t *prefix, size_t prefix_len, const uint8_t *associated,
                                     size_t associated_len, const kms_esdk_begin_t *begin) {
    uint8_t data_key[DATA_KEY_SIZE];
    struct written written = {.header = header};
    const size_t blob_len = DATA_KEY_SIZE + KMS_BLOB_OVERHEAD;
    kms_status status = begin_message(message, begin->frame_len);
    if (status == KMS_OK && !fits(begin, header_len, blob_len)) status = KMS_WRONG_LENGTH;
    if (status == KMS_OK) {
        put_header(&written, message, begin, blob_len);
        status = kms_data_key(data_key, sizeof data_key, written.data_key_at, blob_len, key, prefix, prefix_len,
                              associated, associated_len);
        if (status == KMS_OK) status = finish_header(&written, message, data_key);
        OPENSSL_cleanse(data_key, sizeof data_key);
    }
    return end_beginning(status, header, header_len, message);
}

kms_status kms_esdk_encryption_begin_with(uint8_t *header, size_t header_len, kms_esdk_message_t *message,
                                          const uint8_t *data_key, size_t data_key_len, const uint8_t *encrypted,
                                          size_t encrypted_len, const kms_esdk_begin_t *begin) {
    struct written written = {.header = header};
    kms_status status = begin_message(message, begin->frame_len);
    if (status == KMS_OK && !(fits(begin, header_len, encrypted_len) && data_key_len == DATA_KEY_SIZE))
        status = KMS_WRONG_LENGTH;
    if (status == KMS_OK) {
        put_header(&written, message, begin, encrypted_len);
        memcpy(written.data_key_at, encrypted, encrypted_len);
        status = finish_header(&written, message, data_key);
    }
    return end_beginning(status, header, header_len, message);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Compares the commitment before it runs the cipher. */
static kms_status verify_header(const uint8_t *bytes, const kms_esdk_header_t *header, const uint8_t *commitment,
                                const kms_esdk_message_t *message, const struct kms_esdk_suite *suite) {
    static const uint8_t zeros[KMS_ESDK_NONCE_SIZE];
    uint8_t tag[KMS_ESDK_TAG_SIZE];
    struct kms_esdk_cipher cipher;
    const uint8_t *nonce = header->version == 1 ? bytes + header->authenticated_len : zeros;
    if (header->version == 2 && CRYPTO_memcmp(commitment, bytes + header->commitment_at, KMS_ESDK_COMMITMENT_SIZE) != 0)
        return KMS_INVALID_CIPHERTEXT;
    memcpy(tag, bytes + header->header_len - KMS_ESDK_TAG_SIZE, sizeof tag);
    kms_status status = kms_esdk_cipher_begin(&cipher, message->key, suite, 0);
    if (status == KMS_OK && !run_header(&cipher, tag, nonce, bytes, header->authenticated_len))
        status = KMS_INVALID_CIPHERTEXT;
    kms_esdk_cipher_end(&cipher);
    return status;
}

static kms_status begin_reading(kms_esdk_message_t *message, const uint8_t *bytes, const kms_esdk_header_t *header,
                                const uint8_t *data_key, size_t data_key_len) {
    uint8_t commitment[KMS_ESDK_COMMITMENT_SIZE];
    const struct kms_esdk_suite *suite = kms_esdk_suite(header->suite);
    *message = (kms_esdk_message_t){.suite = header->suite, .frame_len = header->frame_len, .sequence = 1};
    memcpy(message->message_id, bytes + header->message_id_at, header->message_id_len);
    kms_status status = kms_esdk_derive(&message->key, commitment, suite, message->message_id, data_key, data_key_len);
    if (status == KMS_OK) status = verify_header(bytes, header, commitment, message, suite);
    OPENSSL_cleanse(commitment, sizeof commitment);
    return status;
}

kms_status kms_esdk_decryption_begin_with(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                          const uint8_t *data_key, size_t data_key_len) {
    kms_esdk_header_t read;
    memset(message, 0, sizeof *message);
    kms_status status = kms_esdk_header_read(&read, header, header_len);
    if (status == KMS_OK && header_len != read.header_len) status = KMS_WRONG_LENGTH;
    if (status == KMS_OK && kms_esdk_suite(read.suite)->key_len != data_key_len) status = KMS_INVALID_CIPHERTEXT;
    if (status == KMS_OK) status = begin_reading(message, header, &read, data_key, data_key_len);
    return end_beginning(status, NULL, 0, message);
}

kms_status kms_esdk_decryption_begin(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                     uint64_t key, const uint8_t *associated, size_t associated_len,
                                     const uint8_t *blob, size_t blob_len) {
    uint8_t data_key[DATA_KEY_SIZE];
    kms_status status = KMS_INVALID_CIPHERTEXT;
    memset(message, 0, sizeof *message);
    if (blob_len <= KMS_BLOB_OVERHEAD || blob_len > KMS_BLOB_OVERHEAD + sizeof data_key) return status;
    const size_t data_key_len = blob_len - KMS_BLOB_OVERHEAD;
    status = kms_open(data_key, data_key_len, key, associated, associated_len, blob, blob_len);
    if (status == KMS_OK) status = kms_esdk_decryption_begin_with(message, header, header_len, data_key, data_key_len);
    OPENSSL_cleanse(data_key, sizeof data_key);
    return status;
}
