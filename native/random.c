/* Random bytes: getrandom(2), exclusive-or the processor's generator where there is one. Nothing is kept: no random
 * byte and no state of a generator outlives the call that drew it.
 *
 * DO NOT pool nonces, and do not draw them from libcrypto's generator, which is a pool as well. A fork is not the only
 * way to duplicate a process: a virtual machine that is restored twice from one snapshot has the same memory twice, and
 * no process can detect it. The kernel detects it where the hypervisor has a vmgenid device (Linux 5.18 and later), and
 * then reseeds getrandom(2). Where it has none, the kernel's generator is duplicated too, and only the processor's
 * tells the copies apart. Without either, they draw the same bytes.
 *
 *     seed                 32 bytes: getrandom(32) ^ processor(32)
 *     up to 32 bytes       the beginning of the seed
 *     more                 AES-256(seed, 0) || AES-256(seed, 1) || ...
 *
 * Exclusive-or, because the sources are independent: the seed is as good as the better of the two. A generator of the
 * processor that is broken and gives the same word each time does no harm.
 */
#include "random.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/random.h>

#include "ciphers.h"
#include "processor_random.h"

#ifdef KMS_TEST_NONCES
/* In the test build only: a test sets the nonce, to compare whole blobs with test vectors. */
#include "with_nonces.cdef.h"
#endif

#define SEED_WORDS 4
#define BLOCK 16
#define REFRESHING 48 /* what libcrypto's CTR_DRBG takes from each source: a key and a counter of AES-256 */

union seed {
    uint64_t words[SEED_WORDS];
    uint8_t bytes[8 * SEED_WORDS];
};

/* --- the seed ----------------------------------------------------------------------------------------------------- */

static int from_kernel(uint8_t *out, size_t len) {
    while (len > 0) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        out += got;
        len -= (size_t)got;
    }
    return 1;
}

/* Draws the first `len` bytes of a seed. */
static int draw_seed(union seed *seed, size_t len) {
    memset(seed, 0, sizeof *seed);
    if (!from_kernel(seed->bytes, len)) return 0;
    for (size_t i = 0; i < SEED_WORDS && 8 * i < len; i++) {
        uint64_t word = 0;
        if (!kms_processor_random(&word)) break;
        seed->words[i] ^= word;
    }
    return 1;
}

/* --- more bytes than a seed has ----------------------------------------------------------------------------------- */

static void put_counter(uint8_t block[BLOCK], uint64_t counter) {
    memset(block, 0, BLOCK);
    memcpy(block, &counter, sizeof counter);
}

static int encrypt(EVP_CIPHER_CTX *ecb, uint8_t *blocks, size_t len) {
    int out_len = 0;
    return EVP_EncryptUpdate(ecb, blocks, &out_len, blocks, (int)len) == 1 && out_len == (int)len;
}

static kms_status expand(uint8_t *out, size_t out_len, const union seed *seed) {
    uint8_t last[BLOCK];
    struct kms_ciphers *ciphers = NULL;
    const size_t whole = out_len / BLOCK;
    kms_status status = kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    for (size_t i = 0; i < whole; i++) put_counter(out + i * BLOCK, i);
    put_counter(last, whole);
    int well = EVP_EncryptInit_ex2(ciphers->ecb, NULL, seed->bytes, NULL, NULL) == 1 &&
               encrypt(ciphers->ecb, out, whole * BLOCK) && encrypt(ciphers->ecb, last, BLOCK);
    memcpy(out + whole * BLOCK, last, out_len % BLOCK);
    OPENSSL_cleanse(last, sizeof last);
    kms_ciphers_forget(ciphers);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

kms_status kms_random(uint8_t *out, size_t out_len) {
    union seed seed;
    if (out_len > INT_MAX) return KMS_WRONG_LENGTH;
    const int is_short = out_len <= sizeof seed;
    kms_status status = draw_seed(&seed, is_short ? out_len : sizeof seed) ? KMS_OK : KMS_NO_RANDOMNESS;
    if (status == KMS_OK && is_short)
        memcpy(out, seed.bytes, out_len);
    else if (status == KMS_OK)
        status = expand(out, out_len, &seed);
    OPENSSL_cleanse(&seed, sizeof seed);
    if (status != KMS_OK) OPENSSL_cleanse(out, out_len);
    return status;
}

kms_status kms_nonces(uint8_t *out, size_t out_len) {
#ifdef KMS_TEST_NONCES
    if (kms_test_planted(out, out_len)) return KMS_OK;
#endif
    return kms_random(out, out_len);
}

static int refresh(EVP_RAND_CTX *generator) {
    uint8_t fresh[REFRESHING];
    int well = kms_random(fresh, sizeof fresh) == KMS_OK && generator &&
               EVP_RAND_reseed(generator, 0, NULL, 0, fresh, sizeof fresh) == 1;
    OPENSSL_cleanse(fresh, sizeof fresh);
    return well;
}

kms_status kms_refresh_libcrypto(void) {
    return refresh(RAND_get0_private(NULL)) && refresh(RAND_get0_public(NULL)) ? KMS_OK : KMS_NO_RANDOMNESS;
}

void kms_cleanse(void *buffer, size_t buffer_len) { OPENSSL_cleanse(buffer, buffer_len); }
