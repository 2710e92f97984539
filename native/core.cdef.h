/* The face of the C core, read by cffi and by the compiler alike: nothing but declarations that both understand.
 *
 * Outputs come first. Lengths are in bytes. Every function that returns kms_status leaves its outputs zeroed unless it
 * returns KMS_OK. Buffers belong to the caller and may be of any alignment; they must not overlap unless it says so.
 * Handles name a key in the keyring: slot in the low 32 bits, generation in the high 32.
 */

typedef enum {
    KMS_OK = 0,
    KMS_INVALID_CIPHERTEXT, /* version, length, check, commitment or tag is wrong */
    KMS_KEYRING_LOST,       /* never opened, or wiped by a fork */
    KMS_STALE_HANDLE,       /* the key was evicted, or the handle is no handle */
    KMS_KEYRING_FULL,
    KMS_WRONG_KIND,          /* a handle of another kind of key: a programming error */
    KMS_WRONG_LENGTH,        /* a buffer of the wrong size: a programming error */
    KMS_WRAPPED_KEY_DAMAGED, /* wrong wrapping key, moved to another place, or changed */
    KMS_MAC_DIFFERS,
    KMS_CONTEXT_TOO_LONG,
    KMS_CONTEXT_MALFORMED, /* lengths or count don't fit the bytes */
    KMS_CONTEXT_DUPLICATE_KEY,
    KMS_CONTEXT_NOT_UTF8,
    KMS_FILE_EXISTS,
    KMS_FILE_SYSTEM_ERROR, /* errno tells */
    KMS_FILE_NOT_REGULAR,
    KMS_FILE_WRONG_OWNER,
    KMS_FILE_WRONG_MODE,
    KMS_FILE_WRONG_SIZE,
    KMS_NO_RANDOMNESS,
    KMS_CIPHER_FAILED, /* libcrypto refused */
    KMS_OUT_OF_MEMORY,
    KMS_NOT_ADMITTED, /* an item of a batch */
    KMS_INCOMPLETE,   /* what has come so far is not wrong, but not all */
    KMS_USED_UP       /* a data key's bounds allow no such record, or not without asking */
} kms_status;

#define KMS_KID_SIZE 17
#define KMS_MATERIAL_ID_SIZE 32
#define KMS_PREFIX_SIZE 55    /* bytes 0-54 of a blob: version, suite, kid, material id, check */
#define KMS_HEADER_SIZE 79    /* prefix and nonce */
#define KMS_BLOB_OVERHEAD 127 /* header, tag and commitment */
#define KMS_MAXIMUM_PLAINTEXT 65536
#define KMS_MATERIAL_SIZE 32
#define KMS_WRAPPING_OVERHEAD 73 /* version, nonce, tag, commitment */
#define KMS_WRAPPED_KEY_SIZE 105 /* the same with 32 bytes */
#define KMS_MAC_SIZE 32
#define KMS_FINGERPRINT_SIZE 8
#define KMS_MAXIMUM_CONTEXT 8192
#define KMS_ROOT_KEY_SIZE 32

/* --- keyring.c: the only place where keys live ------------------------------------------------------------------- */

typedef struct {
    uint32_t slots;
    uint32_t used;
    uint8_t locked;
    uint8_t left_out_of_dumps;
    uint8_t wiped_on_fork;
} kms_keyring_facts_t;

/* Opens the keyring of the process, or opens it anew in a forked child; otherwise does nothing. 64 bytes a slot. */
kms_status kms_keyring_open(uint32_t slots);
void kms_keyring_facts(kms_keyring_facts_t *facts);
kms_status kms_keyring_evict(uint64_t handle);

/* --- root_key_file.c ---------------------------------------------------------------------------------------------- */

/* Makes `path` with 32 random bytes, mode 0600, whole or not at all, durable when it returns. `folder` holds it. */
kms_status kms_root_key_create(const char *path, const char *unfinished_path, const char *folder);
kms_status kms_root_key_load(uint64_t *root, const char *path);

/* --- key_wrapping.c ----------------------------------------------------------------------------------------------- */

kms_status kms_root_key_fingerprint(uint8_t fingerprint[KMS_FINGERPRINT_SIZE], uint64_t root);
kms_status kms_region_key_generate(uint8_t wrapped[KMS_WRAPPED_KEY_SIZE], uint64_t root, const uint8_t *associated,
                                   size_t associated_len);
