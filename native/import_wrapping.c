/* Import of key material: RSA wrapping pairs, and unwrapping what a caller encrypted under their public keys.
 *
 *     RSAES_OAEP             k bytes: OAEP (RFC 8017, MGF1 with the same hash, empty label) of the material
 *     RSA_AES_KEY_WRAP       k bytes: OAEP of an AES-256 key; 40 bytes: AES-KWP (RFC 5649) of the material under it
 *
 * k is the length of the modulus. OAEP carries 32 bytes in both cases, so every byte before them is known: one
 * comparison in constant time checks padding and length together.
 *
 * All steps run even if an earlier one failed, so that time reveals nothing to an attacker who sends chosen ciphertexts
 * (Manger, CRYPTO 2001). An input of wrong length or size, which is public, is replaced by a constant of the right one.
 * Each step passes its result on, right or wrong. The material gets its id and is wrapped in any case. At the end the
 * outputs are zeroed if `wrong` is not zero.
 */
#include "import_wrapping.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "key_wrapping.h"
#include "rsa.h"

#define PAIR_WRAPPING "kms-grpc v1 import wrapping pair"
#define SECRET_SIZE 32                   /* of the material and of the AES key */
#define KWP_SIZE (KMS_MATERIAL_SIZE + 8) /* RFC 5649 adds one block of 8 bytes */
#define MAXIMUM_HASH 32

_Static_assert(SECRET_SIZE == KMS_MATERIAL_SIZE, "OAEP carries material or an AES key of the same length");

/* Finds the kind of a pair's wrapping key: a region key, or the message root of an AWS owned key. */
static kms_status kind_of(enum kms_kind *kind, uint64_t wrapping) {
    static const enum kms_kind kinds[] = {KMS_MESSAGE_ROOT, KMS_REGION_KEY};
    union kms_key key;
    kms_status status = KMS_WRONG_KIND;
    for (size_t i = 0; status == KMS_WRONG_KIND && i < sizeof kinds / sizeof kinds[0]; i++)
        status = kms_keyring_get(&key, wrapping, *kind = kinds[i]);
    OPENSSL_cleanse(&key, sizeof key);
    return status;
}

/* --- a new pair --------------------------------------------------------------------------------------------------- */

static kms_status wrap_pair(uint8_t *wrapped, size_t *wrapped_len, uint64_t wrapping, enum kms_kind kind,
                            const uint8_t *associated, size_t associated_len, const struct kms_rsa *rsa) {
    uint8_t pkcs8[KMS_RSA_MAXIMUM_PKCS8];
    size_t len = kms_rsa_write(pkcs8, rsa);
    kms_status status =
        kms_wrap(wrapped, wrapping, kind, PAIR_WRAPPING, associated, associated_len, pkcs8 + sizeof pkcs8 - len, len);
    OPENSSL_cleanse(pkcs8, sizeof pkcs8);
    if (status == KMS_OK) *wrapped_len = len + KMS_WRAPPING_OVERHEAD;
    return status;
}

kms_status kms_wrapping_pair_generate(uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                                      uint8_t wrapped[KMS_MAXIMUM_WRAPPED_PAIR], size_t *wrapped_len, uint64_t wrapping,
                                      uint32_t bits, const uint8_t *associated, size_t associated_len) {
    struct kms_rsa rsa;
    enum kms_kind kind;
    *public_key_len = *wrapped_len = 0;
    memset(public_key, 0, KMS_MAXIMUM_PUBLIC_KEY);
    memset(wrapped, 0, KMS_MAXIMUM_WRAPPED_PAIR);
    if (bits != 2048 && bits != 3072 && bits != 4096) return KMS_WRONG_LENGTH;
    kms_status status = kind_of(&kind, wrapping);
    if (status == KMS_OK) status = kms_rsa_generate(&rsa, public_key, public_key_len, bits);
    if (status == KMS_OK) status = wrap_pair(wrapped, wrapped_len, wrapping, kind, associated, associated_len, &rsa);
    OPENSSL_cleanse(&rsa, sizeof rsa);
    if (status == KMS_OK) return KMS_OK;
    memset(public_key, 0, KMS_MAXIMUM_PUBLIC_KEY);
    *public_key_len = 0;
    return status;
}

