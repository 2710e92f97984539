/* The message format of the AWS Encryption SDK. All integers are big-endian.
 * https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html
 *
 *     header, version 2                                     header, version 1
 *     bytes  field                                          bytes  field
 *         1  version, 2                                         1  version, 1
 *         2  suite                                              1  type, 0x80
 *        32  message id                                         2  suite
 *         2  length of the encryption context                  16  message id
 *         n  encryption context                                 2  length of the encryption context
 *         2  count of data keys, then for each of them          n  encryption context
 *           2 + n  provider id ("aws-kms")                      2  count of data keys, and the data keys
 *           2 + n  provider information (the key's ARN)         1  content type
 *           2 + n  encrypted data key (our ciphertext blob)     4  zeros
 *         1  content type, 2: framed                            1  length of a nonce, 12
 *         4  frame length                                       4  frame length
 *        32  key commitment                                    12  nonce of the header
 *        16  tag of the header; its nonce is zeros             16  tag of the header
 *
 * The tag covers all bytes before it, in version 1 all before its nonce. An empty encryption context has no bytes. Any
 * other is u16 count, then for each pair u16 length, key, u16 length, value, sorted by the keys' UTF-8 bytes.
 *
 *     a frame                                               the final frame
 *         4  sequence number, from 1                            4  FFFFFFFF
 *        12  nonce: the sequence number                         4  sequence number
 *         n  ciphertext, frame length                          12  nonce: the sequence number
 *        16  tag                                                4  content length, 0 to frame length
 *                                                               n  ciphertext
 *                                                              16  tag
 *
 * A frame's associated data: message id, "AWSKMSEncryptionClient Frame" or "AWSKMSEncryptionClient Final Frame", u32
 * sequence number, u64 content length. Suites with a signature end with u16 length and the signature in DER over all
 * bytes before it.
 */
#ifndef KMS_ESDK_H
#define KMS_ESDK_H

#include "core.h"

#define KMS_ESDK_NONCE_SIZE 12
#define KMS_ESDK_TAG_SIZE 16
#define KMS_ESDK_COMMITMENT_SIZE 32
#define KMS_ESDK_MESSAGE_ID_SIZE 32 /* of version 2; version 1 has 16 */
#define KMS_ESDK_MAXIMUM_FOOTER 256 /* a P-384 signature has up to 104 bytes */
#define KMS_ESDK_FRAME_OVERHEAD 32  /* sequence number, nonce, tag */
#define KMS_ESDK_FINAL_OVERHEAD 40  /* marker and content length beside them */

/* An algorithm suite: AES-GCM with nonces of 12 bytes and tags of 16.
 * https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/algorithms-reference.html */
struct kms_esdk_suite {
    uint16_t id;
    uint8_t version; /* of the message format; version 2 commits to the key */
    uint8_t key_len;
    uint8_t message_id_len;
    uint8_t is_signed;
    const char *digest; /* of HKDF; NULL: no derivation, the data key itself is used */
};

/* Returns the suite, or NULL if the id is unknown. */
const struct kms_esdk_suite *kms_esdk_suite(uint16_t id);

/* Derives the key of frames and header from the data key, stores it in the keyring, and gives the commitment (zeros for
 * suites without one). Returns KMS_WRONG_LENGTH if the data key has not the suite's length. */
kms_status kms_esdk_derive(uint64_t *key, uint8_t commitment[KMS_ESDK_COMMITMENT_SIZE],
                           const struct kms_esdk_suite *suite, const uint8_t *message_id, const uint8_t *data_key,
                           size_t data_key_len);

/* AES-GCM under a key of the keyring, for the frames of one call. */
struct kms_esdk_cipher {
    struct kms_ciphers *of_thread;
    void *gcm; /* EVP_CIPHER_CTX */
    int encrypts;
    const uint8_t *out_end, *in_end; /* ends of the call's buffers, for prefetching; NULL: no prefetching */
};

/* Sets the key. The caller must call kms_esdk_cipher_end even if this fails. */
kms_status kms_esdk_cipher_begin(struct kms_esdk_cipher *cipher, uint64_t key, const struct kms_esdk_suite *suite,
                                 int encrypts);
/* Encrypts and writes the tag, or decrypts and compares the tag. `out` and `in` do not overlap. Returns 0 if the tag is
 * wrong or libcrypto fails; the caller must then wipe `out`. */
int kms_esdk_cipher_run(struct kms_esdk_cipher *cipher, uint8_t *out, uint8_t *tag, const uint8_t *nonce,
                        const uint8_t *associated, size_t associated_len, const uint8_t *in, size_t len);
void kms_esdk_cipher_end(struct kms_esdk_cipher *cipher);

static inline uint8_t *kms_put_u16(uint8_t *out, size_t value) {
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return out + 2;
}

static inline uint8_t *kms_put_u32(uint8_t *out, uint32_t value) {
    return kms_put_u16(kms_put_u16(out, value >> 16), value & 0xFFFF);
}

static inline uint32_t kms_get_u16(const uint8_t *in) { return (uint32_t)in[0] << 8 | in[1]; }
static inline uint32_t kms_get_u32(const uint8_t *in) { return kms_get_u16(in) << 16 | kms_get_u16(in + 2); }

#endif