kms_status kms_region_key_load(uint64_t *region, uint64_t root, const uint8_t *associated, size_t associated_len,
                               const uint8_t *wrapped, size_t wrapped_len);
kms_status kms_material_generate(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                                 uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                                 size_t associated_len);
kms_status kms_material_load(uint64_t *key, uint64_t region, const uint8_t kid[KMS_KID_SIZE],
                             const uint8_t material_id[KMS_MATERIAL_ID_SIZE], const uint8_t *associated,
                             size_t associated_len, const uint8_t *wrapped, size_t wrapped_len);
kms_status kms_mac(uint8_t mac[KMS_MAC_SIZE], uint64_t region, const uint8_t *data, size_t data_len);
kms_status kms_mac_matches(uint64_t region, const uint8_t *data, size_t data_len, const uint8_t *mac, size_t mac_len);

/* --- import_wrapping.c -------------------------------------------------------------------------------------------- */

#define KMS_MAXIMUM_PUBLIC_KEY 550    /* SubjectPublicKeyInfo of RSA-4096 */
#define KMS_MAXIMUM_WRAPPED_PAIR 2450 /* PKCS#8 of RSA-4096, and KMS_WRAPPING_OVERHEAD */

/* WrappingAlgorithm. RSA_AES_KEY_WRAP is OAEP of an AES-256 key, then AES-KWP (RFC 5649) under it. */
typedef enum {
    KMS_RSAES_OAEP_SHA_1,
    KMS_RSAES_OAEP_SHA_256,
    KMS_RSA_AES_KEY_WRAP_SHA_1,
    KMS_RSA_AES_KEY_WRAP_SHA_256
} kms_wrapping_algorithm;

/* A new RSA pair of 2048, 3072 or 4096 bits, e = 65537: the public key as SubjectPublicKeyInfo, the private one as PKCS#8
 * wrapped under `wrapping`: a region key or a message root. Takes up to seconds. */
kms_status kms_wrapping_pair_generate(uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                                      uint8_t wrapped[KMS_MAXIMUM_WRAPPED_PAIR], size_t *wrapped_len, uint64_t wrapping,
                                      uint32_t bits, const uint8_t *associated, size_t associated_len);

/* Opens the pair, unwraps 32 bytes of material that were encrypted under its public key, and stores them as
 * kms_material_generate does. Whatever is wrong with `encrypted` is KMS_INVALID_CIPHERTEXT, at the same cost. */
kms_status kms_material_import(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                               uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                               size_t associated_len, uint64_t wrapping, const uint8_t *pair_associated,
                               size_t pair_associated_len, const uint8_t *pair, size_t pair_len,
                               kms_wrapping_algorithm algorithm, const uint8_t *encrypted, size_t encrypted_len);

/* --- context.c ---------------------------------------------------------------------------------------------------- */

/* Checks a joined encryption context and writes its pairs in order of their keys; `canonical` has joined_len bytes. */
kms_status kms_context_canonical(uint8_t *canonical, const uint8_t *joined, size_t joined_len);

/* --- request.c: requests as their bytes came ------------------------------------------------------------------------ */

typedef enum { KMS_ENCRYPT, KMS_DECRYPT, KMS_RE_ENCRYPT, KMS_DATA_KEY } kms_operation;

#define KMS_MAXIMUM_KEY_ID 2048 /* of a request, in bytes here */
#define KMS_MAXIMUM_ARN 512
#define KMS_MAXIMUM_IDENTITY 2112 /* KeyId and a blob's prefix, with room */
#define KMS_MAXIMUM_ANSWER 66560  /* the largest blob, an ARN, a material id, and what protobuf puts around them */

/* A key material, as answering under it needs it: `associated` is u16 length of the key's ARN, and the ARN. */
typedef struct {
    uint64_t handle;
    uint8_t prefix[KMS_PREFIX_SIZE];
    uint16_t associated_len;
    uint8_t associated[];
} kms_material;

/* A place in the request's bytes. What stands behind a tag never begins at 0, so `at` is 0 where there is none. */
typedef struct {
    uint32_t at;
    uint32_t len;
} kms_place;

