/* The ciphertext blob, version 1. All integers are big-endian.
 *
 *     offset  bytes  field
 *          0      1  format version, 1
 *          1      1  suite, 1: KC-XAES-256-GCM
 *          2     17  kid: 00 and a UUID's 16 bytes, or 01 and those of an mrk- id
 *         19     32  key material id
 *         51      4  check: the first 4 bytes of SHA-256("kms-grpc v1 header" || bytes 0-50)
 *         55     24  nonce
 *         79      n  ciphertext
 *     79 + n     16  GCM tag
 *     95 + n     32  key commitment
 *
 * Associated data: bytes 0-78, then what the caller gives (u16 length of the ARN, ARN, canonical encryption context).
 * Bytes 0-54, the prefix, are the same in all blobs of one key material, so callers find the key by them. The check
 * detects accidental damage: it tells a damaged blob from one of an unknown key. Opening relies on the tag alone.
 */
#include "blob.h"

#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
#include "random.h"

#define VERSION 1
#define SUITE 1
#define CHECK_AT 51
#define CHECK_SIZE 4
#define NONCE_AT KMS_NONCE_AT /* see blob.h */
#define MAXIMUM_ASSOCIATED 65536
#define LABEL "kms-grpc v1 header"
#define LABEL_SIZE (sizeof LABEL - 1)

_Static_assert(KMS_HEADER_SIZE == NONCE_AT + KMS_NONCE_SIZE, "the nonce ends the header");
_Static_assert(KMS_BLOB_OVERHEAD == KMS_HEADER_SIZE + KMS_TRAILER_SIZE, "a blob is header, ciphertext, trailer");

/* --- header ------------------------------------------------------------------------------------------------------- */

static kms_status check_of(uint8_t check[32], const uint8_t *header) {
    uint8_t hashed[LABEL_SIZE + CHECK_AT];
    memcpy(hashed, LABEL, LABEL_SIZE);
    memcpy(hashed + LABEL_SIZE, header, CHECK_AT);
    return kms_sha256(check, hashed, sizeof hashed);
}

kms_status kms_blob_prefix(uint8_t prefix[KMS_PREFIX_SIZE], const uint8_t kid[KMS_KID_SIZE],
                           const uint8_t material_id[KMS_MATERIAL_ID_SIZE]) {
    uint8_t check[32];
    prefix[0] = VERSION;
    prefix[1] = SUITE;
    memcpy(prefix + 2, kid, KMS_KID_SIZE);
    memcpy(prefix + 2 + KMS_KID_SIZE, material_id, KMS_MATERIAL_ID_SIZE);
    kms_status status = check_of(check, prefix);
    memcpy(prefix + CHECK_AT, check, CHECK_SIZE);
    if (status != KMS_OK) memset(prefix, 0, KMS_PREFIX_SIZE);
    return status;
}

int kms_blob_is_known(const uint8_t *blob, size_t blob_len) {
    return blob_len > KMS_BLOB_OVERHEAD && blob_len <= KMS_BLOB_OVERHEAD + KMS_MAXIMUM_PLAINTEXT &&
           blob[0] == VERSION && blob[1] == SUITE;
}

kms_status kms_blob_check(const uint8_t *blob, size_t blob_len) {
    uint8_t check[32];
    if (!kms_blob_is_known(blob, blob_len)) return KMS_INVALID_CIPHERTEXT;
    kms_status status = check_of(check, blob);
    if (status != KMS_OK) return status;
    return CRYPTO_memcmp(check, blob + CHECK_AT, CHECK_SIZE) == 0 ? KMS_OK : KMS_INVALID_CIPHERTEXT;
}

/* --- one blob ----------------------------------------------------------------------------------------------------- */

static int fits(size_t prefix_len, size_t associated_len, size_t plaintext_len) {
    return prefix_len == KMS_PREFIX_SIZE && associated_len <= MAXIMUM_ASSOCIATED && plaintext_len > 0 &&
           plaintext_len <= KMS_MAXIMUM_PLAINTEXT;
}

struct kms_message kms_blob_sealing(uint8_t *blob, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *plaintext, size_t plaintext_len) {
    return (struct kms_message){.nonce = blob + NONCE_AT,
                                .header = blob,
                                .header_len = KMS_HEADER_SIZE,
                                .associated = associated,
                                .associated_len = associated_len,
                                .in = plaintext,
                                .len = plaintext_len,
                                .out = blob + KMS_HEADER_SIZE};
}

struct kms_message kms_blob_opening(uint8_t *plaintext, const uint8_t *associated, size_t associated_len,
                                    const uint8_t *blob, size_t blob_len) {
    return (struct kms_message){.nonce = blob + NONCE_AT,
                                .header = blob,
                                .header_len = KMS_HEADER_SIZE,
                                .associated = associated,
                                .associated_len = associated_len,
                                .in = blob + KMS_HEADER_SIZE,
                                .len = blob_len - KMS_BLOB_OVERHEAD,
                                .out = plaintext};
}

