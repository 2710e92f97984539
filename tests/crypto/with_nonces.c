#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ciphers.h"
#include "core.h"
#include "gcm.h"
#include "import_wrapping.h"
#include "keyring.h"
#include "with_nonces.cdef.h"
#include "xaes.h"

/* --- nonces set by a test ----------------------------------------------------------------------------------------- */

static _Thread_local uint8_t planted[KMS_NONCE_SIZE];
static _Thread_local int is_planted;

void kms_test_plant_nonce(const uint8_t nonce[24]) {
    memcpy(planted, nonce, sizeof planted);
    is_planted = 1;
}

int kms_test_planted(uint8_t *out, size_t out_len) {
    if (!is_planted || out_len != sizeof planted) return 0;
    memcpy(out, planted, sizeof planted);
    is_planted = 0;
    return 1;
}

/* --- the ciphers, with bare keys ---------------------------------------------------------------------------------- */

static struct kms_message message_of(uint8_t *out, const uint8_t *nonce, const uint8_t *associated,
                                     size_t associated_len, const uint8_t *in, size_t len) {
    return (struct kms_message){
        .nonce = nonce, .associated = associated, .associated_len = associated_len, .in = in, .len = len, .out = out};
}

static kms_status root_of(union kms_key *root, const uint8_t key[32]) {
    memcpy(root->key, key, sizeof root->key);
    return kms_xaes_subkey(root);
}

kms_status kms_test_xaes_seal(uint8_t *out, const uint8_t key[32], const uint8_t nonce[24], const uint8_t *associated,
                              size_t associated_len, const uint8_t *in, size_t len) {
    union kms_key root;
    struct kms_message message = message_of(out, nonce, associated, associated_len, in, len);
    kms_status status = root_of(&root, key);
    return status == KMS_OK ? kms_xaes_seal(&root, &message, 1) : status;
}

kms_status kms_test_xaes_open(uint8_t *out, const uint8_t key[32], const uint8_t nonce[24], const uint8_t *associated,
                              size_t associated_len, const uint8_t *in, size_t len) {
    union kms_key root;
    struct kms_message message = message_of(out, nonce, associated, associated_len, in, len);
    kms_status status = root_of(&root, key);
    if (status == KMS_OK) status = kms_xaes_open(&root, &message, 1);
    return status == KMS_OK ? message.status : status;
}

typedef int gcm_call(EVP_CIPHER_CTX *gcm, const uint8_t key[32], const struct kms_message *message);

static kms_status gcm_by(gcm_call *call, uint8_t *out, const uint8_t key[32], const uint8_t nonce[12],
                         const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len) {
    uint8_t long_nonce[KMS_NONCE_SIZE] = {0};
    struct kms_ciphers *ciphers = NULL;
    memcpy(long_nonce + 12, nonce, 12);
    struct kms_message message = message_of(out, long_nonce, associated, associated_len, in, len);
    kms_status status = kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    return call(ciphers->gcm, key, &message) ? KMS_OK : KMS_INVALID_CIPHERTEXT;
}

kms_status kms_test_gcm_seal(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *associated,
                             size_t associated_len, const uint8_t *in, size_t len) {
    return gcm_by(kms_gcm_seal, out, key, nonce, associated, associated_len, in, len);
}

kms_status kms_test_gcm_open(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *associated,
                             size_t associated_len, const uint8_t *in, size_t len) {
    return gcm_by(kms_gcm_open, out, key, nonce, associated, associated_len, in, len);
}

kms_status kms_test_derive(uint8_t out[32], const uint8_t key[32], const char *label, const uint8_t *context,
                           size_t context_len) {
    return kms_derive(out, key, label, context, context_len);
}

kms_status kms_test_load_material(uint64_t *key, const uint8_t material[32], const uint8_t kid[KMS_KID_SIZE]) {
    union kms_key root;
    kms_status status = kms_derive(root.key, material, "kms-grpc v1 encryption", kid, KMS_KID_SIZE);
    if (status == KMS_OK) status = kms_xaes_subkey(&root);
    return status == KMS_OK ? kms_keyring_put(key, &root, KMS_MESSAGE_ROOT) : status;
}

kms_status kms_test_kwp_open(uint8_t *out, size_t *out_len, const uint8_t key[32], const uint8_t *wrapped,
                             size_t wrapped_len) {
    return kms_kwp_open(out, out_len, key, wrapped, wrapped_len);
}

