/* The part of protobuf's wire format that the core reads and writes: tags of one byte, varints, and bytes with a
 * length.
 *
 *     tag      field number << 3 | type
 *     type 0   a varint follows
 *     type 2   a length (varint) and as many bytes follow
 *
 * The reader is stricter than protobuf's own: it requires every varint in its shortest form, with a value of an int32.
 * Source: https://protobuf.dev/programming-guides/encoding/
 */
#ifndef KMS_WIRE_H
#define KMS_WIRE_H

#include <string.h>

#include "core.h"

#define KMS_WIRE_VARINT 0
#define KMS_WIRE_BYTES 2
#define KMS_WIRE_TAG(number, type) ((uint8_t)((number) << 3 | (type)))

struct kms_wire {
    const uint8_t *next;
    const uint8_t *end;
};

/* Reads an int32. Every negative value becomes UINT32_MAX, which exceeds the limit of every field. Returns 0 on
 * error. */
static inline int kms_wire_number(uint32_t *value, struct kms_wire *wire) {
    uint64_t read = 0;
    for (int shift = 0; shift < 64 && wire->next < wire->end; shift += 7) {
        uint8_t byte = *wire->next++;
        read |= (uint64_t)(byte & 0x7F) << shift;
        if (byte >= 0x80) continue;
        if ((byte == 0 && shift > 0) || (shift == 63 && byte > 1)) return 0;
        *value = read <= INT32_MAX ? (uint32_t)read : UINT32_MAX;
        return read <= INT32_MAX || (int64_t)read < 0 ? (int64_t)read >= INT32_MIN : 0;
    }
    return 0;
}

/* Reads a length and its bytes, and moves wire->next behind them. Returns 0 on error. */
static inline int kms_wire_bytes(const uint8_t **bytes, uint32_t *len, struct kms_wire *wire) {
    if (!kms_wire_number(len, wire) || *len > (size_t)(wire->end - wire->next)) return 0;
    *bytes = wire->next;
    wire->next += *len;
    return 1;
}

static inline uint32_t kms_wire_number_size(uint32_t value) {
    uint32_t size = 1;
    while (value >>= 7) size++;
    return size;
}

/* Returns the size of a field of type 2: tag, length and bytes. */
static inline uint32_t kms_wire_field_size(uint32_t len) { return 1 + kms_wire_number_size(len) + len; }

static inline uint8_t *kms_wire_put_number(uint8_t *out, uint8_t tag, uint32_t value) {
    *out++ = tag;
    for (; value >= 0x80; value >>= 7) *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static inline uint8_t *kms_wire_put_bytes(uint8_t *out, uint8_t number, const uint8_t *bytes, uint32_t len) {
    out = kms_wire_put_number(out, KMS_WIRE_TAG(number, KMS_WIRE_BYTES), len);
    memcpy(out, bytes, len);
    return out + len;
}

#endif