static kms_status seal_under(uint8_t *blob, uint64_t key, const uint8_t *prefix, const uint8_t *associated,
                             size_t associated_len, const uint8_t *plaintext, size_t plaintext_len) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, key, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) status = kms_nonces(blob + NONCE_AT, KMS_NONCE_SIZE);
    if (status == KMS_OK) {
        memcpy(blob, prefix, KMS_PREFIX_SIZE);
        struct kms_message message = kms_blob_sealing(blob, associated, associated_len, plaintext, plaintext_len);
        status = kms_xaes_seal(&root, &message, 1);
    }
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

static kms_status open_under(uint8_t *plaintext, uint64_t key, const uint8_t *associated, size_t associated_len,
                             const uint8_t *blob, size_t blob_len) {
    union kms_key root;
    kms_status status = kms_keyring_get(&root, key, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) {
        struct kms_message message = kms_blob_opening(plaintext, associated, associated_len, blob, blob_len);
        status = kms_xaes_open(&root, &message, 1);
        if (status == KMS_OK) status = message.status;
    }
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

kms_status kms_seal(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                    const uint8_t *associated, size_t associated_len, const uint8_t *plaintext, size_t plaintext_len) {
    kms_status status = KMS_WRONG_LENGTH;
    if (fits(prefix_len, associated_len, plaintext_len) && blob_len == plaintext_len + KMS_BLOB_OVERHEAD)
        status = seal_under(blob, key, prefix, associated, associated_len, plaintext, plaintext_len);
    if (status != KMS_OK) OPENSSL_cleanse(blob, blob_len);
    return status;
}

kms_status kms_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *associated,
                    size_t associated_len, const uint8_t *blob, size_t blob_len) {
    kms_status status = KMS_WRONG_LENGTH;
    if (!kms_blob_is_known(blob, blob_len))
        status = KMS_INVALID_CIPHERTEXT;
    else if (associated_len <= MAXIMUM_ASSOCIATED && plaintext_len == blob_len - KMS_BLOB_OVERHEAD)
        status = open_under(plaintext, key, associated, associated_len, blob, blob_len);
    if (status != KMS_OK) OPENSSL_cleanse(plaintext, plaintext_len);
    return status;
}

/* Decrypts into the place of the new ciphertext, which then overwrites the plaintext. */
kms_status kms_reseal(uint8_t *resealed, uint64_t source, const uint8_t *source_associated,
                      size_t source_associated_len, const uint8_t *blob, size_t blob_len, uint64_t key,
                      const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len) {
    uint8_t *plaintext = resealed + KMS_HEADER_SIZE;
    kms_status status = KMS_INVALID_CIPHERTEXT;
    if (kms_blob_is_known(blob, blob_len)) {
        size_t len = blob_len - KMS_BLOB_OVERHEAD;
        status = kms_open(plaintext, len, source, source_associated, source_associated_len, blob, blob_len);
        if (status == KMS_OK)
            status = kms_seal(resealed, blob_len, key, prefix, prefix_len, associated, associated_len, plaintext, len);
    }
    if (status != KMS_OK) OPENSSL_cleanse(resealed, blob_len);
    return status;
}

kms_status kms_data_key(uint8_t *data_key, size_t data_key_len, uint8_t *blob, size_t blob_len, uint64_t key,
                        const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len) {
    kms_status status = KMS_WRONG_LENGTH;
    if (data_key_len > 0 && blob_len == data_key_len + KMS_BLOB_OVERHEAD) {
        uint8_t *plaintext = blob + KMS_HEADER_SIZE;
        status = kms_random(plaintext, data_key_len);
        if (status == KMS_OK && data_key) memcpy(data_key, plaintext, data_key_len);
        if (status == KMS_OK)
            status =
                kms_seal(blob, blob_len, key, prefix, prefix_len, associated, associated_len, plaintext, data_key_len);
    }
    if (status != KMS_OK) OPENSSL_cleanse(blob, blob_len);
    if (status != KMS_OK && data_key) OPENSSL_cleanse(data_key, data_key_len);
    return status;
}

/* --- many blobs --------------------------------------------------------------------------------------------------- */

/* The parameters that all blobs of a call share, and pointers to the next one. */
struct series {
    union kms_key root;
    const uint8_t *prefix;
    const uint8_t *associated;
    size_t associated_len;
    const uint8_t *nonces;
    const uint8_t *in;
    uint8_t *out;
};

static int lens_fit(const uint32_t *lens, size_t count, size_t least, size_t most, size_t total) {
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (lens[i] < least || lens[i] > most) return 0;
        sum += lens[i];
    }
    return sum == total;
}

