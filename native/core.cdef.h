/* The public declarations of the C core. Both cffi and the compiler read this file, so it holds nothing else.
 *
 * Outputs come first. Lengths are in bytes. A function that returns kms_status leaves its outputs zeroed unless it
 * returns KMS_OK. The caller owns all buffers; they may have any alignment and must not overlap, unless a comment says
 * so. A handle names a key in the keyring: slot in the low 32 bits, generation in the high 32.
 */

typedef enum {
    KMS_OK = 0,
    KMS_INVALID_CIPHERTEXT, /* version, length, check, commitment or tag is wrong */
    KMS_KEYRING_LOST,       /* the keyring was never opened, or a fork wiped it */
    KMS_STALE_HANDLE,       /* the key was evicted, or the number never was a handle */
    KMS_KEYRING_FULL,
    KMS_WRONG_KIND,          /* a handle of another kind of key: a programming error */
    KMS_WRONG_LENGTH,        /* a buffer of the wrong size: a programming error */
    KMS_WRAPPED_KEY_DAMAGED, /* wrong wrapping key, wrong associated data, or changed bytes */
    KMS_MAC_DIFFERS,
    KMS_CONTEXT_TOO_LONG,
    KMS_CONTEXT_MALFORMED, /* the lengths or the count do not match the bytes */
    KMS_CONTEXT_DUPLICATE_KEY,
    KMS_CONTEXT_NOT_UTF8,
    KMS_FILE_EXISTS,
    KMS_FILE_SYSTEM_ERROR, /* see errno */
    KMS_FILE_NOT_REGULAR,
    KMS_FILE_WRONG_OWNER,
    KMS_FILE_WRONG_MODE,
    KMS_FILE_WRONG_SIZE,
    KMS_NO_RANDOMNESS,
    KMS_CIPHER_FAILED, /* libcrypto returned an error */
    KMS_OUT_OF_MEMORY,
    KMS_NOT_ADMITTED, /* an item of a batch whose group has no material */
    KMS_INCOMPLETE,   /* the bytes so far are correct, but more must follow */
    KMS_USED_UP       /* the data key's budget does not allow this record */
} kms_status;

#define KMS_KID_SIZE 17
#define KMS_MATERIAL_ID_SIZE 32
#define KMS_PREFIX_SIZE 55    /* bytes 0-54 of a blob: version, suite, kid, material id, check */
#define KMS_HEADER_SIZE 79    /* prefix and nonce */
#define KMS_BLOB_OVERHEAD 127 /* header, tag and commitment */
#define KMS_MAXIMUM_PLAINTEXT 65536
#define KMS_MATERIAL_SIZE 32
#define KMS_WRAPPING_OVERHEAD 73 /* version, nonce, tag, commitment */
#define KMS_WRAPPED_KEY_SIZE 105 /* of a key of 32 bytes */
#define KMS_MAC_SIZE 32
#define KMS_FINGERPRINT_SIZE 8
#define KMS_MAXIMUM_CONTEXT 8192
#define KMS_ROOT_KEY_SIZE 32

/* --- keyring.c: holds all keys of the process --------------------------------------------------------------------- */

typedef struct {
    uint32_t slots;
    uint32_t used;
    uint8_t locked;
    uint8_t left_out_of_dumps;
    uint8_t wiped_on_fork;
} kms_keyring_facts_t;

/* Opens the keyring of the process, also again in a forked child. Does nothing if it is open. A slot takes 64 bytes. */
kms_status kms_keyring_open(uint32_t slots);
void kms_keyring_facts(kms_keyring_facts_t *facts);
kms_status kms_keyring_evict(uint64_t handle);

/* --- root_key_file.c ---------------------------------------------------------------------------------------------- */

/* Creates `path` with 32 random bytes and mode 0600, atomically and durably. `folder` is the directory of `path`;
 * `unfinished_path` is the name of the file while it is written. Fails with KMS_FILE_EXISTS if `path` exists. */
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

/* AWS KMS's WrappingAlgorithm. RSA_AES_KEY_WRAP: OAEP of an AES-256 key, then AES-KWP (RFC 5649) under that key. */
typedef enum {
    KMS_RSAES_OAEP_SHA_1,
    KMS_RSAES_OAEP_SHA_256,
    KMS_RSA_AES_KEY_WRAP_SHA_1,
    KMS_RSA_AES_KEY_WRAP_SHA_256
} kms_wrapping_algorithm;

