#include "ciphers.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vector_registers.h"

static const uint8_t zeros[32];

/* --- once per process, because fetching by name takes locks ------------------------------------------------------- */

static struct {
    EVP_CIPHER *ecb;
    EVP_CIPHER *gcm;
    EVP_MD *sha256;
    EVP_MAC *hmac;
    pthread_key_t of_thread;
    int ready;
} fetched;

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void free_ciphers(void *of_thread) {
    struct kms_ciphers *ciphers = of_thread;
    EVP_CIPHER_CTX_free(ciphers->ecb);
    EVP_CIPHER_CTX_free(ciphers->gcm);
    EVP_MAC_CTX_free(ciphers->hmac);
    free(ciphers);
}

static void fetch(void) {
    fetched.ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    fetched.gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    fetched.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    fetched.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    fetched.ready = fetched.ecb && fetched.gcm && fetched.sha256 && fetched.hmac &&
                    pthread_key_create(&fetched.of_thread, free_ciphers) == 0;
}

/* --- once per thread ---------------------------------------------------------------------------------------------- */

static int prepare(struct kms_ciphers *ciphers) {
    OSSL_PARAM digest[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
                           OSSL_PARAM_construct_end()};
    ciphers->ecb = EVP_CIPHER_CTX_new();
    ciphers->gcm = EVP_CIPHER_CTX_new();
    ciphers->hmac = EVP_MAC_CTX_new(fetched.hmac);
    return ciphers->ecb && ciphers->gcm && ciphers->hmac &&
           EVP_EncryptInit_ex2(ciphers->ecb, fetched.ecb, zeros, NULL, NULL) == 1 &&
           EVP_EncryptInit_ex2(ciphers->gcm, fetched.gcm, zeros, zeros, NULL) == 1 &&
           EVP_MAC_CTX_set_params(ciphers->hmac, digest) == 1;
}

static kms_status make_ciphers(struct kms_ciphers **ciphers) {
    struct kms_ciphers *made = calloc(1, sizeof *made);
    if (!made) return KMS_OUT_OF_MEMORY;
    if (!prepare(made) || pthread_setspecific(fetched.of_thread, made) != 0) {
        free_ciphers(made);
        return KMS_CIPHER_FAILED;
    }
    *ciphers = made;
    return KMS_OK;
}

kms_status kms_ciphers_of_thread(struct kms_ciphers **ciphers) {
    pthread_once(&fetch_once, fetch);
    if (!fetched.ready) return KMS_CIPHER_FAILED;
    *ciphers = pthread_getspecific(fetched.of_thread);
    return *ciphers ? KMS_OK : make_ciphers(ciphers);
}

/* Sets a zero key: it overwrites the whole key schedule, and GCM derives its hash key and state again. */
static int overwrite(struct kms_ciphers *ciphers) {
    return EVP_EncryptInit_ex2(ciphers->ecb, NULL, zeros, NULL, NULL) == 1 &&
           EVP_EncryptInit_ex2(ciphers->gcm, NULL, zeros, zeros, NULL) == 1;
}

void kms_ciphers_forget(struct kms_ciphers *ciphers) {
    if (!overwrite(ciphers)) { /* freeing clears the contexts too */
        pthread_setspecific(fetched.of_thread, NULL);
        free_ciphers(ciphers);
    }
    kms_zero_vector_registers();
}

/* --- hashes ------------------------------------------------------------------------------------------------------- */

static int hmac_of(EVP_MAC_CTX *hmac, uint8_t out[32], const uint8_t key[32], const struct kms_part *parts,
                   size_t count) {
    size_t out_len = 0;
    int well = EVP_MAC_init(hmac, key, 32, NULL) == 1;
    for (size_t i = 0; well && i < count; i++) well = EVP_MAC_update(hmac, parts[i].bytes, parts[i].len) == 1;
    return well && EVP_MAC_final(hmac, out, &out_len, 32) == 1 && out_len == 32;
}

kms_status kms_hmac(uint8_t out[32], const uint8_t key[32], const struct kms_part *parts, size_t count) {
    struct kms_ciphers *ciphers = NULL;
    memset(out, 0, 32);
    kms_status status = kms_ciphers_of_thread(&ciphers);
    if (status != KMS_OK) return status;
    int well = hmac_of(ciphers->hmac, out, key, parts, count);
    well &= EVP_MAC_init(ciphers->hmac, zeros, sizeof zeros, NULL) == 1; /* overwrites the key and both hash states */
    if (!well) OPENSSL_cleanse(out, 32);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

kms_status kms_derive(uint8_t out[32], const uint8_t key[32], const char *label, const uint8_t *context,
                      size_t context_len) {
    static const uint8_t counter[4] = {0, 0, 0, 1}, bits[4] = {0, 0, 1, 0};
    const struct kms_part parts[] = {{counter, sizeof counter},
                                     {(const uint8_t *)label, strlen(label)},
                                     {zeros, 1},
                                     {context, context_len},
                                     {bits, sizeof bits}};
    return kms_hmac(out, key, parts, sizeof parts / sizeof parts[0]);
}

kms_status kms_sha256(uint8_t out[32], const uint8_t *in, size_t len) {
    unsigned int out_len = 0;
    memset(out, 0, 32);
    pthread_once(&fetch_once, fetch);
    if (!fetched.ready || EVP_Digest(in, len, out, &out_len, fetched.sha256, NULL) != 1) return KMS_CIPHER_FAILED;
    return KMS_OK;
}
