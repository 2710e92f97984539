/* A record of the client library, version 1: what EnvelopeClient encrypts by itself. All integers are big-endian.
 *
 *     offset   bytes  field
 *          0       1  format version, 0x81
 *          1       1  suite, 1: KC-XAES-256-GCM, as a blob's
 *          2       2  w, the length of the wrapped data key: 159
 *          4       w  the data key's ciphertext blob
 *        163      24  nonce
 *        187       n  ciphertext, from 0 bytes
 *    187 + n      16  GCM tag
 *    203 + n      32  key commitment
 *
 * Associated data: bytes 0-186, then the canonical context. The message root is one block of the KDF of the data key, with
 * the label below and no context; it alone is kept, and no data key is.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
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

/* --- data keys and headers -------------------------------------------------------------------------------------------- */

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

static int is_ours(const uint8_t *record, size_t record_len) {
    static const uint8_t start[WRAPPED_AT] = {VERSION, SUITE, KMS_WRAPPED_DATA_KEY_SIZE >> 8,
                                              KMS_WRAPPED_DATA_KEY_SIZE & 0xFF};
    return record_len >= KMS_RECORD_OVERHEAD && record_len <= KMS_RECORD_OVERHEAD + KMS_MAXIMUM_RECORD_PLAINTEXT &&
           memcmp(record, start, sizeof start) == 0;
}

kms_status kms_record_check(const uint8_t *record, size_t record_len) {
    return is_ours(record, record_len) ? KMS_OK : KMS_INVALID_CIPHERTEXT;
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

/* --- one record ------------------------------------------------------------------------------------------------------- */

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
    if (!is_ours(record, record_len))
        status = KMS_INVALID_CIPHERTEXT;
    else if (context_len <= KMS_MAXIMUM_CONTEXT && plaintext_len == record_len - KMS_RECORD_OVERHEAD)
        status = open_under(plaintext, key, context, context_len, record, record_len);
    if (status != KMS_OK) OPENSSL_cleanse(plaintext, plaintext_len);
    return status;
}

/* --- many records ----------------------------------------------------------------------------------------------------- */

/* What all items of a call share, and where the next one is. */
struct batch {
    union kms_key root;
    const uint8_t *wrapped;
    const uint8_t *context;
    size_t context_len;
    const uint8_t *in;
    uint8_t *out;
};

/* Whether each length is `least` to `least` + the largest plaintext, and all together are `total`. */
static int lens_fit(const uint32_t *lens, size_t count, size_t least, size_t total) {
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (lens[i] < least || lens[i] > least + KMS_MAXIMUM_RECORD_PLAINTEXT) return 0;
        sum += lens[i];
    }
    return sum == total;
}

/* One draw serves the nonces of a chunk. */
static kms_status seal_chunk(struct batch *batch, const uint32_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    uint8_t nonces[KMS_XAES_BATCH * KMS_NONCE_SIZE];
    kms_status status = kms_nonces(nonces, count * KMS_NONCE_SIZE);
    for (size_t i = 0; status == KMS_OK && i < count; i++) {
        const uint8_t *plaintext = batch->out + KMS_RECORD_HEADER_SIZE;
        write_prefix(batch->out, batch->wrapped);
        memcpy(batch->out + NONCE_AT, nonces + i * KMS_NONCE_SIZE, KMS_NONCE_SIZE);
        messages[i] = sealed_message(batch->out, batch->context, batch->context_len, plaintext, lens[i]);
        batch->out += lens[i] + KMS_RECORD_OVERHEAD;
    }
    return status == KMS_OK ? kms_xaes_seal(&batch->root, messages, count) : status;
}

static size_t chunk_of(size_t rest) { return rest < KMS_XAES_BATCH ? rest : KMS_XAES_BATCH; }

static kms_status seal_all(struct batch *batch, uint64_t key, const uint32_t *lens, size_t count) {
    kms_status status = kms_keyring_get(&batch->root, key, KMS_RECORD_ROOT);
    for (size_t done = 0; status == KMS_OK && done < count; done += KMS_XAES_BATCH)
        status = seal_chunk(batch, lens + done, chunk_of(count - done));
    OPENSSL_cleanse(&batch->root, sizeof batch->root);
    return status;
}

kms_status kms_record_seal_many(uint8_t *records, size_t records_len, uint64_t key, const uint8_t *wrapped,
                                size_t wrapped_len, const uint8_t *context, size_t context_len,
                                const uint32_t *plaintext_lens, size_t count) {
    struct batch batch = {.wrapped = wrapped, .context = context, .context_len = context_len, .out = records};
    size_t overhead = count * KMS_RECORD_OVERHEAD;
    kms_status status = KMS_WRONG_LENGTH;
    if (fits(wrapped_len, context_len, 0) && records_len >= overhead &&
        lens_fit(plaintext_lens, count, 0, records_len - overhead))
        status = seal_all(&batch, key, plaintext_lens, count);
    if (status != KMS_OK) OPENSSL_cleanse(records, records_len);
    return status;
}

/* Records of another version or suite are told apart here; the rest is the tag's and the commitment's work. */
static kms_status open_chunk(struct batch *batch, uint8_t *statuses, const uint32_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    const uint8_t *records[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++) {
        records[i] = batch->in;
        messages[i] = opened_message(batch->out, batch->context, batch->context_len, batch->in, lens[i]);
        batch->in += lens[i];
        batch->out += messages[i].len;
    }
    kms_status status = kms_xaes_open(&batch->root, messages, count);
    for (size_t i = 0; status == KMS_OK && i < count; i++) {
        statuses[i] = (uint8_t)(is_ours(records[i], lens[i]) ? messages[i].status : KMS_INVALID_CIPHERTEXT);
        if (statuses[i] != KMS_OK) OPENSSL_cleanse(messages[i].out, messages[i].len);
    }
    return status;
}

/* How many records from the first on are under the same data key, at most a chunk. */
static size_t run_of(const uint64_t *keys, size_t rest) {
    size_t len = 1, most = chunk_of(rest);
    while (len < most && keys[len] == keys[0]) len++;
    return len;
}

static kms_status open_all(struct batch *batch, uint8_t *statuses, const uint64_t *keys, const uint32_t *lens,
                           size_t count) {
    kms_status status = KMS_OK;
    for (size_t done = 0, run = 0; status == KMS_OK && done < count; done += run) {
        run = run_of(keys + done, count - done);
        status = kms_keyring_get(&batch->root, keys[done], KMS_RECORD_ROOT);
        if (status == KMS_OK) status = open_chunk(batch, statuses + done, lens + done, run);
    }
    OPENSSL_cleanse(&batch->root, sizeof batch->root);
    return status;
}

kms_status kms_record_open_many(uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, const uint64_t *keys,
                                const uint8_t *context, size_t context_len, const uint8_t *records,
                                const uint32_t *record_lens, size_t count) {
    struct batch batch = {.context = context, .context_len = context_len, .in = records, .out = plaintexts};
    kms_status status = KMS_WRONG_LENGTH;
    memset(statuses, KMS_INVALID_CIPHERTEXT, count);
    if (context_len <= KMS_MAXIMUM_CONTEXT &&
        lens_fit(record_lens, count, KMS_RECORD_OVERHEAD, plaintexts_len + count * KMS_RECORD_OVERHEAD))
        status = open_all(&batch, statuses, keys, record_lens, count);
    if (status != KMS_OK) OPENSSL_cleanse(plaintexts, plaintexts_len);
    if (status != KMS_OK) memset(statuses, KMS_INVALID_CIPHERTEXT, count);
    return status;
}
