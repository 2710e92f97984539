/* The tests' build of the core alone: what takes nonces and bare keys. No API of the product does. */

/* The next nonce is this one. For the calling thread; the nonce is used once. */
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
/* One block of the KDF. */
kms_status kms_test_derive(uint8_t out[32], const uint8_t key[32], const char *label, const uint8_t *context,
                           size_t context_len);
/* K and K1 of a bare material, into this module's own keyring. */
kms_status kms_test_load_material(uint64_t *key, const uint8_t material[32], const uint8_t kid[KMS_KID_SIZE]);
/* AES-KWP under a bare key; `out` takes wrapped_len bytes. */
kms_status kms_test_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                             size_t wrapped_len);
/* One thread stores and evicts keys whose six words are the same, another reads: how many reads gave a key, and how many
 * of these a mixture of two. */
kms_status kms_test_torn_reads(size_t *read, size_t *torn, size_t rounds);
/* Forks, by libc alone, while two threads seal records under one data key: how many children were refused the key, before
 * and after they opened the keyring anew, and got no byte of a record; and how many records the threads made. */
kms_status kms_test_forks_while_sealing(size_t *refused, uint64_t *made, kms_data_key_t *key, size_t forks);