/* Generates an RSA pair of 2048, 3072 or 4096 bits with e = 65537. Gives the public key as SubjectPublicKeyInfo and the
 * private key as PKCS#8, wrapped under `wrapping`, a region key or a message root. Takes up to several seconds. */
kms_status kms_wrapping_pair_generate(uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                                      uint8_t wrapped[KMS_MAXIMUM_WRAPPED_PAIR], size_t *wrapped_len, uint64_t wrapping,
                                      uint32_t bits, const uint8_t *associated, size_t associated_len);

/* Unwraps the pair's private key, decrypts with it the 32 bytes of key material in `encrypted`, and wraps the material
 * under `region` as kms_material_generate does. Any error in `encrypted` gives KMS_INVALID_CIPHERTEXT after the same
 * work. */
kms_status kms_material_import(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                               uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                               size_t associated_len, uint64_t wrapping, const uint8_t *pair_associated,
                               size_t pair_associated_len, const uint8_t *pair, size_t pair_len,
                               kms_wrapping_algorithm algorithm, const uint8_t *encrypted, size_t encrypted_len);

/* --- encryption_context.c ----------------------------------------------------------------------------------------- */

/* Checks the pairs of an encryption context and writes its canonical form, which has joined_len bytes as well. */
kms_status kms_context_canonical(uint8_t *canonical, const uint8_t *joined, size_t joined_len);

/* --- request.c: Encrypt and Decrypt on serialised protobuf messages ----------------------------------------------- */

typedef enum { KMS_ENCRYPT, KMS_DECRYPT, KMS_RE_ENCRYPT, KMS_DATA_KEY } kms_operation;

#define KMS_MAXIMUM_KEY_ID 2048 /* bytes of UTF-8 */
#define KMS_MAXIMUM_ARN 512
#define KMS_MAXIMUM_IDENTITY 2112 /* at least a KeyId and a blob's prefix */
#define KMS_MAXIMUM_ANSWER 66560  /* at least a response with the largest blob, an ARN and a material id */

/* Key material that answers requests. `associated` is the u16 length of the key's ARN, then the ARN. */
typedef struct {
    uint64_t handle;
    uint8_t prefix[KMS_PREFIX_SIZE];
    uint16_t associated_len;
    uint8_t associated[];
} kms_material;

/* A part of the request's bytes. A field's content never begins at offset 0, so `at` is 0 for a field that is
 * absent. */
typedef struct {
    uint32_t at;
    uint32_t len;
} kms_place;

/* One Encrypt or Decrypt request as the scanner read it, and a buffer for the response. */
typedef struct {
    kms_place data; /* plaintext or ciphertext blob */
    uint32_t identity_len;
    uint32_t context_len;
    uint32_t answer_len;
    uint8_t identity[KMS_MAXIMUM_IDENTITY]; /* KeyId, then in Decrypt the blob's prefix */
    uint8_t context[KMS_MAXIMUM_CONTEXT];   /* canonical form */
    uint8_t answer[KMS_MAXIMUM_ANSWER];
} kms_call;

/* Reads a request. Returns 1 if the scanner accepts it (see request.h), it asks for nothing besides sealing or opening,
 * and its plaintext or blob has 1 to data_most bytes. Returns 0 otherwise: the caller must parse it with protobuf. */
int kms_call_scan(kms_call *call, kms_operation operation, const uint8_t *raw, size_t raw_len, size_t data_most);
/* Writes the serialised response to a request that kms_call_scan accepted. */
kms_status kms_call_answer(kms_call *call, kms_operation operation, const kms_material *material, const uint8_t *raw,
                           size_t raw_len);
/* Overwrites the answer. */
void kms_call_forget(kms_call *call);

/* --- batch_scan.c, batch.c: requests with many items -------------------------------------------------------------- */

#define KMS_MAXIMUM_ITEMS 10000
#define KMS_BATCH_BUCKETS 16384

