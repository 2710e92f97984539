#include "rsa.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "random.h"

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/* Returns the index of the i-th byte, counted from the least significant one. */
static size_t place(size_t i) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return i;
#else
    return KMS_RSA_MAXIMUM - 1 - i;
#endif
}

static size_t length_of(const uint8_t *number) {
    size_t len = KMS_RSA_MAXIMUM;
    while (len > 1 && number[place(len - 1)] == 0) len--;
    return len;
}

size_t kms_rsa_modulus(uint8_t modulus[KMS_RSA_MAXIMUM], const struct kms_rsa *rsa) {
    const uint8_t *n = rsa->numbers[KMS_RSA_N];
    size_t len = length_of(n);
    memset(modulus, 0, KMS_RSA_MAXIMUM);
    for (size_t i = 0; i < len; i++) modulus[i] = n[place(len - 1 - i)];
    return len;
}

static void describe(OSSL_PARAM params[KMS_RSA_NUMBERS + 1], const struct kms_rsa *rsa) {
    static const char *const names[KMS_RSA_NUMBERS] = {OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
                                                       OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                                       OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                                       OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    for (int i = 0; i < KMS_RSA_NUMBERS; i++)
        params[i] = OSSL_PARAM_construct_BN(names[i], (uint8_t *)rsa->numbers[i], KMS_RSA_MAXIMUM);
    params[KMS_RSA_NUMBERS] = OSSL_PARAM_construct_end();
}

/* --- making and using a pair -------------------------------------------------------------------------------------- */

static int write_public(uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len, EVP_PKEY *pair) {
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(pair, &der);
    int well = len > 0 && len <= KMS_MAXIMUM_PUBLIC_KEY;
    if (well) {
        memcpy(public_key, der, (size_t)len);
        *public_key_len = (size_t)len;
    }
    OPENSSL_free(der);
    return well;
}

kms_status kms_rsa_generate(struct kms_rsa *rsa, uint8_t public_key[KMS_MAXIMUM_PUBLIC_KEY], size_t *public_key_len,
                            uint32_t bits) {
    OSSL_PARAM params[KMS_RSA_NUMBERS + 1];
    memset(rsa, 0, sizeof *rsa);
    kms_status status = kms_refresh_libcrypto();
    if (status != KMS_OK) return status;
    EVP_PKEY *pair = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    describe(params, rsa);
    int well = pair && EVP_PKEY_get_params(pair, params) == 1;
    for (int i = 0; well && i < KMS_RSA_NUMBERS; i++) well = OSSL_PARAM_modified(&params[i]);
    well = well && write_public(public_key, public_key_len, pair);
    EVP_PKEY_free(pair);
    if (!well) OPENSSL_cleanse(rsa, sizeof *rsa);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

static EVP_PKEY *pair_of(const struct kms_rsa *rsa) {
    OSSL_PARAM params[KMS_RSA_NUMBERS + 1];
    EVP_PKEY *pair = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    describe(params, rsa);
    if (context && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &pair, EVP_PKEY_KEYPAIR, params) != 1)
        pair = NULL;
    EVP_PKEY_CTX_free(context);
    return pair;
}

kms_status kms_rsa_decrypt(uint8_t *out, const struct kms_rsa *rsa, const uint8_t *in, size_t len) {
    size_t out_len = len;
    EVP_PKEY *pair = pair_of(rsa);
    EVP_PKEY_CTX *context = pair ? EVP_PKEY_CTX_new_from_pkey(NULL, pair, NULL) : NULL;
    int well = context && EVP_PKEY_decrypt_init(context) == 1 &&
               EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) == 1 &&
               EVP_PKEY_decrypt(context, out, &out_len, in, len) == 1 && out_len == len;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pair);
    if (!well) OPENSSL_cleanse(out, len);
    return well ? KMS_OK : KMS_CIPHER_FAILED;
}

/* --- PKCS#8 ------------------------------------------------------------------------------------------------------- */

#define INTEGER 0x02
#define OCTET_STRING 0x04
#define SEQUENCE 0x30

static const uint8_t zero[] = {INTEGER, 1, 0}; /* the version of PrivateKeyInfo and of RSAPrivateKey */
static const uint8_t rsa_encryption[] = {SEQUENCE, 13,   0x06, 9,    0x2a, 0x86, 0x48, 0x86,
                                         0xf7,     0x0d, 0x01, 0x01, 0x01, 0x05, 0};

/* Writes backwards, because DER puts the length of a content before it. */
struct writer {
    uint8_t *at;
    uint8_t *end;
};

