/* A record of the client library, version 1: the format that EnvelopeClient writes. All integers are big-endian.
 *
 *     offset   bytes  field
 *          0       1  format version, 0x81
 *          1       1  suite, 1: KC-XAES-256-GCM, as in a ciphertext blob
 *          2       2  w, the length of the wrapped data key: 159
 *          4       w  the data key's ciphertext blob
 *        163      24  nonce
 *        187       n  ciphertext, 0 to 2^30 bytes
 *    187 + n      16  GCM tag
 *    203 + n      32  key commitment
 *
 * Associated data: bytes 0-186, then the canonical encryption context. The message root is one block of the KDF
 * (kms_derive) of the data key, with the label below and no context. The keyring holds the root; the data key is not
 * kept.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
#include "data_key_budget.h"
#include "keyring.h"
#include "random.h"
#include "xaes.h"

#define VERSION 0x81
#define SUITE 1
#define WRAPPED_AT 4
#define NONCE_AT KMS_RECORD_PREFIX_SIZE
#define LABEL "kms-grpc v1 record"

_Static_assert(KMS_WRAPPED_DATA_KEY_SIZE == KMS_DATA_KEY_SIZE + KMS_BLOB_OVERHEAD, "a data key's blob");
_Static_assert(KMS_RECORD_PREFIX_SIZE == WRAPPED_AT + KMS_WRAPPED_DATA_KEY_SIZE,
               "the wrapped data key ends the prefix");
_Static_assert(KMS_RECORD_HEADER_SIZE == NONCE_AT + KMS_NONCE_SIZE, "the nonce ends the header");
_Static_assert(KMS_RECORD_OVERHEAD == KMS_RECORD_HEADER_SIZE + KMS_TRAILER_SIZE,
               "a record is header, ciphertext, trailer");

/* --- data keys and headers ---------------------------------------------------------------------------------------- */

kms_status kms_record_key_import(uint64_t *key, const uint8_t *data_key, size_t data_key_len) {
    union kms_key root;
    *key = 0;
    if (data_key_len != KMS_DATA_KEY_SIZE) return KMS_WRONG_LENGTH;
    kms_status status = kms_derive(root.key, data_key, LABEL, (const uint8_t *)"", 0);
    if (status == KMS_OK) status = kms_xaes_subkey(&root);
    if (status == KMS_OK) status = kms_keyring_put(key, &root, KMS_RECORD_ROOT);
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

static int is_known(const uint8_t *record, size_t record_len) {
    static const uint8_t start[WRAPPED_AT] = {VERSION, SUITE, KMS_WRAPPED_DATA_KEY_SIZE >> 8,
                                              KMS_WRAPPED_DATA_KEY_SIZE & 0xFF};
    return record_len >= KMS_RECORD_OVERHEAD && record_len <= KMS_RECORD_OVERHEAD + KMS_MAXIMUM_RECORD_PLAINTEXT &&
           memcmp(record, start, sizeof start) == 0;
}

kms_status kms_record_check(const uint8_t *record, size_t record_len) {
    return is_known(record, record_len) ? KMS_OK : KMS_INVALID_CIPHERTEXT;
}

static void write_prefix(uint8_t *record, const uint8_t *wrapped) {
    record[0] = VERSION;
    record[1] = SUITE;
    record[2] = KMS_WRAPPED_DATA_KEY_SIZE >> 8;
    record[3] = KMS_WRAPPED_DATA_KEY_SIZE & 0xFF;
    memcpy(record + WRAPPED_AT, wrapped, KMS_WRAPPED_DATA_KEY_SIZE);
}

static struct kms_message sealed_message(uint8_t *record, const uint8_t *context, size_t context_len,
                                         const uint8_t *plaintext, size_t plaintext_len) {
    return (struct kms_message){.nonce = record + NONCE_AT,
                                .header = record,
                                .header_len = KMS_RECORD_HEADER_SIZE,
                                .associated = context,
                                .associated_len = context_len,
                                .in = plaintext,
                                .len = plaintext_len,
                                .out = record + KMS_RECORD_HEADER_SIZE};
}

static struct kms_message opened_message(uint8_t *plaintext, const uint8_t *context, size_t context_len,
                                         const uint8_t *record, size_t record_len) {
    return (struct kms_message){.nonce = record + NONCE_AT,
                                .header = record,
                                .header_len = KMS_RECORD_HEADER_SIZE,
                                .associated = context,
                                .associated_len = context_len,
                                .in = record + KMS_RECORD_HEADER_SIZE,
                                .len = record_len - KMS_RECORD_OVERHEAD,
                                .out = plaintext};
}

/* --- one record --------------------------------------------------------------------------------------------------- */

static int fits(size_t wrapped_len, size_t context_len, size_t plaintext_len) {
    return wrapped_len == KMS_WRAPPED_DATA_KEY_SIZE && context_len <= KMS_MAXIMUM_CONTEXT &&
           plaintext_len <= KMS_MAXIMUM_RECORD_PLAINTEXT;
}

static kms_status seal_under(uint8_t *record, uint64_t key, const uint8_t *wrapped, const uint8_t *context,
                             size_t context_len, const uint8_t *plaintext, size_t plaintext_len) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, key, KMS_RECORD_ROOT);
    if (status == KMS_OK) status = kms_nonces(record + NONCE_AT, KMS_NONCE_SIZE);
    if (status == KMS_OK) {
        write_prefix(record, wrapped);
        struct kms_message message = sealed_message(record, context, context_len, plaintext, plaintext_len);
        status = kms_xaes_seal(&root, &message, 1);
    }
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