/* An item of a batch. An item without a key or a context of its own takes the batch's. */
typedef struct {
    kms_place own; /* the item's message */
    kms_place key, source_key;
    kms_place context, source_context; /* all pairs */
    kms_place data;                    /* plaintext or ciphertext blob */
    uint32_t count;                    /* GenerateDataKeyBatch: number of data keys */
    uint32_t group;
    uint32_t out_at;  /* where its result stands in the answer */
    uint32_t out_len; /* length of its result; 0 if the item has an error */
    uint8_t status;   /* KMS_OK; KMS_WRONG_LENGTH: a field exceeds its limit; KMS_CONTEXT_TOO_LONG; KMS_NOT_ADMITTED;
                         KMS_INVALID_CIPHERTEXT */
} kms_item;

/* The request of a batch. Items that name the same keys form a group; the caller authorizes each group once. */
typedef struct {
    uint32_t item_count;
    uint32_t group_count;
    uint32_t data_keys;        /* sum over all items */
    uint32_t unfit;            /* items with a field that exceeds its limit */
    uint32_t with_own_context; /* items whose encryption context is not the batch's */
    uint32_t key_spec;
    uint32_t number_of_bytes;
    uint8_t has_number_of_bytes;
    kms_place key, source_key; /* the batch's, for items without their own */
    kms_place context, source_context;
    kms_item items[KMS_MAXIMUM_ITEMS];
    uint32_t first_items[KMS_MAXIMUM_ITEMS]; /* the first item of each group */
    uint16_t buckets[KMS_BATCH_BUCKETS];     /* hash table of groups; internal */
    uint64_t seed;
} kms_batch;

/* The materials that a group may use; `material` is NULL if the group was refused. The numbers are the keys' places in
 * the answer's list of keys. */
typedef struct {
    const kms_material *material; /* seals; in DecryptBatch opens */
    const kms_material *source;   /* opens, in ReEncryptBatch */
    uint32_t key;
    uint32_t source_key;
} kms_admitted;

/* Reads a batch as kms_call_scan reads a request. With by_context, the items of a group have the same encryption
 * contexts too. `written` says that protobuf's own writer made the bytes; then a context that is too long is an error
 * of its item, not of the batch. */
int kms_batch_scan(kms_batch *batch, kms_operation operation, const uint8_t *raw, size_t raw_len, int by_context,
                   int written);
/* Assigns each item that can be processed its place in the answer. Returns the size of all results in bytes.
 * data_key_len is the length of each data key, 1 to 1,024. */
size_t kms_batch_plan(kms_batch *batch, kms_operation operation, const kms_admitted *admitted, uint32_t data_key_len);
/* Processes items first to end - 1 and writes each result to its place in `out`, the buffer of the whole answer.
 * Several threads may process parts of one batch. An item that does not open gets a status, and zeros in its place. */
kms_status kms_batch_run(uint8_t *out, size_t out_len, kms_batch *batch, kms_operation operation,
                         const kms_admitted *admitted, uint32_t data_key_len, uint32_t first, uint32_t end,
                         const uint8_t *raw, size_t raw_len);
/* Counts for each group the items that succeeded and their data keys. Returns the number of items that failed and,
 * unless `failed` is NULL, writes their numbers to it. */
uint32_t kms_batch_tally(uint32_t *done, uint32_t *data_keys, uint32_t *failed, const kms_batch *batch);

/* --- blob.c: the ciphertext blob, version 1 ----------------------------------------------------------------------- */

kms_status kms_blob_prefix(uint8_t prefix[KMS_PREFIX_SIZE], const uint8_t kid[KMS_KID_SIZE],
                           const uint8_t material_id[KMS_MATERIAL_ID_SIZE]);
kms_status kms_blob_check(const uint8_t *blob, size_t blob_len);

/* blob_len is plaintext_len + KMS_BLOB_OVERHEAD; plaintext_len is 1 to KMS_MAXIMUM_PLAINTEXT. */
kms_status kms_seal(uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                    const uint8_t *associated, size_t associated_len, const uint8_t *plaintext, size_t plaintext_len);
/* plaintext_len is blob_len - KMS_BLOB_OVERHEAD. */
kms_status kms_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *associated,
                    size_t associated_len, const uint8_t *blob, size_t blob_len);
/* Opens a blob and seals its plaintext under `key`. `resealed` has the length of `blob`. */
kms_status kms_reseal(uint8_t *resealed, uint64_t source, const uint8_t *source_associated,
                      size_t source_associated_len, const uint8_t *blob, size_t blob_len, uint64_t key,
                      const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len);