static kms_status open_pair(struct kms_rsa *rsa, uint64_t wrapping, const uint8_t *associated, size_t associated_len,
                            const uint8_t *wrapped, size_t wrapped_len) {
    uint8_t pkcs8[KMS_RSA_MAXIMUM_PKCS8];
    enum kms_kind kind;
    memset(rsa, 0, sizeof *rsa);
    if (wrapped_len <= KMS_WRAPPING_OVERHEAD || wrapped_len > KMS_MAXIMUM_WRAPPED_PAIR) return KMS_WRAPPED_KEY_DAMAGED;
    size_t len = wrapped_len - KMS_WRAPPING_OVERHEAD;
    kms_status status = kind_of(&kind, wrapping);
    if (status == KMS_OK)
        status =
            kms_unwrap(pkcs8, len, wrapping, kind, PAIR_WRAPPING, associated, associated_len, wrapped, wrapped_len);
    if (status == KMS_OK) status = kms_rsa_read(rsa, pkcs8, len);
    OPENSSL_cleanse(pkcs8, sizeof pkcs8);
    return status;
}

/* --- unwrapping --------------------------------------------------------------------------------------------------- */

struct unwrapping {
    struct kms_rsa rsa;
    EVP_MD *hash;
    size_t hash_len;
    int under_aes;                  /* RSA_AES_KEY_WRAP */
    size_t size;                    /* bytes of the modulus and of `block` */
    uint8_t block[KMS_RSA_MAXIMUM]; /* ciphertext; then 00 · seed · DB, first masked, then unmasked */
    uint8_t under_key[KWP_SIZE];    /* ciphertext of AES-KWP */
    uint8_t opened[KWP_SIZE];       /* its plaintext */
    const uint8_t *material;
    int wrong; /* not zero: the input was invalid, and no result may be used */
};

/* Copies the input. Branches may depend on its length and on whether it is below the modulus: both are public. */
static void take(struct unwrapping *u, const uint8_t *encrypted, size_t encrypted_len) {
    uint8_t modulus[KMS_RSA_MAXIMUM];
    u->size = kms_rsa_modulus(modulus, &u->rsa);
    int fits = encrypted_len == u->size + (u->under_aes ? KWP_SIZE : 0);
    if (fits) fits = memcmp(encrypted, modulus, u->size) < 0;
    if (fits) memcpy(u->block, encrypted, u->size);
    if (fits && u->under_aes) memcpy(u->under_key, encrypted + u->size, KWP_SIZE);
    if (fits) return;
    u->wrong = 1;
    memset(u->block, 1, u->size); /* below any modulus */
    memset(u->under_key, 1, KWP_SIZE);
}

/* Computes `target` ^= MGF1(seed) (RFC 8017, B.2.1). */
static int mask(uint8_t *target, size_t len, const uint8_t *seed, size_t seed_len, const struct unwrapping *u) {
    uint8_t bytes[MAXIMUM_HASH];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int well = context != NULL;
    for (size_t at = 0; well && at < len; at += u->hash_len) {
        const uint8_t counter[4] = {0, 0, 0, (uint8_t)(at / u->hash_len)};
        well = EVP_DigestInit_ex2(context, u->hash, NULL) == 1 && EVP_DigestUpdate(context, seed, seed_len) == 1 &&
               EVP_DigestUpdate(context, counter, sizeof counter) == 1 && EVP_DigestFinal_ex(context, bytes, NULL) == 1;
        for (size_t i = 0; well && i < u->hash_len && at + i < len; i++) target[at + i] ^= bytes[i];
    }
    EVP_MD_CTX_free(context);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return well;
}

/* Decodes OAEP (RFC 8017, 7.1.2): 00 · seed · hash of the empty label · 00 … 00 · 01 · 32 bytes. Returns the place of
 * the 32 bytes, or NULL if libcrypto fails. */