/* One Encrypt or Decrypt: what the scanner found, and room for the answer. */
typedef struct {
    kms_place data; /* plaintext or blob */
    uint32_t identity_len;
    uint32_t context_len;
    uint32_t answer_len;
    uint8_t identity[KMS_MAXIMUM_IDENTITY]; /* KeyId; for Decrypt the blob's prefix follows */
    uint8_t context[KMS_MAXIMUM_CONTEXT];   /* canonical */
    uint8_t answer[KMS_MAXIMUM_ANSWER];
} kms_call;

/* 1 where the request is what protobuf's own reader would make of the same bytes and needs nothing but sealing or opening:
 * its data have 1 to data_most bytes, and no field is there that asks for more. 0: somebody else must look at it. */
int kms_call_scan(kms_call *call, kms_operation operation, const uint8_t *raw, size_t raw_len, size_t data_most);
/* The serialised response to a request that kms_call_scan took. */
kms_status kms_call_answer(kms_call *call, kms_operation operation, const kms_material *material, const uint8_t *raw,
                           size_t raw_len);
/* Overwrites the answer. */
void kms_call_forget(kms_call *call);

/* --- batch.c: many items in one request ---------------------------------------------------------------------------- */

#define KMS_MAXIMUM_ITEMS 10000
#define KMS_BATCH_BUCKETS 16384

/* An item of a batch. What it has not of its own it has from the batch. */
typedef struct {
    kms_place own; /* the item itself */
    kms_place key, source_key;
    kms_place context, source_context; /* their pairs */
    kms_place data;                    /* plaintext or blob */
    uint32_t count;                    /* of data keys */
    uint32_t group;
    uint32_t out_at;
    uint32_t out_len; /* 0 where it isn't done */
    uint8_t status;   /* KMS_OK; KMS_WRONG_LENGTH: beyond its limits; KMS_CONTEXT_TOO_LONG; KMS_NOT_ADMITTED;
                         KMS_INVALID_CIPHERTEXT */
} kms_item;

/* A batch's request. Items of a group are about the same keys: what is admitted is admitted by group. */
typedef struct {
    uint32_t item_count;
    uint32_t group_count;
    uint32_t data_keys; /* of all items */
    uint32_t unfit;     /* items beyond their limits */
    uint32_t with_own_context;
    uint32_t key_spec;
    uint32_t number_of_bytes;
    uint8_t has_number_of_bytes;
    kms_place key, source_key; /* what the batch says for all */
    kms_place context, source_context;
    kms_item items[KMS_MAXIMUM_ITEMS];
    uint32_t first_items[KMS_MAXIMUM_ITEMS]; /* of each group */
    uint16_t buckets[KMS_BATCH_BUCKETS];
    uint64_t seed;
} kms_batch;

/* What a group was admitted to: `material` NULL if to nothing. The materials' places in the answer's list of keys. */
typedef struct {
    const kms_material *material; /* seals; DecryptBatch: opens */
    const kms_material *source;   /* ReEncryptBatch: opens */
    uint32_t key;
    uint32_t source_key;
} kms_admitted;

/* As kms_call_scan. With by_context, groups have the same encryption contexts as well. `written` says that protobuf's own
 * writer made the bytes: then a context that is too long is its item's affair. */
int kms_batch_scan(kms_batch *batch, kms_operation operation, const uint8_t *raw, size_t raw_len, int by_context,
                   int written);
/* Gives each item its place in the answer, as far as it can be done. The sum of all, in bytes. data_key_len: that of data
 * keys, 1 to 1,024. */
size_t kms_batch_plan(kms_batch *batch, kms_operation operation, const kms_admitted *admitted, uint32_t data_key_len);
/* Does items first to end - 1, each into its place in `out`, which is the whole answer's: several threads may work on parts
 * of one batch. An item that doesn't open has a status, and zeros in its place. */
kms_status kms_batch_run(uint8_t *out, size_t out_len, kms_batch *batch, kms_operation operation,
                         const kms_admitted *admitted, uint32_t data_key_len, uint32_t first, uint32_t end,
                         const uint8_t *raw, size_t raw_len);
/* Items that were done, by group, and in a batch of data keys how many of those they have. Gives the number of items that
 * were not done; with `failed`, their places too. */
uint32_t kms_batch_tally(uint32_t *done, uint32_t *data_keys, uint32_t *failed, const kms_batch *batch);

/* --- blob.c: the ciphertext blob, version 1 ------------------------------------------------------------------------ */

