/* Yardsticks of `kms-grpc bench`, in an extension of its own (kms_grpc.bench._yardsticks). The core's functions are given
 * by their addresses: they run as the service runs them, on the core's own keyring. */

/* kms_seal_many, kms_open_many: one call for all items. */
int yardstick_seal_many(void *seal_many, uint8_t *blobs, size_t blobs_len, uint64_t key, const uint8_t *prefix,
                        size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *plaintexts,
                        const uint32_t *lengths, size_t count);
int yardstick_open_many(void *open_many, uint8_t *plaintexts, size_t plaintexts_len, uint8_t *statuses, uint64_t key,
                        const uint8_t *associated, size_t associated_len, const uint8_t *blobs, const uint32_t *lengths,
                        size_t count);
/* Calls kms_seal `count` times on one buffer. */
int yardstick_seal_singly(void *seal, uint8_t *blob, size_t blob_len, uint64_t key, const uint8_t *prefix,
                          size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *plaintext,
                          size_t plaintext_len, size_t count);
/* Encrypts `count` messages of `len` bytes with bare AES-256-GCM: one EVP context, a new key for each message. `out`
 * has len + 16 bytes for each. */
int yardstick_bare_seal(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len,
                        size_t count);
int yardstick_bare_open(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len,
                        size_t count);
/* Encrypts one message `count` times into one buffer, each time with a nonce of RAND_bytes. */
int yardstick_bare_seal_singly(uint8_t *out, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                               size_t len, size_t count);
/* Encrypts one buffer in place `count` times under one key and one nonce, as `openssl speed -evp aes-256-gcm -aead`
 * does. `buffer` has len + 16 bytes. */
int yardstick_speed(uint8_t *buffer, size_t len, size_t count);
/* Makes an envelope for each of `count` messages of `len` bytes, the work of a service that draws a data key for each
 * message and encrypts the message too:
 *
 *     offset   bytes  field
 *          0     159  ciphertext blob of a data key of 32 bytes
 *        159      12  nonce
 *        171       n  ciphertext
 *    171 + n      16  GCM tag
 *
 * `work` has 32 + 12 + 159 bytes for each message, and `lengths` 32 for each. The data keys in `work` are wiped. */
#define YARDSTICK_ENVELOPE_OVERHEAD 187
int yardstick_envelopes(void *seal_many, void *random, uint8_t *envelopes, uint8_t *work, const uint32_t *lengths,
                        uint64_t key, const uint8_t *prefix, size_t prefix_len, const uint8_t *associated,
                        size_t associated_len, const uint8_t *in, size_t len, size_t count);
