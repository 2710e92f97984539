#include "request.h"

#include <openssl/crypto.h>

#include "utf8.h"

/* --- the contract: messages agree on the shared field numbers, and on varint or bytes ----------------------------- */

#define HAS_TARGET(MESSAGE, PREFIX) \
    (MESSAGE##_##PREFIX##KEY_ID == KMS_KEY && MESSAGE##_##PREFIX##ENCRYPTION_CONTEXT == KMS_CONTEXT)
#define HAS_SOURCE(MESSAGE) \
    (MESSAGE##_SOURCE_KEY_ID == KMS_SOURCE_KEY && MESSAGE##_SOURCE_ENCRYPTION_CONTEXT == KMS_SOURCE_CONTEXT)
#define HAS_OPTIONS(MESSAGE) (MESSAGE##_ENCRYPTION_ALGORITHM == KMS_ALGORITHM && MESSAGE##_DRY_RUN == KMS_DRY_RUN)

/* Equal numbers are what is asserted: NOLINTBEGIN(misc-redundant-expression) */
_Static_assert(HAS_TARGET(KMS_ENCRYPT_REQUEST, ) && HAS_OPTIONS(KMS_ENCRYPT_REQUEST), "EncryptRequest");
_Static_assert(HAS_TARGET(KMS_DECRYPT_REQUEST, ) && HAS_OPTIONS(KMS_DECRYPT_REQUEST), "DecryptRequest");

_Static_assert(HAS_TARGET(KMS_ENCRYPT_BATCH_REQUEST, ) && HAS_TARGET(KMS_ENCRYPT_BATCH_ITEM, ) &&
                   KMS_ENCRYPT_BATCH_ITEM_PLAINTEXT == KMS_PLAINTEXT,
               "EncryptBatch");
_Static_assert(HAS_TARGET(KMS_DECRYPT_BATCH_REQUEST, ) && HAS_TARGET(KMS_DECRYPT_BATCH_ITEM, ) &&
                   KMS_DECRYPT_BATCH_REQUEST_ITEMS == KMS_ITEMS && KMS_DECRYPT_BATCH_ITEM_CIPHERTEXT_BLOB == KMS_BLOB,
               "DecryptBatch");
_Static_assert(HAS_TARGET(KMS_RE_ENCRYPT_BATCH_REQUEST, DESTINATION_) && HAS_SOURCE(KMS_RE_ENCRYPT_BATCH_REQUEST) &&
                   HAS_TARGET(KMS_RE_ENCRYPT_BATCH_ITEM, DESTINATION_) && HAS_SOURCE(KMS_RE_ENCRYPT_BATCH_ITEM) &&
                   KMS_RE_ENCRYPT_BATCH_REQUEST_ITEMS == KMS_ITEMS &&
                   KMS_RE_ENCRYPT_BATCH_ITEM_CIPHERTEXT_BLOB == KMS_BLOB,
               "ReEncryptBatch");
_Static_assert(HAS_TARGET(KMS_GENERATE_DATA_KEY_BATCH_REQUEST, ) && HAS_TARGET(KMS_GENERATE_DATA_KEY_BATCH_ITEM, ) &&
                   KMS_GENERATE_DATA_KEY_BATCH_REQUEST_ITEMS == KMS_ITEMS,
               "GenerateDataKeyBatch");
/* NOLINTEND(misc-redundant-expression) */

/* --- fields ------------------------------------------------------------------------------------------------------- */

static int is_text(unsigned number) { return number == KMS_KEY || number == KMS_SOURCE_KEY; }

static kms_place *place_of(struct kms_fields *fields, unsigned number) {
    switch (number) {
        case KMS_KEY:
            return &fields->key;
        case KMS_CONTEXT:
            return &fields->context;
        case KMS_SOURCE_KEY:
            return &fields->source_key;
        case KMS_SOURCE_CONTEXT:
            return &fields->source_context;
        default:
            return &fields->data;
    }
}

/* Appends a map entry to the pairs of a context. Entries must be adjacent, so that all pairs are one place. */
static int extend(kms_place *pairs, uint32_t tag_at, uint32_t end) {
    if (pairs->len == 0) pairs->at = tag_at;
    if (pairs->len != tag_at - pairs->at) return 0;
    pairs->len = end - pairs->at;
    return 1;
}

static int read_bytes(struct kms_fields *fields, unsigned number, const uint8_t *raw, struct kms_wire *wire) {
    const uint8_t *tag = wire->next - 1, *bytes = NULL;
    kms_place *place = place_of(fields, number);
    uint32_t len = 0;
    if (!kms_wire_bytes(&bytes, &len, wire)) return 0;
    if (number == KMS_CONTEXT || number == KMS_SOURCE_CONTEXT)
        return extend(place, (uint32_t)(tag - raw), (uint32_t)(wire->next - raw));
    *place = (kms_place){(uint32_t)(bytes - raw), len};
    return !is_text(number) || kms_is_utf8(bytes, len);
}

int kms_read_field(struct kms_fields *fields, const struct kms_shape *shape, const uint8_t *raw,
                   struct kms_wire *wire) {
    uint8_t tag = *wire->next++;
    unsigned number = tag >> 3, bit = KMS_BIT(number & 0xF);
    if (tag >= 0x80) return 0;
    fields->present |= (uint16_t)bit;
    if ((tag & 7) == KMS_WIRE_BYTES && shape->bytes & bit) return read_bytes(fields, number, raw, wire);
    return (tag & 7) == KMS_WIRE_VARINT && shape->numbers & bit && kms_wire_number(&fields->numbers[number], wire);
}

/* --- encryption contexts ------------------------------------------------------------------------------------------ */

struct text {
    const uint8_t *bytes;
    uint32_t len;
};

/* Reads an entry of a map: field 1 is the key, field 2 the value. A missing one is empty; the last of several
 * counts. */
static int read_pair(struct text *key, struct text *value, struct kms_wire *wire) {
    const uint8_t *entry = NULL;
    uint32_t len = 0;
    *key = *value = (struct text){NULL, 0};
    wire->next++;
    if (!kms_wire_bytes(&entry, &len, wire)) return 0;
    struct kms_wire inside = {entry, entry + len};
    while (inside.next < inside.end) {
        uint8_t tag = *inside.next++;
        struct text *text = tag == KMS_WIRE_TAG(1, KMS_WIRE_BYTES) ? key : value;
        if (text == value && tag != KMS_WIRE_TAG(2, KMS_WIRE_BYTES)) return 0;
        if (!kms_wire_bytes(&text->bytes, &text->len, &inside) || !kms_is_utf8(text->bytes, text->len)) return 0;
    }
    return 1;
}

static uint8_t *put_u32(uint8_t *out, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) *out++ = (uint8_t)(value >> shift);
    return out;
}

static uint8_t *put_text(uint8_t *out, const struct text *text) {
    out = put_u32(out, text->len);
    if (text->len) memcpy(out, text->bytes, text->len);
    return out + text->len;
}

/* Writes the joined form of encryption_context.c. Reads all pairs even if they are too long, to find any other
 * error. */
static kms_status join(uint8_t joined[KMS_MAXIMUM_CONTEXT], uint32_t *count, size_t *joined_len,
                       struct kms_wire *wire) {
    uint8_t *out = joined + 4;
    struct text key, value;
    *joined_len = 4;
    for (*count = 0; wire->next < wire->end; (*count)++) {
        if (!read_pair(&key, &value, wire)) return KMS_CONTEXT_MALFORMED;
        *joined_len += 8 + (size_t)key.len + value.len;
        if (*joined_len <= KMS_MAXIMUM_CONTEXT) out = put_text(put_text(out, &key), &value);
    }
    put_u32(joined, *count);
    return *joined_len <= KMS_MAXIMUM_CONTEXT ? KMS_OK : KMS_CONTEXT_TOO_LONG;
}

kms_status kms_read_context(uint8_t canonical[KMS_MAXIMUM_CONTEXT], uint32_t *canonical_len, const uint8_t *pairs,
                            size_t pairs_len) {
    uint8_t joined[KMS_MAXIMUM_CONTEXT];
    struct kms_wire wire = {pairs, pairs + pairs_len};
    uint32_t count = 0;
    size_t len = 0;
    kms_status status = join(joined, &count, &len, &wire);
    *canonical_len = 0;
    if (status != KMS_OK) return status;
    if (count < 2)
        memcpy(canonical, joined, len); /* already in order and checked by read_pair */
    else
        status = kms_context_canonical(canonical, joined, len);
    if (status == KMS_OK) *canonical_len = (uint32_t)len;
    return status;
}

/* --- one request -------------------------------------------------------------------------------------------------- */

#define SINGLE_BYTES (KMS_BIT(KMS_KEY) | KMS_BIT(KMS_CONTEXT))
#define SINGLE_NUMBERS (KMS_BIT(KMS_ALGORITHM) | KMS_BIT(KMS_DRY_RUN))
#define SYMMETRIC_DEFAULT KMS_ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT

static const struct kms_shape single_shapes[] = {
    [KMS_ENCRYPT] = KMS_SHAPE(KMS_ENCRYPT_REQUEST, SINGLE_BYTES | KMS_BIT(KMS_PLAINTEXT), SINGLE_NUMBERS),
    [KMS_DECRYPT] = KMS_SHAPE(KMS_DECRYPT_REQUEST, SINGLE_BYTES | KMS_BIT(KMS_BLOB), SINGLE_NUMBERS),
};

/* Checks that the request asks for nothing besides sealing or opening. An empty KeyId differs from an absent one. */
static int is_plain(const struct kms_fields *fields, size_t data_most) {
    int has_empty_key = fields->key.at && fields->key.len == 0;
    return fields->numbers[KMS_ALGORITHM] <= SYMMETRIC_DEFAULT && fields->numbers[KMS_DRY_RUN] == 0 && !has_empty_key &&
           fields->key.len <= KMS_MAXIMUM_KEY_ID && fields->data.len > 0 && fields->data.len <= data_most;
}

/* Fills call->identity, by which the caller finds the key. */
static int identify(kms_call *call, kms_operation operation, const struct kms_fields *fields, const uint8_t *raw) {
    call->identity_len = fields->key.len;
    memcpy(call->identity, raw + fields->key.at, fields->key.len);
    if (operation != KMS_DECRYPT) return 1;
    if (fields->data.len <= KMS_BLOB_OVERHEAD) return 0;
    memcpy(call->identity + call->identity_len, raw + fields->data.at, KMS_PREFIX_SIZE);
    call->identity_len += KMS_PREFIX_SIZE;
    return 1;
}

int kms_call_scan(kms_call *call, kms_operation operation, const uint8_t *raw, size_t raw_len, size_t data_most) {
    struct kms_fields fields = {.present = 0};
    struct kms_wire wire = {raw, raw + raw_len};
    if (operation > KMS_DECRYPT || raw_len > INT32_MAX) return 0;
    while (wire.next < wire.end)
        if (!kms_read_field(&fields, &single_shapes[operation], raw, &wire)) return 0;
    call->data = fields.data;
    return is_plain(&fields, data_most) && identify(call, operation, &fields, raw) &&
           kms_read_context(call->context, &call->context_len, raw + fields.context.at, fields.context.len) == KMS_OK;
}

/* Field numbers of the responses. */
enum {
    ANSWERED_KEY = KMS_ENCRYPT_RESPONSE_KEY_ID,
    ANSWERED_PLAINTEXT = KMS_DECRYPT_RESPONSE_PLAINTEXT,
    ANSWERED_BLOB = KMS_ENCRYPT_RESPONSE_CIPHERTEXT_BLOB,
    ANSWERED_ALGORITHM = KMS_ENCRYPT_RESPONSE_ENCRYPTION_ALGORITHM,
    ANSWERED_MATERIAL = KMS_DECRYPT_RESPONSE_KEY_MATERIAL_ID,
};

_Static_assert(KMS_DECRYPT_RESPONSE_KEY_ID == ANSWERED_KEY &&
                   KMS_DECRYPT_RESPONSE_ENCRYPTION_ALGORITHM == ANSWERED_ALGORITHM,
               "EncryptResponse and DecryptResponse share two fields");

static uint8_t *put_material_id(uint8_t *out, const kms_material *material) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *id = material->prefix + 2 + KMS_KID_SIZE;
    out = kms_wire_put_number(out, KMS_WIRE_TAG(ANSWERED_MATERIAL, KMS_WIRE_BYTES), 2 * KMS_MATERIAL_ID_SIZE);
    for (size_t i = 0; i < KMS_MATERIAL_ID_SIZE; i++) {
        *out++ = (uint8_t)digits[id[i] >> 4];
        *out++ = (uint8_t)digits[id[i] & 0xF];
    }
    return out;
}