kms_status kms_blob_prefix(uint8_t prefix[KMS_PREFIX_SIZE], const uint8_t kid[KMS_KID_SIZE],
                           const uint8_t material_id[KMS_MATERIAL_ID_SIZE]);
kms_status kms_blob_check(const uint8_t *blob, size_t blob_len);

/* blob_len is plaintext_len + KMS_BLOB_OVERHEAD; plaintext_len is 1 to KMS_MAXIMUM_PLAINTEXT. */
kms_status kms_seal(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                    const uint8_t *associated, size_t associated_len, const uint8_t *plaintext, size_t plaintext_len);
/* plaintext_len is blob_len - KMS_BLOB_OVERHEAD. */
kms_status kms_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *associated,
                    size_t associated_len, const uint8_t *blob, size_t blob_len);
/* resealed has the length of blob. */
kms_status kms_reseal(uint8_t *resealed, uint64_t source, const uint8_t *source_associated,
                      size_t source_associated_len, const uint8_t *blob, size_t blob_len, uint64_t key,
                      const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len);
/* Random bytes, sealed. data_key may be NULL: then the plaintext never leaves the call. */
kms_status kms_data_key(uint8_t *data_key, size_t data_key_len, uint8_t *blob, size_t blob_len, uint64_t key,
                        const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len);

/* Many plaintexts under one key and one associated data: they and their blobs stand one after the other. */
kms_status kms_seal_many(uint8_t *blobs, size_t blobs_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                         const uint8_t *associated, size_t associated_len, const uint8_t *plaintexts,
                         const uint32_t *plaintext_lens, size_t count);
/* statuses gets KMS_OK or KMS_INVALID_CIPHERTEXT for each blob; a plaintext that didn't open is zeroed. */
kms_status kms_open_many(uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, uint64_t key,
                         const uint8_t *associated, size_t associated_len, const uint8_t *blobs,
                         const uint32_t *blob_lens, size_t count);

/* --- esdk_*.c: the message format of the AWS Encryption SDK; drawn in esdk.h ----------------------------------------- */

#define KMS_ESDK_MAXIMUM_HEADER 65536
#define KMS_ESDK_MAXIMUM_FRAME 1048576
#define KMS_ESDK_HEADER_OVERHEAD 105 /* what is written beside context, provider information and encrypted data key */
#define KMS_ESDK_HELD_OVERHEAD 256   /* what `held` has beside a frame's plaintext: head and tag, or a signature */

/* Where the parts of a header are. */
typedef struct {
    uint16_t suite;
    uint8_t version;
    uint8_t is_signed;
    uint32_t message_id_at;
    uint32_t message_id_len;
    uint32_t context_at; /* u16 count, pairs; context_len 0 is the empty one */
    uint32_t context_len;
    uint32_t data_keys_at; /* provider id, provider information, encrypted data key, each with its u16 length */
    uint32_t data_keys_len;
    uint32_t data_keys;
    uint32_t frame_len;
    uint32_t commitment_at;
    uint32_t authenticated_len; /* what the header's tag covers */
    uint32_t header_len;
} kms_esdk_header_t;

/* Reads the header that `message` begins with. KMS_INCOMPLETE where it ends before its header does, which never happens
 * from KMS_ESDK_MAXIMUM_HEADER bytes on; KMS_INVALID_CIPHERTEXT as soon as anything is wrong. */
kms_status kms_esdk_header_read(kms_esdk_header_t *header, const uint8_t *message, size_t message_len);

/* A message on its way. Its key lies in the keyring: kms_keyring_evict(key) ends it. */
typedef struct {
    uint64_t key;
    uint8_t message_id[32]; /* 16 in version 1 */
    uint32_t sequence;      /* of the next frame */
    uint32_t frame_len;
    uint32_t held_len; /* bytes that wait in `held`; once ended, those of the signature */
    uint16_t suite;
    uint8_t progress; /* 0 open, 1 its final frame is done, 2 failed */
} kms_esdk_message_t;

typedef struct {
    const uint8_t *context; /* as in the header */
    size_t context_len;
    const uint8_t *provider_info;
    size_t provider_info_len;
    uint32_t frame_len; /* 1 to KMS_ESDK_MAXIMUM_FRAME */
} kms_esdk_begin_t;

/* Begins a message of suite 0x0478 under a fresh data key, which is sealed as kms_data_key does and never leaves the call.
 * header_len: KMS_ESDK_HEADER_OVERHEAD, context, provider information, and 159 bytes of the blob. */