/* Draws a data key and seals it. If data_key is NULL, the plaintext never leaves the call. */
kms_status kms_data_key(uint8_t *data_key, size_t data_key_len, uint8_t *blob, size_t blob_len, uint64_t key,
                        const uint8_t *prefix, size_t prefix_len, const uint8_t *associated, size_t associated_len);

/* Seals many plaintexts under one key and one associated data. Plaintexts and blobs are concatenated. */
kms_status kms_seal_many(uint8_t *blobs, size_t blobs_len, uint64_t key, const uint8_t *prefix, size_t prefix_len,
                         const uint8_t *associated, size_t associated_len, const uint8_t *plaintexts,
                         const uint32_t *plaintext_lens, size_t count);
/* Opens many blobs. Sets KMS_OK or KMS_INVALID_CIPHERTEXT for each; the plaintext of a blob that does not open is
 * zeroed. */
kms_status kms_open_many(uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, uint64_t key,
                         const uint8_t *associated, size_t associated_len, const uint8_t *blobs,
                         const uint32_t *blob_lens, size_t count);

/* --- esdk_*.c: the message format of the AWS Encryption SDK; drawn in esdk.h -------------------------------------- */

#define KMS_ESDK_MAXIMUM_HEADER 65536
#define KMS_ESDK_MAXIMUM_FRAME 1048576
#define KMS_ESDK_HEADER_OVERHEAD 105 /* a written header without context, provider information and encrypted data key */
#define KMS_ESDK_HELD_OVERHEAD 256   /* room in `held` besides a frame's content: head and tag, or a signature */

/* The offsets of a header's parts. */
typedef struct {
    uint16_t suite;
    uint8_t version;
    uint8_t is_signed;
    uint32_t message_id_at;
    uint32_t message_id_len;
    uint32_t context_at; /* u16 count, pairs; the empty context has length 0 */
    uint32_t context_len;
    uint32_t data_keys_at; /* provider id, provider information, encrypted data key, each with its u16 length */
    uint32_t data_keys_len;
    uint32_t data_keys;
    uint32_t frame_len;
    uint32_t commitment_at;
    uint32_t authenticated_len; /* bytes that the header's tag covers */
    uint32_t header_len;
} kms_esdk_header_t;

/* Reads the header at the start of `message`. Returns KMS_INCOMPLETE if the header is longer than `message`, never from
 * KMS_ESDK_MAXIMUM_HEADER bytes on, and KMS_INVALID_CIPHERTEXT at the first error. */
kms_status kms_esdk_header_read(kms_esdk_header_t *header, const uint8_t *message, size_t message_len);

/* The state of a message that is encrypted or decrypted in parts. Its key is in the keyring; the caller evicts it. */
typedef struct {
    uint64_t key;
    uint8_t message_id[32]; /* 16 in version 1 */
    uint32_t sequence;      /* of the next frame */
    uint32_t frame_len;
    uint32_t held_len; /* bytes in `held`: of the next frame, after the final frame of the signature */
    uint16_t suite;
    uint8_t progress; /* 0 open, 1 the final frame is processed, 2 failed */
} kms_esdk_message_t;

typedef struct {
    const uint8_t *context; /* serialised as in the header */
    size_t context_len;
    const uint8_t *provider_info;
    size_t provider_info_len;
    uint32_t frame_len; /* 1 to KMS_ESDK_MAXIMUM_FRAME */
} kms_esdk_begin_t;

/* Begins a message of suite 0x0478 under a new data key, which is sealed as in kms_data_key and never leaves the call.
 * header_len is KMS_ESDK_HEADER_OVERHEAD plus context, provider information, and 159 bytes of the blob. */
kms_status kms_esdk_encryption_begin(uint8_t *header, size_t header_len, kms_esdk_message_t *message, uint64_t key,
                                     const uint8_t *prefix, size_t prefix_len, const uint8_t *associated,
                                     size_t associated_len, const kms_esdk_begin_t *begin);
/* Begins a message under a data key of 32 bytes that the caller gives together with its encrypted form. */
kms_status kms_esdk_encryption_begin_with(uint8_t *header, size_t header_len, kms_esdk_message_t *message,
                                          const uint8_t *data_key, size_t data_key_len, const uint8_t *encrypted,
                                          size_t encrypted_len, const kms_esdk_begin_t *begin);