static kms_status encrypt(uint8_t **out, const kms_call *call, const kms_material *material, const uint8_t *associated,
                          size_t associated_len, const uint8_t *raw) {
    uint32_t blob_len = call->data.len + KMS_BLOB_OVERHEAD;
    *out = kms_wire_put_number(*out, KMS_WIRE_TAG(ANSWERED_BLOB, KMS_WIRE_BYTES), blob_len);
    kms_status status = kms_seal(*out, blob_len, material->handle, material->prefix, KMS_PREFIX_SIZE, associated,
                                 associated_len, raw + call->data.at, call->data.len);
    *out += blob_len;
    *out = kms_wire_put_number(*out, KMS_WIRE_TAG(ANSWERED_ALGORITHM, KMS_WIRE_VARINT), SYMMETRIC_DEFAULT);
    return status;
}

static kms_status decrypt(uint8_t **out, const kms_call *call, const kms_material *material, const uint8_t *associated,
                          size_t associated_len, const uint8_t *raw) {
    uint32_t len = call->data.len - KMS_BLOB_OVERHEAD;
    *out = kms_wire_put_number(*out, KMS_WIRE_TAG(ANSWERED_PLAINTEXT, KMS_WIRE_BYTES), len);
    kms_status status =
        kms_open(*out, len, material->handle, associated, associated_len, raw + call->data.at, call->data.len);
    *out += len;
    *out = kms_wire_put_number(*out, KMS_WIRE_TAG(ANSWERED_ALGORITHM, KMS_WIRE_VARINT), SYMMETRIC_DEFAULT);
    *out = put_material_id(*out, material);
    return status;
}

