/* The canonical form of an encryption context. Integers are big-endian.
 *
 *     offset  bytes  field
 *          0      4  count of pairs; then for each pair, ordered by the bytes of the keys
 *                 4  length of the key
 *                 k  key
 *                 4  length of the value
 *                 v  value
 *
 * Keys and values are UTF-8, without Unicode normalisation, and may be empty. No key occurs twice. The whole form has
 * at most KMS_MAXIMUM_CONTEXT bytes. The joined form, the input, is the same with the pairs in any order.
 */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "utf8.h"

#define PAIR_SIZE 8 /* of an empty key and value: two lengths */
#define MAXIMUM_PAIRS (KMS_MAXIMUM_CONTEXT / PAIR_SIZE)

struct field {
    const uint8_t *bytes;
    size_t len;
};
struct pair {
    struct field key;
    struct field value;
};
struct reader {
    const uint8_t *next;
    size_t rest;
};

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int read_u32(uint32_t *value, struct reader *reader) {
    if (reader->rest < 4) return 0;
    const uint8_t *b = reader->next;
    *value = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    reader->next += 4;
    reader->rest -= 4;
    return 1;
}

static int read_field(struct field *field, struct reader *reader) {
    uint32_t len = 0;
    if (!read_u32(&len, reader) || len > reader->rest) return 0;
    *field = (struct field){reader->next, len};
    reader->next += len;
    reader->rest -= len;
    return 1;
}

static int is_utf8(const struct field *field) { return kms_is_utf8(field->bytes, field->len); }

static kms_status read_pairs(struct pair *pairs, uint32_t count, struct reader *reader) {
    if (count > reader->rest / PAIR_SIZE) return KMS_CONTEXT_MALFORMED;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_field(&pairs[i].key, reader) || !read_field(&pairs[i].value, reader)) return KMS_CONTEXT_MALFORMED;
        if (!is_utf8(&pairs[i].key) || !is_utf8(&pairs[i].value)) return KMS_CONTEXT_NOT_UTF8;
    }
    return reader->rest == 0 ? KMS_OK : KMS_CONTEXT_MALFORMED;
}

/* --- ordering and writing ----------------------------------------------------------------------------------------- */

static int compare(const void *left, const void *right) {
    const struct field *a = &((const struct pair *)left)->key, *b = &((const struct pair *)right)->key;
    int order = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

static int has_duplicate(const struct pair *pairs, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        if (compare(&pairs[i - 1], &pairs[i]) == 0) return 1;
    return 0;
}

static uint8_t *write_u32(uint8_t *out, size_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) *out++ = (uint8_t)(value >> shift);
    return out;
}

static uint8_t *write_field(uint8_t *out, const struct field *field) {
    out = write_u32(out, field->len);
    memcpy(out, field->bytes, field->len);
    return out + field->len;
}

static void write_pairs(uint8_t *out, const struct pair *pairs, uint32_t count) {
    out = write_u32(out, count);
    for (uint32_t i = 0; i < count; i++) out = write_field(write_field(out, &pairs[i].key), &pairs[i].value);
}

kms_status kms_context_canonical(uint8_t *canonical, const uint8_t *joined, size_t joined_len) {
    struct pair pairs[MAXIMUM_PAIRS];
    struct reader reader = {joined, joined_len};
    uint32_t count = 0;
    kms_status status = KMS_CONTEXT_MALFORMED;
    if (joined_len > KMS_MAXIMUM_CONTEXT)
        status = KMS_CONTEXT_TOO_LONG;
    else if (read_u32(&count, &reader))
        status = read_pairs(pairs, count, &reader);
    if (status == KMS_OK && count > 1) {
        qsort(pairs, count, sizeof pairs[0], compare);
        if (has_duplicate(pairs, count)) status = KMS_CONTEXT_DUPLICATE_KEY;
    }
    if (status == KMS_OK)
        write_pairs(canonical, pairs, count);
    else
        memset(canonical, 0, joined_len);
    return status;
}