static void put(struct writer *writer, const uint8_t *bytes, size_t len) {
    writer->at -= len;
    memcpy(writer->at, bytes, len);
}

/* Writes tag and length of the content between writer->at and `end`. */
static void enclose(struct writer *writer, uint8_t tag, const uint8_t *end) {
    size_t len = (size_t)(end - writer->at);
    const uint8_t brief[] = {tag, (uint8_t)len}, one[] = {tag, 0x81, (uint8_t)len};
    const uint8_t two[] = {tag, 0x82, (uint8_t)(len >> 8), (uint8_t)len};
    if (len < 0x80)
        put(writer, brief, sizeof brief);
    else if (len < 0x100)
        put(writer, one, sizeof one);
    else
        put(writer, two, sizeof two);
}

static void put_integer(struct writer *writer, const uint8_t *number) {
    const uint8_t *end = writer->at;
    size_t len = length_of(number);
    for (size_t i = 0; i < len; i++) *--writer->at = number[place(i)];
    if (*writer->at & 0x80) *--writer->at = 0;
    enclose(writer, INTEGER, end);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the writer. */
size_t kms_rsa_write(uint8_t pkcs8[KMS_RSA_MAXIMUM_PKCS8], const struct kms_rsa *rsa) {
    struct writer writer = {pkcs8 + KMS_RSA_MAXIMUM_PKCS8, pkcs8 + KMS_RSA_MAXIMUM_PKCS8};
    for (int i = KMS_RSA_NUMBERS - 1; i >= 0; i--) put_integer(&writer, rsa->numbers[i]);
    put(&writer, zero, sizeof zero);
    enclose(&writer, SEQUENCE, writer.end);
    enclose(&writer, OCTET_STRING, writer.end);
    put(&writer, rsa_encryption, sizeof rsa_encryption);
    put(&writer, zero, sizeof zero);
    enclose(&writer, SEQUENCE, writer.end);
    return (size_t)(writer.end - writer.at);
}

struct reader {
    const uint8_t *next;
    size_t rest;
};

static int expect(struct reader *reader, const uint8_t *bytes, size_t len) {
    if (reader->rest < len || memcmp(reader->next, bytes, len) != 0) return 0;
    reader->next += len;
    reader->rest -= len;
    return 1;
}

static int read_length(size_t *len, struct reader *reader) {
    if (reader->rest < 1) return 0;
    size_t more = *reader->next < 0x80 ? 0 : (size_t)*reader->next - 0x80;
    if (more > 2 || reader->rest < 1 + more) return 0;
    *len = more ? 0 : *reader->next;
    for (size_t i = 1; i <= more; i++) *len = *len << 8 | reader->next[i];
    reader->next += 1 + more;
    reader->rest -= 1 + more;
    return *len <= reader->rest;
}

static int enter(struct reader *reader, uint8_t tag) {
    size_t len = 0;
    return expect(reader, &tag, 1) && read_length(&len, reader) && len == reader->rest;
}

static int read_integer(uint8_t number[KMS_RSA_MAXIMUM], struct reader *reader) {
    static const uint8_t tag = INTEGER;
    size_t len = 0;
    if (!expect(reader, &tag, 1) || !read_length(&len, reader)) return 0;
    const uint8_t *end = reader->next + len;
    reader->rest -= len;
    if (len > 1 && *reader->next == 0) len--;
    for (size_t i = 0; i < len && i < KMS_RSA_MAXIMUM; i++) number[place(i)] = end[-1 - (ptrdiff_t)i];
    reader->next = end;
    return len > 0 && len <= KMS_RSA_MAXIMUM;
}

kms_status kms_rsa_read(struct kms_rsa *rsa, const uint8_t *pkcs8, size_t pkcs8_len) {
    struct reader reader = {pkcs8, pkcs8_len};
    memset(rsa, 0, sizeof *rsa);
    int well = enter(&reader, SEQUENCE) && expect(&reader, zero, sizeof zero) &&
               expect(&reader, rsa_encryption, sizeof rsa_encryption) && enter(&reader, OCTET_STRING) &&
               enter(&reader, SEQUENCE) && expect(&reader, zero, sizeof zero);
    for (int i = 0; well && i < KMS_RSA_NUMBERS; i++) well = read_integer(rsa->numbers[i], &reader);
    if (well && reader.rest == 0) return KMS_OK;
    OPENSSL_cleanse(rsa, sizeof *rsa);
    return KMS_WRAPPED_KEY_DAMAGED;
}