kms_status kms_call_answer(kms_call *call, kms_operation operation, const kms_material *material, const uint8_t *raw,
                           size_t raw_len) {
    uint8_t associated[KMS_MAXIMUM_ARN + 2 + KMS_MAXIMUM_CONTEXT];
    size_t place_end = (size_t)call->data.at + call->data.len;
    call->answer_len = 0;
    if (operation > KMS_DECRYPT || place_end > raw_len || call->data.len > KMS_MAXIMUM_PLAINTEXT + KMS_BLOB_OVERHEAD ||
        material->associated_len > KMS_MAXIMUM_ARN + 2)
        return KMS_WRONG_LENGTH;
    memcpy(associated, material->associated, material->associated_len);
    memcpy(associated + material->associated_len, call->context, call->context_len);
    size_t associated_len = material->associated_len + (size_t)call->context_len;
    uint8_t *out =
        kms_wire_put_bytes(call->answer, ANSWERED_KEY, material->associated + 2, material->associated_len - 2u);
    kms_status status = operation == KMS_ENCRYPT ? encrypt(&out, call, material, associated, associated_len, raw)
                                                 : decrypt(&out, call, material, associated, associated_len, raw);
    if (status == KMS_OK) call->answer_len = (uint32_t)(out - call->answer);
    return status;
}

void kms_call_forget(kms_call *call) { OPENSSL_cleanse(call->answer, call->answer_len); }