kms_status kms_record_seal(uint8_t *record, size_t record_len, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                           const uint8_t *context, size_t context_len, const uint8_t *plaintext, size_t plaintext_len) {
    kms_status status = KMS_WRONG_LENGTH;
    if (fits(wrapped_len, context_len, plaintext_len) && record_len == plaintext_len + KMS_RECORD_OVERHEAD)
        status = seal_under(record, key, wrapped, context, context_len, plaintext, plaintext_len);
    if (status != KMS_OK) OPENSSL_cleanse(record, record_len);
    return status;
}

kms_status kms_record_seal_within(uint8_t *record, size_t record_len, kms_data_key_t *key, double now,
                                  const uint8_t *context, size_t context_len, const uint8_t *plaintext,
                                  size_t plaintext_len) {
    const size_t wrapped_len = sizeof key->wrapped;
    if (fits(wrapped_len, context_len, plaintext_len) &&
        !kms_budget_take_allowed(&key->budget, now, (int64_t)plaintext_len)) {
        OPENSSL_cleanse(record, record_len);
        return KMS_USED_UP;
    }
    return kms_record_seal(record, record_len, key->key, key->wrapped, wrapped_len, context, context_len, plaintext,
                           plaintext_len);
}

static kms_status open_under(uint8_t *plaintext, uint64_t key, const uint8_t *context, size_t context_len,
                             const uint8_t *record, size_t record_len) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, key, KMS_RECORD_ROOT);
    if (status == KMS_OK) {
        struct kms_message message = opened_message(plaintext, context, context_len, record, record_len);
        status = kms_xaes_open(&root, &message, 1);
        if (status == KMS_OK) status = message.status;
    }
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

kms_status kms_record_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *context,
                           size_t context_len, const uint8_t *record, size_t record_len) {
    kms_status status = KMS_WRONG_LENGTH;
    if (!is_known(record, record_len))
        status = KMS_INVALID_CIPHERTEXT;
    else if (context_len <= KMS_MAXIMUM_CONTEXT && plaintext_len == record_len - KMS_RECORD_OVERHEAD)
        status = open_under(plaintext, key, context, context_len, record, record_len);
    if (status != KMS_OK) OPENSSL_cleanse(plaintext, plaintext_len);
    return status;
}

/* --- many records ------------------------------------------------------------------------------------------------- */

#define DRAWN_AT_ONCE 1024 /* nonces: 24 KiB of stack */

/* The parameters that all records of a call share. */
struct shared {
    union kms_key root;
    const uint8_t *wrapped;
    const uint8_t *context;
    size_t context_len;
};

static size_t lesser(size_t one, size_t other) { return one < other ? one : other; }

static int lens_fit(const uint64_t *lens, size_t count, size_t least) {
    for (size_t i = 0; i < count; i++)
        if (lens[i] < least || lens[i] - least > KMS_MAXIMUM_RECORD_PLAINTEXT) return 0;
    return 1;
}

static kms_status seal_chunk(const struct shared *shared, uint8_t *const *records, const uint8_t *nonces,
                             const uint8_t *const *plaintexts, const uint64_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++) {
        write_prefix(records[i], shared->wrapped);
        memcpy(records[i] + NONCE_AT, nonces + i * KMS_NONCE_SIZE, KMS_NONCE_SIZE);
        messages[i] = sealed_message(records[i], shared->context, shared->context_len, plaintexts[i], lens[i]);
    }
    return kms_xaes_seal(&shared->root, messages, count);
}