kms_status kms_esdk_encryption_begin(uint8_t *header, size_t header_len, kms_esdk_message_t *message, uint64_t key,
                                     const uint8_t *prefix, size_t prefix_len, const uint8_t *associated,
                                     size_t associated_len, const kms_esdk_begin_t *begin);
/* The same under a data key of 32 bytes that the caller has, with its encrypted form. */
kms_status kms_esdk_encryption_begin_with(uint8_t *header, size_t header_len, kms_esdk_message_t *message,
                                          const uint8_t *data_key, size_t data_key_len, const uint8_t *encrypted,
                                          size_t encrypted_len, const kms_esdk_begin_t *begin);
/* Begins reading: the blob is one of the header's encrypted data keys. KMS_INVALID_CIPHERTEXT where it doesn't open, or
 * commitment or tag of the header are wrong. */
kms_status kms_esdk_decryption_begin(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                     uint64_t key, const uint8_t *associated, size_t associated_len,
                                     const uint8_t *blob, size_t blob_len);
kms_status kms_esdk_decryption_begin_with(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                          const uint8_t *data_key, size_t data_key_len);

/* Bytes that the next kms_esdk_encrypt gives. */
uint64_t kms_esdk_encrypted_len(const kms_esdk_message_t *message, uint64_t in_len, uint8_t is_last);
/* All frames that `in` makes whole; is_last writes the final one. `held` takes frame_len bytes or more, the same in every
 * call. out_len is kms_esdk_encrypted_len. A call that fails ends the message. */
kms_status kms_esdk_encrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len, uint8_t is_last);
/* Bytes that the next kms_esdk_decrypt gives: plaintext of the frames that `in` makes whole, by what their heads say, up to
 * the first one that is not what must come next, which that call refuses. At most what waits in `held`, and in_len. */
size_t kms_esdk_decrypted_len(const kms_esdk_message_t *message, const uint8_t *held, size_t held_len,
                              const uint8_t *in, size_t in_len);
/* The plaintext of all frames that `in` makes whole; out_len is kms_esdk_decrypted_len. `held` takes frame_len +
 * KMS_ESDK_HELD_OVERHEAD bytes. KMS_INVALID_CIPHERTEXT for whatever is not the next frame, also behind the final one, and
 * the message is ended. Of suites that sign, the signature is left in `held`. */
kms_status kms_esdk_decrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len);

/* --- record.c: records of the client library, version 1 ------------------------------------------------------------ */

#define KMS_DATA_KEY_SIZE 32
#define KMS_WRAPPED_DATA_KEY_SIZE 159 /* the blob of such a data key */
#define KMS_RECORD_PREFIX_SIZE 163    /* version, suite, length, wrapped data key */
#define KMS_RECORD_HEADER_SIZE 187    /* prefix and nonce */
#define KMS_RECORD_OVERHEAD 235       /* header, tag and commitment */
#define KMS_MAXIMUM_RECORD_PLAINTEXT 1073741824

/* Derives the message root of a data key's records, into the keyring. `data_key` has KMS_DATA_KEY_SIZE bytes; the caller
 * forgets it. */
kms_status kms_record_key_import(uint64_t *key, const uint8_t *data_key, size_t data_key_len);
/* Version, suite and lengths alone. */
kms_status kms_record_check(const uint8_t *record, size_t record_len);
/* record_len is plaintext_len + KMS_RECORD_OVERHEAD; plaintext_len is 0 to KMS_MAXIMUM_RECORD_PLAINTEXT. `wrapped` has
 * KMS_WRAPPED_DATA_KEY_SIZE bytes, `context` is canonical. */
kms_status kms_record_seal(uint8_t *record, size_t record_len, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                           const uint8_t *context, size_t context_len, const uint8_t *plaintext, size_t plaintext_len);
/* plaintext_len is record_len - KMS_RECORD_OVERHEAD. */
kms_status kms_record_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *context,
                           size_t context_len, const uint8_t *record, size_t record_len);
/* Many records under one data key and one context. records[i] has plaintext_lens[i] + KMS_RECORD_OVERHEAD bytes. */
kms_status kms_record_seal_many(uint8_t *const *records, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                                const uint8_t *context, size_t context_len, const uint8_t *const *plaintexts,
                                const uint64_t *plaintext_lens, size_t count);
