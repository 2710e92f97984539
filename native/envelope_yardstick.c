/* A yardstick of `kms-grpc bench`: whole envelopes in one call, the work of a service that makes a data key for each
 * message and encrypts the message too. The service itself does not call it.
 *
 *     offset   bytes  field
 *          0     159  ciphertext blob of a data key of 32 bytes
 *        159      12  nonce
 *        171       n  ciphertext
 *    171 + n      16  GCM tag
 *
 * A data key encrypts one message, so AES-256-GCM under it needs no derivation. A call draws all nonces at once, into
 * the end of the output, as in batch.c.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "blob.h"
#include "ciphers.h"
#include "gcm.h"
#include "random.h"

#define DATA_KEY_SIZE 32
#define BLOB_SIZE (DATA_KEY_SIZE + KMS_BLOB_OVERHEAD)
#define GCM_NONCE_SIZE 12
#define NONCES_SIZE (KMS_NONCE_SIZE + GCM_NONCE_SIZE) /* the blob's and the message's */

_Static_assert(KMS_ENVELOPE_OVERHEAD == BLOB_SIZE + GCM_NONCE_SIZE + KMS_TAG_SIZE, "blob, nonce, tag");

struct envelopes {
    uint64_t key;
    const uint8_t *prefix, *associated;
    size_t associated_len, len;
    const uint8_t *nonces; /* of the next envelope */
};

/* The keys of a chunk. The caller wipes them. */
struct drawn {
    union kms_key root;
    uint8_t data_keys[KMS_XAES_BATCH][DATA_KEY_SIZE];
};

static kms_status wrap(uint8_t *out, struct envelopes *all, const struct drawn *drawn, size_t count) {
    struct kms_message messages[KMS_XAES_BATCH];
    for (size_t i = 0; i < count; i++, out += all->len + KMS_ENVELOPE_OVERHEAD) {
        memcpy(out, all->prefix, KMS_PREFIX_SIZE);
        memcpy(out + KMS_NONCE_AT, all->nonces, KMS_NONCE_SIZE);
        memcpy(out + BLOB_SIZE, all->nonces + KMS_NONCE_SIZE, GCM_NONCE_SIZE);
        all->nonces += NONCES_SIZE;
        messages[i] = kms_blob_sealing(out, all->associated, all->associated_len, drawn->data_keys[i], DATA_KEY_SIZE);
    }
    return kms_xaes_seal(&drawn->root, messages, count);
}

static kms_status encrypt(uint8_t *out, const struct envelopes *all, const struct drawn *drawn, const uint8_t *in,
                          size_t count) {
    struct kms_ciphers *ciphers = NULL;
    kms_status status = kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    int well = 1;
    for (size_t i = 0; well && i < count; i++, out += all->len + KMS_ENVELOPE_OVERHEAD, in += all->len) {
        uint8_t *nonce = out + BLOB_SIZE;
        struct kms_message message = {
            .nonce = nonce - 12 /* the GCM nonce is its second half */, .in = in, .len = all->len, .out = nonce + 12};
        well = kms_gcm_seal(ciphers->gcm, drawn->data_keys[i], &message);
    }
    kms_ciphers_forget(ciphers);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

static kms_status seal_chunk(uint8_t *out, struct envelopes *all, const uint8_t *in, size_t count) {
    struct drawn drawn;
    kms_status status = kms_keyring_get(&drawn.root, all->key, KMS_MESSAGE_ROOT);
    if (status == KMS_OK) status = kms_random(drawn.data_keys[0], count * DATA_KEY_SIZE);
    if (status == KMS_OK) status = wrap(out, all, &drawn, count);
    if (status == KMS_OK) status = encrypt(out, all, &drawn, in, count);
    OPENSSL_cleanse(&drawn, sizeof drawn);
    return status;
}

kms_status kms_envelope_many(uint8_t *envelopes, size_t envelopes_len, uint64_t key, const uint8_t *prefix,
                             size_t prefix_len, const uint8_t *associated, size_t associated_len, const uint8_t *in,
                             size_t len, size_t count) {
    size_t size = len + KMS_ENVELOPE_OVERHEAD;
    struct envelopes all = {key, prefix, associated, associated_len, len, envelopes};
    kms_status status = prefix_len == KMS_PREFIX_SIZE && envelopes_len == count * size ? KMS_OK : KMS_WRONG_LENGTH;
    if (status == KMS_OK) {
        uint8_t *nonces = envelopes + envelopes_len - count * NONCES_SIZE;
        all.nonces = nonces;
        status = kms_nonces(nonces, count * NONCES_SIZE);
    }
    for (size_t done = 0; status == KMS_OK && done < count; done += KMS_XAES_BATCH) {
        size_t rest = count - done;
        status =
            seal_chunk(envelopes + done * size, &all, in + done * len, rest < KMS_XAES_BATCH ? rest : KMS_XAES_BATCH);
    }
    if (status != KMS_OK) OPENSSL_cleanse(envelopes, envelopes_len);
    return status;
}
