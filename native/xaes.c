#include "xaes.h"

#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
#include "gcm.h"

#define SUBKEY_AT 4 /* the word of union kms_key where K1 begins */

/* A block of AES as two words. The code composes blocks in registers, because loading bytes that were just stored in
 * pieces is slow. It never passes or returns a block by value, because the copies would stay on the stack. */
struct block {
    uint64_t words[2];
};

/* The values derived for one message. The first AES pass makes the message key and the first block of the CMACs; the
 * second pass finishes the commitment. */
struct first_pass {
    struct block key[2];
    struct block chain;
};
struct second_pass {
    struct block commitment[2];
};
struct derived {
    struct first_pass first[KMS_XAES_BATCH];
    struct second_pass second[KMS_XAES_BATCH];
};

_Static_assert(sizeof(struct first_pass) == 48 && sizeof(struct second_pass) == 32, "blocks without padding");

/* Returns the word whose first four bytes are `first` and whose last four are `second`. */
static uint64_t join(uint32_t first, uint32_t second) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return first | (uint64_t)second << 32;
#else
    return (uint64_t)first << 32 | second;
#endif
}

static uint32_t load_u32(const void *bytes) {
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static uint64_t load_u64(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Computes dbl of SP 800-38B: a shift by one bit in GF(2^128), without a branch on the secret bit. */
static void double_block(uint8_t block[16]) {
    uint8_t carry = (uint8_t)(0x87 & -(block[0] >> 7));
    for (int i = 0; i < 15; i++) block[i] = (uint8_t)(block[i] << 1 | block[i + 1] >> 7);
    block[15] = (uint8_t)((uint8_t)(block[15] << 1) ^ carry);
}

static int ecb_key(struct kms_ciphers *ciphers, const union kms_key *root) {
    return EVP_EncryptInit_ex2(ciphers->ecb, NULL, root->key, NULL, NULL) == 1;
}

static int ecb(struct kms_ciphers *ciphers, void *blocks, size_t len) {
    int out_len = 0;
    return EVP_EncryptUpdate(ciphers->ecb, blocks, &out_len, blocks, (int)len) == 1 && out_len == (int)len;
}

kms_status kms_xaes_subkey(union kms_key *root) {
    struct kms_ciphers *ciphers = NULL;
    kms_status status = kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    memset(root->subkey, 0, sizeof root->subkey);
    int well = ecb_key(ciphers, root) && ecb(ciphers, root->subkey, sizeof root->subkey);
    double_block(root->subkey);
    kms_ciphers_forget(ciphers);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* --- derivation: two AES passes over all messages ----------------------------------------------------------------- */

static void put_sum(struct block *out, uint64_t first, uint64_t second, const uint64_t added[2]) {
    out->words[0] = first ^ added[0];
    out->words[1] = second ^ added[1];
}

/* Makes the input blocks of the first pass: four bytes, then N[0:12]; for the message key the subkey is added. */
static void first_blocks(struct first_pass *first, const uint64_t subkey[2], const uint8_t *nonce) {
    static const uint64_t nothing[2];
    uint32_t start = load_u32(nonce);
    uint64_t rest = load_u64(nonce + 4);
    put_sum(&first->key[0], join(load_u32("\x00\x01\x58\x00"), start), rest, subkey);
    put_sum(&first->key[1], join(load_u32("\x00\x02\x58\x00"), start), rest, subkey);
    put_sum(&first->chain, join(load_u32("XCMT"), start), rest, nothing);
}

/* Makes the last blocks of the CMACs: N[12:24], then four bytes, with the chained first block and the subkey added. */
static void second_blocks(struct second_pass *second, const struct block *chain, const uint64_t subkey[2],
                          const uint8_t *nonce) {
    uint64_t start = load_u64(nonce + 12) ^ chain->words[0], added = chain->words[1];
    uint32_t end = load_u32(nonce + 20);
    put_sum(&second->commitment[0], start, join(end, load_u32("\x00\x01\x00\x01")) ^ added, subkey);
    put_sum(&second->commitment[1], start, join(end, load_u32("\x00\x01\x00\x02")) ^ added, subkey);
}

static int derive(struct kms_ciphers *ciphers, struct derived *derived, const union kms_key *root,
                  const struct kms_message *messages, size_t count) {
    const uint64_t *subkey = root->words + SUBKEY_AT;
    for (size_t i = 0; i < count; i++) first_blocks(&derived->first[i], subkey, messages[i].nonce);
    if (!ecb_key(ciphers, root) || !ecb(ciphers, derived->first, count * sizeof derived->first[0])) return 0;
    for (size_t i = 0; i < count; i++)
        second_blocks(&derived->second[i], &derived->first[i].chain, subkey, messages[i].nonce);
    return ecb(ciphers, derived->second, count * sizeof derived->second[0]);
}

static void forget(struct kms_ciphers *ciphers, struct derived *derived, size_t count) {
    /* explicit_bzero, because OPENSSL_cleanse is slow for kilobytes: it clears eight bytes at a time. */
    explicit_bzero(derived->first, count * sizeof derived->first[0]);
    explicit_bzero(derived->second, count * sizeof derived->second[0]);
    kms_ciphers_forget(ciphers);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static const uint8_t *key_of(const struct derived *derived, size_t i) { return (const uint8_t *)derived->first[i].key; }

static int seal_message(EVP_CIPHER_CTX *gcm, const struct derived *derived, size_t i,
                        const struct kms_message *message) {
    if (!kms_gcm_seal(gcm, key_of(derived, i), message)) return 0;
    memcpy(message->out + message->len + KMS_TAG_SIZE, derived->second[i].commitment, KMS_COMMITMENT_SIZE);
    return 1;
}

kms_status kms_xaes_seal(const union kms_key *root, struct kms_message *messages, size_t count) {
    struct kms_ciphers *ciphers = NULL;
    struct derived derived;
    kms_status status = count > KMS_XAES_BATCH ? KMS_WRONG_LENGTH : kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    int well = derive(ciphers, &derived, root, messages, count);
    for (size_t i = 0; well && i < count; i++) well = seal_message(ciphers->gcm, &derived, i, &messages[i]);
    forget(ciphers, &derived, count);
    for (size_t i = 0; !well && i < count; i++) OPENSSL_cleanse(messages[i].out, messages[i].len + KMS_TRAILER_SIZE);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* Compares in constant time, in halves: libcrypto has a fast path for 16 bytes. */
static int commits(const struct second_pass *second, const uint8_t *commitment) {
    return (CRYPTO_memcmp(&second->commitment[0], commitment, 16) |
            CRYPTO_memcmp(&second->commitment[1], commitment + 16, 16)) == 0;
}

/* Compares the commitment before it decrypts. */
static void open_message(EVP_CIPHER_CTX *gcm, const struct derived *derived, size_t i, struct kms_message *message) {
    const uint8_t *commitment = message->in + message->len + KMS_TAG_SIZE;
    int well = commits(&derived->second[i], commitment) && kms_gcm_open(gcm, key_of(derived, i), message);
    message->status = well ? KMS_OK : KMS_INVALID_CIPHERTEXT;
    if (!well) OPENSSL_cleanse(message->out, message->len);
}

kms_status kms_xaes_open(const union kms_key *root, struct kms_message *messages, size_t count) {
    struct kms_ciphers *ciphers = NULL;
    struct derived derived;
    kms_status status = count > KMS_XAES_BATCH ? KMS_WRONG_LENGTH : kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    int well = derive(ciphers, &derived, root, messages, count);
    for (size_t i = 0; well && i < count; i++) open_message(ciphers->gcm, &derived, i, &messages[i]);
    forget(ciphers, &derived, count);
    for (size_t i = 0; !well && i < count; i++) OPENSSL_cleanse(messages[i].out, messages[i].len);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}
