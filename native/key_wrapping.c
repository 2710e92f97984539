/* The key hierarchy: the root key wraps region keys, a region key wraps key material; a message root is derived from
 * each material.
 *
 * A wrapped key has 105 bytes: see key_wrapping.h. Derived keys and ids are one block of the KDF of SP 800-108r1 each,
 * with the labels below.
 */
#include "key_wrapping.h"

#include <openssl/crypto.h>
#include <string.h>

#include "ciphers.h"
#include "random.h"
#include "xaes.h"

#define VERSION 1
#define NONCE_AT 1
#define CIPHERTEXT_AT 25
#define WRAPPED_SIZE KMS_MATERIAL_SIZE
#define MAXIMUM_ASSOCIATED 65536

#define FINGERPRINT "kms-grpc v1 root key fingerprint"
#define REGION_KEY_WRAPPING "kms-grpc v1 region key wrapping"
#define MATERIAL_WRAPPING "kms-grpc v1 material wrapping"
#define ROW_MAC "kms-grpc v1 row mac"
#define ENCRYPTION "kms-grpc v1 encryption"
#define MATERIAL_ID "kms-grpc v1 material id"

_Static_assert(KMS_WRAPPING_OVERHEAD == CIPHERTEXT_AT + KMS_TRAILER_SIZE, "as drawn in key_wrapping.h");
_Static_assert(KMS_WRAPPED_KEY_SIZE == WRAPPED_SIZE + KMS_WRAPPING_OVERHEAD, "every key has 32 bytes");

/* Derives one block of the KDF from a key of the keyring. */
static kms_status derive_from(uint8_t out[32], uint64_t handle, enum kms_kind kind, const char *label) {
    union kms_key key;
    memset(out, 0, 32);
    kms_status status = kms_keyring_get(&key, handle, kind);
    if (status == KMS_OK) status = kms_derive(out, key.key, label, NULL, 0);
    OPENSSL_cleanse(&key, sizeof key);
    return status;
}

static kms_status wrapping_root(union kms_key *root, uint64_t handle, enum kms_kind kind, const char *label) {
    kms_status status = derive_from(root->key, handle, kind, label);
    return status == KMS_OK ? kms_xaes_subkey(root) : status;
}

/* --- wrapping ----------------------------------------------------------------------------------------------------- */