/* Seals at most DRAWN_AT_ONCE records with nonces of one draw. */
static kms_status seal_drawn(const struct shared *shared, uint8_t *const *records, const uint8_t *const *plaintexts,
                             const uint64_t *lens, size_t count) {
    uint8_t nonces[DRAWN_AT_ONCE * KMS_NONCE_SIZE];
    kms_status status = kms_nonces(nonces, count * KMS_NONCE_SIZE);
    for (size_t done = 0; status == KMS_OK && done < count; done += KMS_XAES_BATCH)
        status = seal_chunk(shared, records + done, nonces + done * KMS_NONCE_SIZE, plaintexts + done, lens + done,
                            lesser(count - done, KMS_XAES_BATCH));
    return status;
}

static kms_status seal_all(struct shared *shared, uint8_t *const *records, uint64_t key,
                           const uint8_t *const *plaintexts, const uint64_t *lens, size_t count) {
    kms_status status = kms_keyring_get(&shared->root, key, KMS_RECORD_ROOT);
    for (size_t done = 0; status == KMS_OK && done < count; done += DRAWN_AT_ONCE)
        status =
            seal_drawn(shared, records + done, plaintexts + done, lens + done, lesser(count - done, DRAWN_AT_ONCE));
    OPENSSL_cleanse(&shared->root, sizeof shared->root);
    return status;
}

kms_status kms_record_seal_many(uint8_t *const *records, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                                const uint8_t *context, size_t context_len, const uint8_t *const *plaintexts,
                                const uint64_t *plaintext_lens, size_t count) {
    struct shared shared = {.wrapped = wrapped, .context = context, .context_len = context_len};
    kms_status status = KMS_WRONG_LENGTH;
    if (fits(wrapped_len, context_len, 0) && lens_fit(plaintext_lens, count, 0))
        status = seal_all(&shared, records, key, plaintexts, plaintext_lens, count);
    for (size_t i = 0; status != KMS_OK && i < count; i++)
        OPENSSL_cleanse(records[i], plaintext_lens[i] + KMS_RECORD_OVERHEAD);
    return status;
}

/* Rejects other versions and suites; tag and commitment reject everything else. */
static kms_status open_chunk(const struct shared *shared, uint8_t *const *plaintexts, uint8_t *statuses,
                             const uint8_t *const *records, const uint64_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++)
        messages[i] = opened_message(plaintexts[i], shared->context, shared->context_len, records[i], lens[i]);
    kms_status status = kms_xaes_open(&shared->root, messages, count);
    for (size_t i = 0; status == KMS_OK && i < count; i++) {
        statuses[i] = (uint8_t)(is_known(records[i], lens[i]) ? messages[i].status : KMS_INVALID_CIPHERTEXT);
        if (statuses[i] != KMS_OK) OPENSSL_cleanse(plaintexts[i], messages[i].len);
    }
    return status;
}

/* Returns how many records from the first on have the same data key, at most KMS_XAES_BATCH. */
static size_t run_of(const uint64_t *keys, size_t rest) {
    size_t len = 1, most = lesser(rest, KMS_XAES_BATCH);
    while (len < most && keys[len] == keys[0]) len++;
    return len;
}

static kms_status open_all(struct shared *shared, uint8_t *const *plaintexts, uint8_t *statuses, const uint64_t *keys,
                           const uint8_t *const *records, const uint64_t *lens, size_t count) {
    kms_status status = KMS_OK;
    for (size_t done = 0, run = 0; status == KMS_OK && done < count; done += run) {
        run = run_of(keys + done, count - done);
        status = kms_keyring_get(&shared->root, keys[done], KMS_RECORD_ROOT);
        if (status == KMS_OK)
            status = open_chunk(shared, plaintexts + done, statuses + done, records + done, lens + done, run);
    }
    OPENSSL_cleanse(&shared->root, sizeof shared->root);
    return status;
}

kms_status kms_record_open_many(uint8_t *const *plaintexts, uint8_t *statuses, const uint64_t *keys,
                                const uint8_t *context, size_t context_len, const uint8_t *const *records,
                                const uint64_t *record_lens, size_t count) {
    struct shared shared = {.context = context, .context_len = context_len};
    memset(statuses, KMS_INVALID_CIPHERTEXT, count);
    if (context_len > KMS_MAXIMUM_CONTEXT || !lens_fit(record_lens, count, KMS_RECORD_OVERHEAD))
        return KMS_WRONG_LENGTH;
    kms_status status = open_all(&shared, plaintexts, statuses, keys, records, record_lens, count);
    if (status == KMS_OK) return status;
    for (size_t i = 0; i < count; i++) OPENSSL_cleanse(plaintexts[i], record_lens[i] - KMS_RECORD_OVERHEAD);
    memset(statuses, KMS_INVALID_CIPHERTEXT, count);
    return status;
}