/* Begins decrypting. `blob` is one of the header's encrypted data keys. Returns KMS_INVALID_CIPHERTEXT if the blob does
 * not open, or if the header's commitment or tag is wrong. */
kms_status kms_esdk_decryption_begin(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                     uint64_t key, const uint8_t *associated, size_t associated_len,
                                     const uint8_t *blob, size_t blob_len);
kms_status kms_esdk_decryption_begin_with(kms_esdk_message_t *message, const uint8_t *header, size_t header_len,
                                          const uint8_t *data_key, size_t data_key_len);

/* Returns the number of bytes that the next kms_esdk_encrypt writes. */
uint64_t kms_esdk_encrypted_len(const kms_esdk_message_t *message, uint64_t in_len, uint8_t is_last);
/* Writes all frames that `in` completes, and with is_last the final frame. `held` has frame_len bytes or more and is
 * the same in every call. out_len is kms_esdk_encrypted_len. A call that fails ends the message. */
kms_status kms_esdk_encrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len, uint8_t is_last);
/* Returns the number of bytes that the next kms_esdk_decrypt writes: the content of the frames that `in` completes. It
 * reads the frames' heads alone, and stops at the first wrong one, which that call refuses. The sum is at most held_len
 * + in_len. */
size_t kms_esdk_decrypted_len(const kms_esdk_message_t *message, const uint8_t *held, size_t held_len,
                              const uint8_t *in, size_t in_len);
/* Writes the plaintext of all frames that `in` completes; out_len is kms_esdk_decrypted_len. `held` has frame_len +
 * KMS_ESDK_HELD_OVERHEAD bytes. Returns KMS_INVALID_CIPHERTEXT for bytes that are not the next frame, or that follow
 * the final one; the message has then failed. For suites with a signature, `held` has the signature at the end. */
kms_status kms_esdk_decrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len);

/* --- record.c: records of the client library, version 1 ----------------------------------------------------------- */

#define KMS_DATA_KEY_SIZE 32
#define KMS_WRAPPED_DATA_KEY_SIZE 159 /* the ciphertext blob of a data key */
#define KMS_RECORD_PREFIX_SIZE 163    /* version, suite, length, wrapped data key */
#define KMS_RECORD_HEADER_SIZE 187    /* prefix and nonce */
#define KMS_RECORD_OVERHEAD 235       /* header, tag and commitment */
#define KMS_MAXIMUM_RECORD_PLAINTEXT 1073741824

/* Derives the message root of a data key's records and stores it in the keyring. `data_key` has KMS_DATA_KEY_SIZE
 * bytes; the caller should wipe it. */
kms_status kms_record_key_import(uint64_t *key, const uint8_t *data_key, size_t data_key_len);
/* Checks version, suite and lengths, nothing else. */
kms_status kms_record_check(const uint8_t *record, size_t record_len);
/* record_len is plaintext_len + KMS_RECORD_OVERHEAD; plaintext_len is 0 to KMS_MAXIMUM_RECORD_PLAINTEXT. `wrapped` has
 * KMS_WRAPPED_DATA_KEY_SIZE bytes, `context` is canonical. */
kms_status kms_record_seal(uint8_t *record, size_t record_len, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                           const uint8_t *context, size_t context_len, const uint8_t *plaintext, size_t plaintext_len);
/* plaintext_len is record_len - KMS_RECORD_OVERHEAD. */
kms_status kms_record_open(uint8_t *plaintext, size_t plaintext_len, uint64_t key, const uint8_t *context,
                           size_t context_len, const uint8_t *record, size_t record_len);
/* Seals many records under one data key and one context. records[i] has plaintext_lens[i] + KMS_RECORD_OVERHEAD
 * bytes. */
kms_status kms_record_seal_many(uint8_t *const *records, uint64_t key, const uint8_t *wrapped, size_t wrapped_len,
                                const uint8_t *context, size_t context_len, const uint8_t *const *plaintexts,
                                const uint64_t *plaintext_lens, size_t count);
/* Opens many records, each under its own key. plaintexts[i] has record_lens[i] - KMS_RECORD_OVERHEAD bytes. Sets KMS_OK
 * or KMS_INVALID_CIPHERTEXT for each; the plaintext of a record that does not open is zeroed. */
