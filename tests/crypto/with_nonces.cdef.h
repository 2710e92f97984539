/* Functions of the test build alone, which take nonces and bare keys. The product has no such function. */

/* Sets the next nonce that the calling thread draws, once. */
void kms_test_plant_nonce(const uint8_t nonce[24]);
int kms_test_planted(uint8_t *out, size_t out_len);

/* out: ciphertext, tag 16, commitment 32. */
kms_status kms_test_xaes_seal(uint8_t *out, const uint8_t key[32], const uint8_t nonce[24], const uint8_t *associated,
                              size_t associated_len, const uint8_t *in, size_t len);
kms_status kms_test_xaes_open(uint8_t *out, const uint8_t key[32], const uint8_t nonce[24], const uint8_t *associated,
                              size_t associated_len, const uint8_t *in, size_t len);
/* AES-256-GCM alone, with a nonce of 12 bytes. out: ciphertext, tag 16. */
kms_status kms_test_gcm_seal(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *associated,
                             size_t associated_len, const uint8_t *in, size_t len);
kms_status kms_test_gcm_open(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *associated,
                             size_t associated_len, const uint8_t *in, size_t len);
/* c2sp.org's accumulated vectors of XAES-256-GCM: the hash of all ciphertexts and tags. */
kms_status kms_test_xaes_accumulated(uint8_t hash[32], size_t iterations);
/* Computes one block of the KDF. */
kms_status kms_test_derive(uint8_t out[32], const uint8_t key[32], const char *label, const uint8_t *context,
                           size_t context_len);
/* Derives K and K1 from bare material, into the keyring of the test build. */
kms_status kms_test_load_material(uint64_t *key, const uint8_t material[32], const uint8_t kid[KMS_KID_SIZE]);
/* Unwraps AES-KWP with a bare key; `out` has wrapped_len bytes. */
kms_status kms_test_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                             size_t wrapped_len);
/* One thread stores and evicts keys whose six words are the same, another reads: how many reads gave a key, and how
 * many of these a mixture of two. */
kms_status kms_test_torn_reads(size_t *read, size_t *torn, size_t rounds);
/* Forks, by libc alone, while two threads seal records under one data key: how many children were refused the key,
 * before and after they opened the keyring anew, and got no byte of a record; and how many records the threads made. */
kms_status kms_test_forks_while_sealing(size_t *refused, uint64_t *made, kms_data_key_t *key, size_t forks);