static kms_status seal_chunk(struct series *series, const uint32_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++) {
        memcpy(series->out, series->prefix, KMS_PREFIX_SIZE);
        memmove(series->out + NONCE_AT, series->nonces, KMS_NONCE_SIZE);
        messages[i] = kms_blob_sealing(series->out, series->associated, series->associated_len, series->in, lens[i]);
        series->nonces += KMS_NONCE_SIZE;
        series->in += lens[i];
        series->out += lens[i] + KMS_BLOB_OVERHEAD;
    }
    return kms_xaes_seal(&series->root, messages, count);
}

/* Draws all nonces at once, into the end of the output buffer. A blob is longer than a nonce, so no blob overwrites the
 * nonce of a later one, and the last blobs overwrite all of them. */
static kms_status seal_all(struct series *series, size_t blobs_len, uint64_t key, const uint32_t *lens, size_t count) {
    uint8_t *nonces = series->out + blobs_len - count * KMS_NONCE_SIZE;
    series->nonces = nonces;
    kms_status status = kms_keyring_get(&series->root, key, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) status = kms_nonces(nonces, count * KMS_NONCE_SIZE);
    for (size_t done = 0; status == KMS_OK && done < count; done += KMS_XAES_BATCH) {
        size_t rest = count - done;
        status = seal_chunk(series, lens + done, rest < KMS_XAES_BATCH ? rest : KMS_XAES_BATCH);
    }
    OPENSSL_cleanse(&series->root, sizeof series->root);
    return status;
}

kms_status kms_seal_many(uint8_t *blobs, size_t blobs_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                         const uint8_t *associated, size_t associated_len, const uint8_t *plaintexts,
                         const uint32_t *plaintext_lens, size_t count) {
    struct series series = {
        .prefix = prefix, .associated = associated, .associated_len = associated_len, .in = plaintexts, .out = blobs};
    size_t overhead = count * KMS_BLOB_OVERHEAD;
    kms_status status = KMS_WRONG_LENGTH;
    if (fits(prefix_len, associated_len, 1) && blobs_len >= overhead &&
        lens_fit(plaintext_lens, count, 1, KMS_MAXIMUM_PLAINTEXT, blobs_len - overhead))
        status = seal_all(&series, blobs_len, key, plaintext_lens, count);
    if (status != KMS_OK) OPENSSL_cleanse(blobs, blobs_len);
    return status;
}

/* Rejects other versions and suites; tag and commitment reject everything else. */
static kms_status open_chunk(struct series *series, uint8_t *statuses, const uint32_t *lens, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    const uint8_t *blobs[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++) {
        blobs[i] = series->in;
        messages[i] = kms_blob_opening(series->out, series->associated, series->associated_len, series->in, lens[i]);
        series->in += lens[i];
        series->out += messages[i].len;
    }
    kms_status status = kms_xaes_open(&series->root, messages, count);
    for (size_t i = 0; status == KMS_OK && i < count; i++) {
        statuses[i] = (uint8_t)(kms_blob_is_known(blobs[i], lens[i]) ? messages[i].status : KMS_INVALID_CIPHERTEXT);
        if (statuses[i] != KMS_OK) OPENSSL_cleanse(messages[i].out, messages[i].len);
    }
    return status;
}

static kms_status open_all(struct series *series, uint8_t *statuses, uint64_t key, const uint32_t *lens, size_t count) {
    kms_status status = kms_keyring_get(&series->root, key, KMS_MESSAGE_ROOT);
    for (size_t done = 0; status == KMS_OK && done < count; done += KMS_XAES_BATCH) {
        size_t rest = count - done;
        status = open_chunk(series, statuses + done, lens + done, rest < KMS_XAES_BATCH ? rest : KMS_XAES_BATCH);
    }
    OPENSSL_cleanse(&series->root, sizeof series->root);
    return status;
}

kms_status kms_open_many(uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, uint64_t key,
                         const uint8_t *associated, size_t associated_len, const uint8_t *blobs,
                         const uint32_t *blob_lens, size_t count) {
    struct series series = {.associated = associated, .associated_len = associated_len, .in = blobs, .out = plaintexts};
    kms_status status = KMS_WRONG_LENGTH;
    memset(statuses, KMS_INVALID_CIPHERTEXT, count);
    if (associated_len <= MAXIMUM_ASSOCIATED &&
        lens_fit(blob_lens, count, KMS_BLOB_OVERHEAD + 1, KMS_BLOB_OVERHEAD + KMS_MAXIMUM_PLAINTEXT,
                 plaintexts_len + count * KMS_BLOB_OVERHEAD))
        status = open_all(&series, statuses, key, blob_lens, count);
    if (status != KMS_OK) OPENSSL_cleanse(plaintexts, plaintexts_len);
    return status;
}