kms_status kms_record_open_many(uint8_t *const *plaintexts, uint8_t *statuses, const uint64_t *keys,
                                const uint8_t *context, size_t context_len, const uint8_t *const *records,
                                const uint64_t *record_lens, size_t count);

/* --- data_key_budget.c: how many records, bytes and seconds a data key has left ----------------------------------- */

/* The budget of a data key. Only the functions below write it; all but kms_budget_begin may run in any thread. Times
 * are seconds of the caller's clock. */
typedef struct {
    uint64_t *granted;                   /* number of records granted by all budgets of a cache */
    uint64_t last;                       /* value of `granted` after this key's last record */
    int64_t messages, bytes;             /* remaining */
    double ends;                         /* the budget grants nothing from this time on */
    int64_t least_messages, least_bytes; /* the functions `within` must leave at least these, */
    double until;                        /* and take nothing from this time on */
} kms_budget_t;

/* Initialises a budget, before another thread can see it. `granted` must outlive it. messages, bytes: 0 to 2^63 - 1. */
void kms_budget_begin(kms_budget_t *budget, uint64_t *granted, int64_t messages, int64_t bytes, double ends);
/* Sets the bounds of kms_record_seal_within and kms_record_open_within, in addition to what remains. */
void kms_budget_allow(kms_budget_t *budget, double until, int64_t least_messages, int64_t least_bytes);
/* Takes one record of so many bytes from the budget. Returns 1, or 0 if nothing was taken. */
int kms_budget_take(kms_budget_t *budget, double now, int64_t bytes);
/* Takes as many of these records, from the first on, as the budget allows. Returns their number. */
size_t kms_budget_grant(kms_budget_t *budget, double now, const uint64_t *lens, size_t most);

/* A data key of the client library. */
typedef struct {
    uint64_t key; /* handle of its message root */
    uint8_t wrapped[KMS_WRAPPED_DATA_KEY_SIZE];
    kms_budget_t budget;
} kms_data_key_t;

/* Takes one record from the budget, within the bounds of kms_budget_allow, and seals it. Else returns KMS_USED_UP. */
kms_status kms_record_seal_within(uint8_t *record, size_t record_len, kms_data_key_t *key, double now,
                                  const uint8_t *context, size_t context_len, const uint8_t *plaintext,
                                  size_t plaintext_len);
/* Takes one record of 0 bytes from the budget, within the same bounds, and opens it. Else returns KMS_USED_UP. Takes
 * nothing for a record that kms_record_check rejects. */
kms_status kms_record_open_within(uint8_t *plaintext, size_t plaintext_len, kms_data_key_t *key, double now,
                                  const uint8_t *context, size_t context_len, const uint8_t *record, size_t record_len);

/* --- random.c, uuid.c, words.c, process.c -------------------------------------------------------------------------- */

/* Draws keys, nonces and other random bytes, fresh from the kernel and the processor. */
kms_status kms_random(uint8_t *out, size_t out_len);
/* Draws a UUID, version 4 (RFC 9562), as text without a final zero. */
#define KMS_UUID_TEXT_SIZE 36
kms_status kms_uuid(char text[KMS_UUID_TEXT_SIZE]);
void kms_cleanse(void *buffer, size_t buffer_len);

#define KMS_SHARD_TIME 1 /* the later of the wall clock and the word */
#define KMS_BOOT_TIME 2  /* CLOCK_BOOTTIME, which must be before the word's value too */

void kms_word_add(uint64_t *word, uint64_t more);    /* release */
uint64_t kms_word_read(const uint64_t *word);        /* acquire */
void kms_word_raise(uint64_t *word, uint64_t least); /* the word becomes at least `least` */
/* Returns 1 if the lists (kms_grpc/crypto/validity.py) are well formed and hold, else 0. */
int kms_lists_hold(const uint64_t *words, size_t words_len, const uint8_t *lists, size_t lists_len, uint64_t wall_ns,
                   uint64_t boot_ns);

kms_status kms_forbid_core_dumps(void);
const char *kms_libcrypto_version(void);
unsigned int kms_libcrypto_number(void); /* 0xMNN: 0x30500000 is 3.5 */