static const uint8_t *decode(struct unwrapping *u) {
    uint8_t expected[KMS_RSA_MAXIMUM] = {0};
    uint8_t *seed = u->block + 1, *db = seed + u->hash_len;
    size_t db_len = u->size - 1 - u->hash_len, known = db_len - SECRET_SIZE;
    expected[known - 1] = 1;
    if (!mask(seed, u->hash_len, db, db_len, u) || !mask(db, db_len, seed, u->hash_len, u) ||
        EVP_Digest("", 0, expected, NULL, u->hash, NULL) != 1)
        return NULL;
    u->wrong |= u->block[0] | CRYPTO_memcmp(db, expected, known);
    return db + known;
}

kms_status kms_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                        size_t wrapped_len) {
    int len = 0;
    EVP_CIPHER *kwp = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int ready = kwp && context && EVP_DecryptInit_ex2(context, kwp, key, NULL, NULL) == 1;
    int whole = ready && EVP_DecryptUpdate(context, out, &len, wrapped, (int)wrapped_len) == 1 && len > 0;
    EVP_CIPHER_CTX_free(context);
    EVP_CIPHER_free(kwp);
    *out_len = whole ? (size_t)len : 0;
    if (!whole) OPENSSL_cleanse(out, wrapped_len);
    if (!ready) return KMS_CIPHER_FAILED;
    return whole ? KMS_OK : KMS_INVALID_CIPHERTEXT;
}

static kms_status open_under(struct unwrapping *u, const uint8_t *key) {
    size_t len = 0;
    kms_status status = kms_kwp_open(u->opened, &len, key, u->under_key, KWP_SIZE);
    u->wrong |= len != KMS_MATERIAL_SIZE;
    u->material = u->opened;
    return status == KMS_INVALID_CIPHERTEXT ? KMS_OK : status;
}

static int choose(struct unwrapping *u, kms_wrapping_algorithm algorithm) {
    int sha_1 = algorithm == KMS_RSAES_OAEP_SHA_1 || algorithm == KMS_RSA_AES_KEY_WRAP_SHA_1;
    u->under_aes = algorithm == KMS_RSA_AES_KEY_WRAP_SHA_1 || algorithm == KMS_RSA_AES_KEY_WRAP_SHA_256;
    u->hash_len = sha_1 ? 20 : 32;
    u->hash = EVP_MD_fetch(NULL, sha_1 ? "SHA1" : "SHA256", NULL);
    return u->hash != NULL;
}

/* On KMS_OK, u->material points to 32 bytes, which are the material only if u->wrong is zero. */
static kms_status unwrap(struct unwrapping *u, const uint8_t *encrypted, size_t encrypted_len) {
    take(u, encrypted, encrypted_len);
    kms_status status = kms_rsa_decrypt(u->block, &u->rsa, u->block, u->size);
    if (status != KMS_OK) return status;
    u->material = decode(u);
    if (!u->material) return KMS_CIPHER_FAILED;
    return u->under_aes ? open_under(u, u->material) : KMS_OK;
}

kms_status kms_material_import(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                               uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                               size_t associated_len, uint64_t wrapping, const uint8_t *pair_associated,
                               size_t pair_associated_len, const uint8_t *pair, size_t pair_len,
                               kms_wrapping_algorithm algorithm, const uint8_t *encrypted, size_t encrypted_len) {
    struct unwrapping u = {.wrong = 0};
    memset(material_id, 0, KMS_MATERIAL_ID_SIZE);
    memset(wrapped, 0, KMS_WRAPPED_KEY_SIZE);
    ERR_set_mark(); /* drops the errors that libcrypto queues for an invalid key wrap */
    kms_status status = open_pair(&u.rsa, wrapping, pair_associated, pair_associated_len, pair, pair_len);
    if (status == KMS_OK && !choose(&u, algorithm)) status = KMS_CIPHER_FAILED;
    if (status == KMS_OK) status = unwrap(&u, encrypted, encrypted_len);
    if (status == KMS_OK)
        status = kms_material_store(material_id, wrapped, region, kid, associated, associated_len, u.material);
    if (status == KMS_OK && u.wrong) status = KMS_INVALID_CIPHERTEXT;
    if (status != KMS_OK) {
        memset(material_id, 0, KMS_MATERIAL_ID_SIZE);
        memset(wrapped, 0, KMS_WRAPPED_KEY_SIZE);
    }
    ERR_pop_to_mark();
    EVP_MD_free(u.hash);
    OPENSSL_cleanse(&u, sizeof u);
    return status;
}