static kms_status wrap_under(uint8_t *wrapped, const union kms_key *root, const uint8_t *associated,
                             size_t associated_len, const uint8_t *secret, size_t len) {
    struct kms_message message = {.nonce = wrapped + NONCE_AT,
                                  .header = wrapped,
                                  .header_len = CIPHERTEXT_AT,
                                  .associated = associated,
                                  .associated_len = associated_len,
                                  .in = secret,
                                  .len = len,
                                  .out = wrapped + CIPHERTEXT_AT};
    wrapped[0] = VERSION;
    kms_status status = kms_nonces(wrapped + NONCE_AT, KMS_NONCE_SIZE);
    return status == KMS_OK ? kms_xaes_seal(root, &message, 1) : status;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the message. */
static kms_status unwrap_under(uint8_t *secret, size_t len, const union kms_key *root, const uint8_t *associated,
                               size_t associated_len, const uint8_t *wrapped) {
    struct kms_message message = {.nonce = wrapped + NONCE_AT,
                                  .header = wrapped,
                                  .header_len = CIPHERTEXT_AT,
                                  .associated = associated,
                                  .associated_len = associated_len,
                                  .in = wrapped + CIPHERTEXT_AT,
                                  .len = len,
                                  .out = secret};
    if (wrapped[0] != VERSION) return KMS_WRAPPED_KEY_DAMAGED;
    kms_status status = kms_xaes_open(root, &message, 1);
    if (status != KMS_OK) return status;
    return message.status == KMS_OK ? KMS_OK : KMS_WRAPPED_KEY_DAMAGED;
}

kms_status kms_wrap(uint8_t *wrapped, uint64_t handle, enum kms_kind kind, const char *label, const uint8_t *associated,
                    size_t associated_len, const uint8_t *secret, size_t len) {
    union kms_key root;
    kms_status status = associated_len > MAXIMUM_ASSOCIATED ? KMS_WRONG_LENGTH : KMS_OK;
    if (status == KMS_OK) status = wrapping_root(&root, handle, kind, label);
    if (status == KMS_OK) status = wrap_under(wrapped, &root, associated, associated_len, secret, len);
    if (status != KMS_OK) memset(wrapped, 0, len + KMS_WRAPPING_OVERHEAD);
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

kms_status kms_unwrap(uint8_t *secret, size_t len, uint64_t handle, enum kms_kind kind, const char *label,
                      const uint8_t *associated, size_t associated_len, const uint8_t *wrapped, size_t wrapped_len) {
    union kms_key root;
    memset(secret, 0, len);
    kms_status status = associated_len > MAXIMUM_ASSOCIATED ? KMS_WRONG_LENGTH : KMS_OK;
    if (status == KMS_OK && wrapped_len != len + KMS_WRAPPING_OVERHEAD) status = KMS_WRAPPED_KEY_DAMAGED;
    if (status == KMS_OK) status = wrapping_root(&root, handle, kind, label);
    if (status == KMS_OK) status = unwrap_under(secret, len, &root, associated, associated_len, wrapped);
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

/* Draws a key of 32 bytes and wraps it. */
static kms_status generate(uint8_t wrapped[KMS_WRAPPED_KEY_SIZE], uint64_t handle, enum kms_kind kind,
                           const char *label, const uint8_t *associated, size_t associated_len) {
    uint8_t key[WRAPPED_SIZE];
    memset(wrapped, 0, KMS_WRAPPED_KEY_SIZE);
    kms_status status = kms_random(key, sizeof key);
    if (status == KMS_OK) status = kms_wrap(wrapped, handle, kind, label, associated, associated_len, key, sizeof key);
    OPENSSL_cleanse(key, sizeof key);
    return status;
}

/* --- root key and region key -------------------------------------------------------------------------------------- */

kms_status kms_root_key_fingerprint(uint8_t fingerprint[KMS_FINGERPRINT_SIZE], uint64_t root) {
    uint8_t whole[32];
    kms_status status = derive_from(whole, root, KMS_ROOT_KEY, FINGERPRINT);
    memcpy(fingerprint, whole, KMS_FINGERPRINT_SIZE);
    return status;
}

kms_status kms_region_key_generate(uint8_t wrapped[KMS_WRAPPED_KEY_SIZE], uint64_t root, const uint8_t *associated,
                                   size_t associated_len) {
    return generate(wrapped, root, KMS_ROOT_KEY, REGION_KEY_WRAPPING, associated, associated_len);
}

kms_status kms_region_key_load(uint64_t *region, uint64_t root, const uint8_t *associated, size_t associated_len,
                               const uint8_t *wrapped, size_t wrapped_len) {
    union kms_key key = {.words = {0}};
    *region = 0;
    kms_status status = kms_unwrap(key.key, sizeof key.key, root, KMS_ROOT_KEY, REGION_KEY_WRAPPING, associated,
                                   associated_len, wrapped, wrapped_len);
    if (status == KMS_OK) status = kms_keyring_put(region, &key, KMS_REGION_KEY);
    OPENSSL_cleanse(&key, sizeof key);
    return status;
}

/* --- key material ------------------------------------------------------------------------------------------------- */

kms_status kms_material_store(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                              uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                              size_t associated_len, const uint8_t material[KMS_MATERIAL_SIZE]) {
    memset(material_id, 0, KMS_MATERIAL_ID_SIZE);
    kms_status status = kms_wrap(wrapped, region, KMS_REGION_KEY, MATERIAL_WRAPPING, associated, associated_len,
                                 material, KMS_MATERIAL_SIZE);
    if (status == KMS_OK) status = kms_derive(material_id, material, MATERIAL_ID, kid, KMS_KID_SIZE);
    if (status != KMS_OK) memset(wrapped, 0, KMS_WRAPPED_KEY_SIZE);
    return status;
}

kms_status kms_material_generate(uint8_t material_id[KMS_MATERIAL_ID_SIZE], uint8_t wrapped[KMS_WRAPPED_KEY_SIZE],
                                 uint64_t region, const uint8_t kid[KMS_KID_SIZE], const uint8_t *associated,
                                 size_t associated_len) {
    uint8_t material[KMS_MATERIAL_SIZE];
    memset(material_id, 0, KMS_MATERIAL_ID_SIZE);
    memset(wrapped, 0, KMS_WRAPPED_KEY_SIZE);
    kms_status status = kms_random(material, sizeof material);
    if (status == KMS_OK)
        status = kms_material_store(material_id, wrapped, region, kid, associated, associated_len, material);
    OPENSSL_cleanse(material, sizeof material);
    return status;
}

static kms_status require_id(const uint8_t material[WRAPPED_SIZE], const uint8_t kid[KMS_KID_SIZE],
                             const uint8_t material_id[KMS_MATERIAL_ID_SIZE]) {
    uint8_t id[KMS_MATERIAL_ID_SIZE];
    kms_status status = kms_derive(id, material, MATERIAL_ID, kid, KMS_KID_SIZE);
    if (status != KMS_OK) return status;
    return CRYPTO_memcmp(id, material_id, sizeof id) == 0 ? KMS_OK : KMS_WRAPPED_KEY_DAMAGED;
}

/* Derives K and K1 from a material and stores them in the keyring. */
static kms_status put_message_root(uint64_t *key, const uint8_t material[WRAPPED_SIZE],
                                   const uint8_t kid[KMS_KID_SIZE]) {
    union kms_key root;
    kms_status status = kms_derive(root.key, material, ENCRYPTION, kid, KMS_KID_SIZE);
    if (status == KMS_OK) status = kms_xaes_subkey(&root);
    if (status == KMS_OK) status = kms_keyring_put(key, &root, KMS_MESSAGE_ROOT);
    OPENSSL_cleanse(&root, sizeof root);
    return status;
}

kms_status kms_material_load(uint64_t *key, uint64_t region, const uint8_t kid[KMS_KID_SIZE],
                             const uint8_t material_id[KMS_MATERIAL_ID_SIZE], const uint8_t *associated,
                             size_t associated_len, const uint8_t *wrapped, size_t wrapped_len) {
    uint8_t material[WRAPPED_SIZE];
    *key = 0;
    kms_status status = kms_unwrap(material, sizeof material, region, KMS_REGION_KEY, MATERIAL_WRAPPING, associated,
                                   associated_len, wrapped, wrapped_len);
    if (status == KMS_OK) status = require_id(material, kid, material_id);
    if (status == KMS_OK) status = put_message_root(key, material, kid);
    OPENSSL_cleanse(material, sizeof material);
    return status;
}

/* --- row MAC ------------------------------------------------------------------------------------------------------ */

kms_status kms_mac(uint8_t mac[KMS_MAC_SIZE], uint64_t region, const uint8_t *data, size_t data_len) {
    uint8_t key[32];
    const struct kms_part part = {data, data_len};
    memset(mac, 0, KMS_MAC_SIZE);
    kms_status status = derive_from(key, region, KMS_REGION_KEY, ROW_MAC);
    if (status == KMS_OK) status = kms_hmac(mac, key, &part, 1);
    OPENSSL_cleanse(key, sizeof key);
    return status;
}

kms_status kms_mac_matches(uint64_t region, const uint8_t *data, size_t data_len, const uint8_t *mac, size_t mac_len) {
    uint8_t right[KMS_MAC_SIZE];
    kms_status status = kms_mac(right, region, data, data_len);
    if (status == KMS_OK && (mac_len != sizeof right || CRYPTO_memcmp(right, mac, sizeof right) != 0))
        status = KMS_MAC_DIFFERS;
    OPENSSL_cleanse(right, sizeof right);
    return status;
}
