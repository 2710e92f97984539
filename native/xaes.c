#include "xaes.h"

#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
#include "gcm.h"

/* What is derived for one message. The first AES pass makes the key and the CMAC's first block, the second finishes the
 * commitment. */
struct first_pass {
    uint8_t key[32];
    uint8_t chain[16];
};
struct second_pass {
    uint8_t commitment[KMS_COMMITMENT_SIZE];
};
struct derived {
    struct first_pass first[KMS_XAES_BATCH];
    struct second_pass second[KMS_XAES_BATCH];
};

_Static_assert(sizeof(struct first_pass) == 48, "three blocks without padding");

static void xor_block(uint8_t block[16], const uint8_t other[16]) {
    uint64_t a[2], b[2];
    memcpy(a, block, 16);
    memcpy(b, other, 16);
    a[0] ^= b[0];
    a[1] ^= b[1];
    memcpy(block, a, 16);
}

/* dbl of SP 800-38B: a shift by one bit in GF(2^128), without a branch on the secret bit. */
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

/* --- derivation: two AES passes over all messages --------------------------------------------------------------------- */

static void first_blocks(struct first_pass *first, const union kms_key *root, const uint8_t *nonce) {
    memcpy(first->key, "\x00\x01\x58\x00", 4);
    memcpy(first->key + 4, nonce, 12);
    memcpy(first->key + 16, "\x00\x02\x58\x00", 4);
    memcpy(first->key + 20, nonce, 12);
    memcpy(first->chain, "XCMT", 4);
    memcpy(first->chain + 4, nonce, 12);
    xor_block(first->key, root->subkey);
    xor_block(first->key + 16, root->subkey);
}

/* The CMAC's last block: N[12:24] || 00 01 00 0i, with the subkey and the chained first block added. */
static void last_block(uint8_t block[16], const union kms_key *root, const uint8_t *nonce, const uint8_t *chain,
                       uint8_t counter) {
    static const uint8_t label[3] = {0x00, 0x01, 0x00};
    memcpy(block, nonce + 12, 12);
    memcpy(block + 12, label, sizeof label);
    block[15] = counter;
    xor_block(block, root->subkey);
    xor_block(block, chain);
}

static void second_blocks(struct second_pass *second, const struct first_pass *first, const union kms_key *root,
                          const uint8_t *nonce) {
    last_block(second->commitment, root, nonce, first->chain, 1);
    last_block(second->commitment + 16, root, nonce, first->chain, 2);
}

static int derive(struct kms_ciphers *ciphers, struct derived *derived, const union kms_key *root,
                  const struct kms_message *messages, size_t count) {
    for (size_t i = 0; i < count; i++) first_blocks(&derived->first[i], root, messages[i].nonce);
    if (!ecb_key(ciphers, root) || !ecb(ciphers, derived->first, count * sizeof derived->first[0])) return 0;
    for (size_t i = 0; i < count; i++) second_blocks(&derived->second[i], &derived->first[i], root, messages[i].nonce);
    return ecb(ciphers, derived->second, count * sizeof derived->second[0]);
}

static void forget(struct kms_ciphers *ciphers, struct derived *derived, size_t count) {
    OPENSSL_cleanse(derived->first, count * sizeof derived->first[0]);
    OPENSSL_cleanse(derived->second, count * sizeof derived->second[0]);
    kms_ciphers_forget(ciphers);
}

/* --- messages --------------------------------------------------------------------------------------------------------- */

static int seal_message(EVP_CIPHER_CTX *gcm, const struct derived *derived, size_t i,
                        const struct kms_message *message) {
    if (!kms_gcm_seal(gcm, derived->first[i].key, message)) return 0;
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

/* The commitment is compared before the cipher runs. */
static void open_message(EVP_CIPHER_CTX *gcm, const struct derived *derived, size_t i, struct kms_message *message) {
    const uint8_t *commitment = message->in + message->len + KMS_TAG_SIZE;
    int well = CRYPTO_memcmp(derived->second[i].commitment, commitment, KMS_COMMITMENT_SIZE) == 0 &&
               kms_gcm_open(gcm, derived->first[i].key, message);
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