/* --- SHAKE-128 that is read bit by bit: OpenSSL before 3.3 only squeezes once (FIPS 202) -------------------------- */

#define RATE 168

struct shake {
    uint64_t lanes[25];
    uint8_t block[RATE];
    size_t at;
};

static uint64_t rotate(uint64_t lane, int by) { return by ? lane << by | lane >> (64 - by) : lane; }

static void theta(uint64_t a[25]) {
    uint64_t c[5];
    for (int x = 0; x < 5; x++) c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (int i = 0; i < 25; i++) a[i] ^= c[(i + 4) % 5] ^ rotate(c[(i + 1) % 5], 1);
}

static void rho_and_pi(uint64_t a[25]) {
    uint64_t lane = a[1];
    for (int t = 0, x = 1, y = 0; t < 24; t++) {
        int next = (2 * x + 3 * y) % 5;
        uint64_t kept = a[y + 5 * next];
        a[y + 5 * next] = rotate(lane, (t + 1) * (t + 2) / 2 % 64);
        lane = kept;
        x = y;
        y = next;
    }
}

static void chi(uint64_t a[25]) {
    for (int y = 0; y < 25; y += 5) {
        uint64_t row[5];
        memcpy(row, a + y, sizeof row);
        for (int x = 0; x < 5; x++) a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
    }
}

/* The round constant's bits come from a shift register of 8 bits. */
static uint64_t iota(uint8_t *lfsr) {
    uint64_t constant = 0;
    for (int j = 0; j < 7; j++) {
        if (*lfsr & 1) constant |= UINT64_C(1) << ((1 << j) - 1);
        *lfsr = (uint8_t)(*lfsr << 1 ^ (*lfsr & 0x80 ? 0x71 : 0));
    }
    return constant;
}

static void permute(uint64_t a[25]) {
    uint8_t lfsr = 1;
    for (int round = 0; round < 24; round++) {
        theta(a);
        rho_and_pi(a);
        chi(a);
        a[0] ^= iota(&lfsr);
    }
}

static void shake_of_nothing(struct shake *shake) {
    memset(shake, 0, sizeof *shake);
    shake->lanes[0] = 0x1F;
    shake->lanes[RATE / 8 - 1] = UINT64_C(0x80) << 56;
    shake->at = RATE;
}

static void next_block(struct shake *shake) {
    permute(shake->lanes);
    for (size_t i = 0; i < RATE; i++) shake->block[i] = (uint8_t)(shake->lanes[i / 8] >> 8 * (i % 8));
    shake->at = 0;
}

static void squeeze(uint8_t *out, size_t len, struct shake *shake) {
    while (len > 0) {
        if (shake->at == RATE) next_block(shake);
        size_t some = len < RATE - shake->at ? len : RATE - shake->at;
        memcpy(out, shake->block + shake->at, some);
        shake->at += some;
        out += some;
        len -= some;
    }
}

/* --- the accumulated vectors -------------------------------------------------------------------------------------- */

struct round {
    union kms_key root;
    uint8_t nonce[24], plaintext_len, plaintext[255], associated_len, associated[255];
    uint8_t sealed[255 + KMS_TRAILER_SIZE], opened[255];
};

static void draw(struct round *r, struct shake *source) {
    squeeze(r->root.key, sizeof r->root.key, source);
    squeeze(r->nonce, sizeof r->nonce, source);
    squeeze(&r->plaintext_len, 1, source);
    squeeze(r->plaintext, r->plaintext_len, source);
    squeeze(&r->associated_len, 1, source);
    squeeze(r->associated, r->associated_len, source);
}

static kms_status play(struct round *r, EVP_MD_CTX *hash) {
    struct kms_message seal =
        message_of(r->sealed, r->nonce, r->associated, r->associated_len, r->plaintext, r->plaintext_len);
    struct kms_message open =
        message_of(r->opened, r->nonce, r->associated, r->associated_len, r->sealed, r->plaintext_len);
    kms_status status = kms_xaes_subkey(&r->root);
    if (status == KMS_OK) status = kms_xaes_seal(&r->root, &seal, 1);
    if (status == KMS_OK) status = kms_xaes_open(&r->root, &open, 1);
    if (status != KMS_OK || open.status != KMS_OK || memcmp(r->opened, r->plaintext, r->plaintext_len) != 0)
        return KMS_INVALID_CIPHERTEXT;
    return EVP_DigestUpdate(hash, r->sealed, r->plaintext_len + KMS_TAG_SIZE) == 1 ? KMS_OK : KMS_CIPHER_FAILED;
}

