/* Reads headers of the AWS Encryption SDK's message format, without a key. See esdk.h for the layout. */
#include <string.h>

#include "esdk.h"

struct reader {
    const uint8_t *start;
    size_t at;
    size_t len;
    kms_status status; /* the first error */
};

static int refuse(struct reader *reader) {
    reader->status = KMS_INVALID_CIPHERTEXT;
    return 0;
}

/* Returns the next `len` bytes, or NULL. Rejects a header as soon as one of its lengths makes it too long. */
static const uint8_t *take(struct reader *reader, size_t len) {
    if (len > KMS_ESDK_MAXIMUM_HEADER || reader->at + len > KMS_ESDK_MAXIMUM_HEADER) return refuse(reader), NULL;
    if (reader->at + len > reader->len) {
        reader->status = KMS_INCOMPLETE;
        return NULL;
    }
    const uint8_t *taken = reader->start + reader->at;
    reader->at += len;
    return taken;
}

static int read_u16(uint32_t *value, struct reader *reader) {
    const uint8_t *bytes = take(reader, 2);
    if (bytes) *value = kms_get_u16(bytes);
    return bytes != NULL;
}

/* Reads bytes that must have these values. */
static int expect(struct reader *reader, const char *bytes, size_t len) {
    const uint8_t *taken = take(reader, len);
    if (taken && memcmp(taken, bytes, len) != 0) return refuse(reader);
    return taken != NULL;
}

static int read_suite(struct reader *reader, kms_esdk_header_t *header) {
    uint32_t id = 0;
    const uint8_t *version = take(reader, 1);
    if (!version) return 0;
    if (*version != 1 && *version != 2) return refuse(reader);
    if (*version == 1 && !expect(reader, "\x80", 1)) return 0;
    if (!read_u16(&id, reader)) return 0;
    const struct kms_esdk_suite *suite = kms_esdk_suite((uint16_t)id);
    if (!suite || suite->version != *version) return refuse(reader);
    header->version = *version;
    header->suite = suite->id;
    header->is_signed = suite->is_signed;
    header->message_id_at = (uint32_t)reader->at;
    header->message_id_len = suite->message_id_len;
    return take(reader, suite->message_id_len) != NULL;
}

/* Checks that the pairs fill the context exactly. */
static int is_context(const uint8_t *bytes, size_t len) {
    size_t at = 2, fields = len < 2 ? 0 : 2 * (size_t)kms_get_u16(bytes);
    if (fields == 0) return 0;
    for (; fields > 0; fields--) {
        if (len - at < 2) return 0;
        size_t field_len = kms_get_u16(bytes + at);
        at += 2;
        if (len - at < field_len) return 0;
        at += field_len;
    }
    return at == len;
}

static int read_context(struct reader *reader, kms_esdk_header_t *header) {
    uint32_t len = 0;
    if (!read_u16(&len, reader)) return 0;
    if (len > KMS_MAXIMUM_CONTEXT) return refuse(reader);
    header->context_at = (uint32_t)reader->at;
    header->context_len = len;
    const uint8_t *context = take(reader, len);
    if (!context) return 0;
    return len == 0 || is_context(context, len) || refuse(reader);
}

static int read_data_keys(struct reader *reader, kms_esdk_header_t *header) {
    uint32_t len = 0;
    if (!read_u16(&header->data_keys, reader)) return 0;
    if (header->data_keys == 0) return refuse(reader);
    header->data_keys_at = (uint32_t)reader->at;
    for (uint32_t field = 0; field < 3 * header->data_keys; field++)
        if (!read_u16(&len, reader) || !take(reader, len)) return 0;
    header->data_keys_len = (uint32_t)reader->at - header->data_keys_at;
    return 1;
}

/* Accepts framed content only: an unframed message must be decrypted as a whole before any byte may be released. */
static int read_frame_len(struct reader *reader, kms_esdk_header_t *header) {
    if (!expect(reader, "\x02", 1)) return 0;
    if (header->version == 1 && !expect(reader, "\0\0\0\0\x0c", 5)) return 0;
    const uint8_t *frame_len = take(reader, 4);
    if (!frame_len) return 0;
    header->frame_len = kms_get_u32(frame_len);
    return (header->frame_len > 0 && header->frame_len <= KMS_ESDK_MAXIMUM_FRAME) || refuse(reader);
}

static int read_authentication(struct reader *reader, kms_esdk_header_t *header) {
    header->commitment_at = (uint32_t)reader->at;
    if (header->version == 2 && !take(reader, KMS_ESDK_COMMITMENT_SIZE)) return 0;
    header->authenticated_len = (uint32_t)reader->at;
    if (header->version == 1 && !take(reader, KMS_ESDK_NONCE_SIZE)) return 0;
    if (!take(reader, KMS_ESDK_TAG_SIZE)) return 0;
    header->header_len = (uint32_t)reader->at;
    return 1;
}

kms_status kms_esdk_header_read(kms_esdk_header_t *header, const uint8_t *message, size_t message_len) {
    struct reader reader = {message, 0, message_len, KMS_OK};
    memset(header, 0, sizeof *header);
    int well = read_suite(&reader, header) && read_context(&reader, header) && read_data_keys(&reader, header) &&
               read_frame_len(&reader, header) && read_authentication(&reader, header);
    if (!well) memset(header, 0, sizeof *header);
    return reader.status;
}
