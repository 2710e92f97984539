/* Fuzzes the scanner of requests: writes an accepted request again in another order and requires the same reading, and
 * answers it within the bounds of the buffer. The first byte of an input chooses the operation, the rest is the
 * request. */
#include "core.h"
#include "fuzz.h"
#include "keyring.h"
#include "request.h"
#include "xaes.h"

#define MOST 4096

static const kms_material *material(void) {
    static kms_material *made;
    union kms_key key;
    if (made) return made;
    for (uint8_t i = 0; i < 32; i++) key.key[i] = i;
    made = calloc(1, sizeof *made + 10);
    REQUIRE(made && kms_keyring_open(16) == KMS_OK && kms_xaes_subkey(&key) == KMS_OK);
    REQUIRE(kms_keyring_put(&made->handle, &key, KMS_MESSAGE_ROOT) == KMS_OK);
    made->associated_len = 10;
    memcpy(made->associated, "\0\x08the:name", 10);
    return made;
}

static uint32_t read_u32(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Writes a canonical context as the pairs of a message. */
static uint8_t *put_pairs(uint8_t *out, const kms_call *call) {
    const uint8_t *next = call->context + 4;
    for (uint32_t i = 0; i < read_u32(call->context); i++) {
        uint32_t key_len = read_u32(next), value_len = read_u32(next + 4 + key_len);
        uint32_t len = kms_wire_field_size(key_len) + kms_wire_field_size(value_len);
        out = kms_wire_put_number(out, KMS_WIRE_TAG(KMS_CONTEXT, KMS_WIRE_BYTES), len);
        out = kms_wire_put_bytes(out, 1, next + 4, key_len);
        out = kms_wire_put_bytes(out, 2, next + 8 + key_len, value_len);
        next += 8 + (size_t)key_len + value_len;
    }
    REQUIRE(next == call->context + call->context_len);
    return out;
}

static size_t write_again(uint8_t *out, const kms_call *call, kms_operation operation, const uint8_t *raw) {
    uint32_t key_len = call->identity_len - (operation == KMS_DECRYPT ? KMS_PREFIX_SIZE : 0);
    uint8_t *begin = out;
    out = kms_wire_put_bytes(out, operation == KMS_DECRYPT ? KMS_BLOB : KMS_PLAINTEXT, raw + call->data.at,
                             call->data.len);
    out = put_pairs(out, call);
    if (key_len) out = kms_wire_put_bytes(out, KMS_KEY, call->identity, key_len);
    return (size_t)(out - begin);
}

static void require_the_same(const kms_call *a, const uint8_t *raw_a, const kms_call *b, const uint8_t *raw_b) {
    REQUIRE(a->identity_len == b->identity_len && memcmp(a->identity, b->identity, a->identity_len) == 0);
    REQUIRE(a->context_len == b->context_len && memcmp(a->context, b->context, a->context_len) == 0);
    REQUIRE(a->data.len == b->data.len && memcmp(raw_a + a->data.at, raw_b + b->data.at, a->data.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static kms_call call, again;
    static uint8_t written[3 * (MOST + KMS_MAXIMUM_CONTEXT + KMS_MAXIMUM_IDENTITY)];
    if (size == 0) return 0;
    kms_operation operation = data[0] & 1 ? KMS_DECRYPT : KMS_ENCRYPT;
    uint8_t *raw = malloc(size); /* an exact allocation, so that ASan sees a read beyond it */
    REQUIRE(raw);
    memcpy(raw, data + 1, size - 1);
    if (kms_call_scan(&call, operation, raw, size - 1, MOST)) {
        size_t len = write_again(written, &call, operation, raw);
        REQUIRE(kms_call_scan(&again, operation, written, len, MOST));
        require_the_same(&call, raw, &again, written);
        kms_status status = kms_call_answer(&call, operation, material(), raw, size - 1);
        REQUIRE(status == KMS_OK || (status == KMS_INVALID_CIPHERTEXT && operation == KMS_DECRYPT));
        REQUIRE(status != KMS_OK || (call.answer_len > 0 && call.answer_len <= sizeof call.answer));
    }
    free(raw);
    return 0;
}