kms_status kms_test_xaes_accumulated(uint8_t hash[32], size_t iterations) {
    struct shake source;
    struct round round;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    kms_status status = EVP_DigestInit_ex(context, EVP_shake128(), NULL) == 1 ? KMS_OK : KMS_CIPHER_FAILED;
    shake_of_nothing(&source);
    for (size_t i = 0; status == KMS_OK && i < iterations; i++) {
        draw(&round, &source);
        status = play(&round, context);
    }
    if (status == KMS_OK && EVP_DigestFinalXOF(context, hash, 32) != 1) status = KMS_CIPHER_FAILED;
    EVP_MD_CTX_free(context);
    return status;
}

/* --- reading while another thread writes -------------------------------------------------------------------------- */

struct writer {
    _Atomic uint64_t handle;
    size_t rounds;
    _Atomic int done;
};

static void *write_and_evict(void *argument) {
    struct writer *writer = argument;
    for (size_t i = 1; i <= writer->rounds; i++) {
        union kms_key key;
        uint64_t handle = 0;
        for (int word = 0; word < KMS_KEY_WORDS; word++) key.words[word] = i;
        if (kms_keyring_put(&handle, &key, KMS_MESSAGE_ROOT) != KMS_OK) continue;
        atomic_store(&writer->handle, handle);
        kms_keyring_evict(handle);
    }
    atomic_store(&writer->done, 1);
    return NULL;
}

static int is_mixture(const union kms_key *key) {
    for (int word = 0; word < KMS_KEY_WORDS; word++)
        if (key->words[word] != key->words[0] || key->words[word] == 0) return 1;
    return 0;
}

kms_status kms_test_torn_reads(size_t *read, size_t *torn, size_t rounds) {
    struct writer writer = {.rounds = rounds};
    pthread_t thread;
    *read = *torn = 0;
    if (pthread_create(&thread, NULL, write_and_evict, &writer) != 0) return KMS_OUT_OF_MEMORY;
    while (!atomic_load(&writer.done)) {
        union kms_key key;
        if (kms_keyring_get(&key, atomic_load(&writer.handle), KMS_MESSAGE_ROOT) != KMS_OK) continue;
        *read += 1;
        *torn += (size_t)is_mixture(&key);
    }
    pthread_join(thread, NULL);
    return KMS_OK;
}

/* --- forks while threads seal ------------------------------------------------------------------------------------- */

struct sealer {
    kms_data_key_t *key;
    _Atomic uint64_t made;
    _Atomic int stop;
};

static kms_status seal_one(uint8_t record[KMS_RECORD_OVERHEAD + 1], kms_data_key_t *key) {
    static const uint8_t context[4], plaintext[1];
    return kms_record_seal_within(record, KMS_RECORD_OVERHEAD + 1, key, 0.0, context, sizeof context, plaintext,
                                  sizeof plaintext);
}

static void *seal_on(void *argument) {
    struct sealer *sealer = argument;
    uint8_t record[KMS_RECORD_OVERHEAD + 1];
    while (!atomic_load(&sealer->stop))
        if (seal_one(record, sealer->key) == KMS_OK) atomic_fetch_add(&sealer->made, 1);
    return NULL;
}

static int is_refused(kms_data_key_t *key, kms_status expected) {
    uint8_t record[KMS_RECORD_OVERHEAD + 1], any = 0;
    memset(record, 1, sizeof record);
    kms_status status = seal_one(record, key);
    for (size_t i = 0; i < sizeof record; i++) any |= record[i];
    return status == expected && any == 0;
}

static int child_is_refused(kms_data_key_t *key) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        int lost = is_refused(key, KMS_KEYRING_LOST);
        int stale = kms_keyring_open(64) == KMS_OK && is_refused(key, KMS_STALE_HANDLE);
        _exit(lost && stale ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

kms_status kms_test_forks_while_sealing(size_t *refused, uint64_t *made, kms_data_key_t *key, size_t forks) {
    struct sealer sealer = {.key = key};
    pthread_t threads[2];
    *refused = 0;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, seal_on, &sealer) != 0) return KMS_OUT_OF_MEMORY;
    for (size_t i = 0; i < forks; i++) *refused += (size_t)child_is_refused(key);
    atomic_store(&sealer.stop, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    *made = atomic_load(&sealer.made);
    return KMS_OK;
}