/* A key for each record. plaintexts[i] has record_lens[i] - KMS_RECORD_OVERHEAD bytes. statuses gets KMS_OK or
 * KMS_INVALID_CIPHERTEXT for each; a plaintext that didn't open is zeroed. */
kms_status kms_record_open_many(uint8_t *const *plaintexts, uint8_t *statuses, const uint64_t *keys,
                                const uint8_t *context, size_t context_len, const uint8_t *const *records,
                                const uint64_t *record_lens, size_t count);

/* --- data_key_budget.c: what a data key may still be used for ----------------------------------------------------------------- */

/* Written by the functions below alone, from any thread. Times are seconds by the caller's clock. */
typedef struct {
    uint64_t *granted;                   /* counts the records of all keys of a cache */
    uint64_t last;                       /* what `granted` was after this key's last record */
    int64_t messages, bytes;             /* left */
    double ends;                         /* from then on it is not used */
    int64_t least_messages, least_bytes; /* these stay, and `until` has not come, where nobody is asked first */
    double until;
} kms_budget_t;

/* Before anybody else sees `uses`. `granted` outlives it. messages and bytes: 0 to 2^63 - 1. */
void kms_budget_begin(kms_budget_t *budget, uint64_t *granted, int64_t messages, int64_t bytes, double ends);
/* What kms_record_seal_within may take from now on: never more than what is left. */
void kms_budget_allow(kms_budget_t *budget, double until, int64_t least_messages, int64_t least_bytes);
/* One record of so many bytes. 1, or 0: nothing was taken. */
int kms_budget_take(kms_budget_t *budget, double now, int64_t bytes);
/* As many of these records, from the first on, as may be; how many. */
size_t kms_budget_grant(kms_budget_t *budget, double now, const uint64_t *lens, size_t most);

/* A data key as who seals has it. */
typedef struct {
    uint64_t key; /* handle */
    uint8_t wrapped[KMS_WRAPPED_DATA_KEY_SIZE];
    kms_budget_t budget;
} kms_data_key_t;

/* kms_record_seal, where one more record of these bytes is allowed without asking; else KMS_USED_UP. */
kms_status kms_record_seal_within(uint8_t *record, size_t record_len, kms_data_key_t *key, double now,
                                  const uint8_t *context, size_t context_len, const uint8_t *plaintext,
                                  size_t plaintext_len);

/* --- random.c, epoch.c, process.c ---------------------------------------------------------------------------------- */

kms_status kms_random(uint8_t *out, size_t out_len);
void kms_cleanse(void *buffer, size_t buffer_len);
void kms_epoch_bump(uint64_t *epoch);
uint64_t kms_epoch_read(const uint64_t *epoch);
kms_status kms_forbid_core_dumps(void);
const char *kms_libcrypto_version(void);
unsigned int kms_libcrypto_number(void); /* 0xMNN: 0x30500000 is 3.5 */

/* --- reference.c: what `kms-grpc bench` compares with. Nothing of the service calls it ----------------------------- */

/* Bare AES-256-GCM of `count` messages of `len` bytes: one context, a new key for each. out: len + 16 bytes each. */
kms_status kms_reference_seal(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count);
kms_status kms_reference_open(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                              size_t len, size_t count);
/* The same one after another into one buffer, with a nonce of RAND_bytes each time. */
kms_status kms_reference_seal_singly(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                                     size_t len, size_t count);
/* One key, one nonce, one buffer that is encrypted where it is, again and again: as `openssl speed -evp aes-256-gcm -aead`
 * does it. buffer: len + 16 bytes. */
kms_status kms_reference_speed(uint8_t *buffer, size_t len, size_t count);
/* The whole envelope, for each of `count` messages of `len` bytes: a new data key, wrapped as a blob under `key`; then the
 * message by AES-256-GCM under it: nonce 12, ciphertext, tag 16. */
#define KMS_ENVELOPE_OVERHEAD 187
kms_status kms_envelope_many(uint8_t *envelopes, size_t envelopes_len, uint64_t key, const uint8_t *prefix,
                             size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                             size_t len, size_t count);
/* kms_seal, `count` times over one buffer. */
kms_status kms_seal_singly(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                           const uint8_t *associated, size_t associated_len, const uint8_t *plaintext,
                           size_t plaintext_len, size_t count);
