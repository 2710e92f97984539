/* A scanner of protobuf requests. It reads the messages whose every field the core knows.
 *
 * A request and an item of a batch number the same field alike, so one reader serves them all. The numbers come from
 * contract_fields.h, which is generated from protos/; request.c checks at compile time that the messages agree.
 *
 * The scanner accepts a message only if protobuf's own parser would read the same from it: the last of several values
 * wins, text is UTF-8, no field is unknown. The scanner is stricter than that parser: it requires numbers in their
 * shortest form, the pairs of an encryption context side by side, and no context key twice. The caller gives a message
 * that the scanner rejects to protobuf's parser.
 */
#ifndef KMS_REQUEST_H
#define KMS_REQUEST_H

#include "contract_fields.h"
#include "wire.h"

/* Field numbers that several messages share. */
enum {
    KMS_KEY = KMS_ENCRYPT_REQUEST_KEY_ID, /* of ReEncrypt: the destination */
    KMS_CONTEXT = KMS_ENCRYPT_REQUEST_ENCRYPTION_CONTEXT,
    KMS_ITEMS = KMS_ENCRYPT_BATCH_REQUEST_ITEMS,
    KMS_PLAINTEXT = KMS_ENCRYPT_REQUEST_PLAINTEXT,
    KMS_COUNT = KMS_GENERATE_DATA_KEY_BATCH_ITEM_COUNT,
    KMS_BLOB = KMS_DECRYPT_REQUEST_CIPHERTEXT_BLOB,
    KMS_ALGORITHM = KMS_ENCRYPT_REQUEST_ENCRYPTION_ALGORITHM,
    KMS_KEY_SPEC = KMS_GENERATE_DATA_KEY_BATCH_REQUEST_KEY_SPEC,
    KMS_NUMBER_OF_BYTES = KMS_GENERATE_DATA_KEY_BATCH_REQUEST_NUMBER_OF_BYTES,
    KMS_DRY_RUN = KMS_ENCRYPT_REQUEST_DRY_RUN,
    KMS_SOURCE_KEY = KMS_RE_ENCRYPT_BATCH_REQUEST_SOURCE_KEY_ID,
    KMS_SOURCE_CONTEXT = KMS_RE_ENCRYPT_BATCH_REQUEST_SOURCE_ENCRYPTION_CONTEXT,
};

#define KMS_BIT(number) (1u << (number))

/* The fields that the scanner accepts in a message, one bit per field number. */
struct kms_shape {
    uint16_t bytes;   /* fields with a length */
    uint16_t numbers; /* varints */
};

/* The shape of a message. Does not compile if protobuf writes one of these fields as another type. */
#define KMS_SHAPE(MESSAGE, bytes_bits, numbers_bits)                                 \
    {                                                                                \
        (bytes_bits) + KMS_REQUIRE_ZERO((bytes_bits) & ~MESSAGE##_LENGTH_DELIMITED), \
            (numbers_bits) + KMS_REQUIRE_ZERO((numbers_bits) & ~MESSAGE##_VARINTS)   \
    }
#define KMS_REQUIRE_ZERO(constant) (sizeof(char[1 - 2 * !!(constant)]) - 1) /* 0, or a negative array size */

/* The fields found in a message. */
struct kms_fields {
    uint16_t present; /* one bit per field number */
    kms_place key, source_key;
    kms_place context, source_context; /* all pairs, tags included */
    kms_place data;                    /* plaintext or ciphertext blob */
    uint32_t numbers[KMS_DRY_RUN + 1]; /* by field number */
};

/* Reads the field at wire->next into `fields`. Places are offsets from `raw`. Returns 0 if the scanner rejects it. */
int kms_read_field(struct kms_fields *fields, const struct kms_shape *shape, const uint8_t *raw, struct kms_wire *wire);

/* Writes the canonical form of the encryption context whose map entries are `pairs`. Returns KMS_CONTEXT_MALFORMED,
 * KMS_CONTEXT_NOT_UTF8 or KMS_CONTEXT_DUPLICATE_KEY if the scanner rejects them, and KMS_CONTEXT_TOO_LONG. */
kms_status kms_read_context(uint8_t canonical[KMS_MAXIMUM_CONTEXT], uint32_t *canonical_len, const uint8_t *pairs,
                            size_t pairs_len);

#endif
