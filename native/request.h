/* The scanner of requests: messages of which the core knows each field, read from their bytes.
 *
 * Requests and the items of batches have their fields at the same numbers:
 *
 *      1  the key, or ReEncrypt's destination        5, 8  encryption algorithm, dry run
 *      2  its encryption context                     6, 7  key spec, number of bytes
 *      3  plaintext; items; a number of data keys    13    ReEncrypt's source key
 *      4  ciphertext blob                            14    its encryption context
 *
 * The scanner takes a message only where it agrees with protobuf's own reader about all of it: the last of several values
 * wins, text is UTF-8, no field is unknown. It is stricter: numbers in their shortest form, the pairs of an encryption
 * context one after the other, no key of a context twice. What it does not take, protobuf's reader is asked about.
 */
#ifndef KMS_REQUEST_H
#define KMS_REQUEST_H

#include "wire.h"

enum { KMS_KEY = 1, KMS_CONTEXT = 2, KMS_ITEMS = 3, KMS_COUNT = 3, KMS_SOURCE_KEY = 13, KMS_SOURCE_CONTEXT = 14 };
enum { KMS_PLAINTEXT = 3, KMS_BLOB = 4, KMS_ALGORITHM = 5, KMS_KEY_SPEC = 6, KMS_NUMBER_OF_BYTES = 7, KMS_DRY_RUN = 8 };

#define KMS_BIT(number) (1u << (number))

/* Which fields a message has, by number. */
struct kms_shape {
    uint16_t bytes;
    uint16_t numbers;
};

/* What stands in a message. */
struct kms_fields {
    uint16_t present;
    kms_place key, source_key;
    kms_place context, source_context; /* their pairs, tags included */
    kms_place data;                    /* plaintext or blob */
    uint32_t numbers[KMS_DRY_RUN + 1];
};

/* Reads one field that begins at wire->next into `fields`; places are counted from `raw`. 0 where it isn't taken. */
int kms_read_field(struct kms_fields *fields, const struct kms_shape *shape, const uint8_t *raw, struct kms_wire *wire);

/* The canonical form of an encryption context from the pairs of a message. KMS_CONTEXT_MALFORMED, _NOT_UTF8 and
 * _DUPLICATE_KEY where the scanner doesn't take them, KMS_CONTEXT_TOO_LONG. */
kms_status kms_read_context(uint8_t canonical[KMS_MAXIMUM_CONTEXT], uint32_t *canonical_len, const uint8_t *pairs,
                            size_t pairs_len);

#endif
