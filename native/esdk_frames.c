/* Encrypts and decrypts frames of the AWS Encryption SDK's message format. See esdk.h for the layout.
 *
 * A call takes input of any size and processes all frames that it completes. `held` keeps the rest for the next call.
 * No plaintext is released before its tag is verified: a call that fails outputs nothing and ends the message.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "esdk.h"

#define FINAL_MARKER UINT32_MAX
#define SEQUENCE_SIZE 4
#define FINAL_HEAD (4 + 4 + KMS_ESDK_NONCE_SIZE + 4)
#define FRAME_HEAD (4 + KMS_ESDK_NONCE_SIZE)
#define REGULAR "AWSKMSEncryptionClient Frame"
#define FINAL "AWSKMSEncryptionClient Final Frame"
#define ASSOCIATED_AT_MOST (KMS_ESDK_MESSAGE_ID_SIZE + sizeof FINAL + 12)

#define LARGER_THAN_CACHES 8388608 /* 8 MiB */

enum progress { OPEN = 0, ENDED = 1, FAILED = 2 };

/* The associated data of frames of one kind, which differ in sequence number and length alone. */
struct associated {
    uint8_t bytes[ASSOCIATED_AT_MOST];
    size_t len;
};

struct work {
    kms_esdk_message_t *message;
    const struct kms_esdk_suite *suite;
    struct kms_esdk_cipher cipher;
    struct associated regular, final;
    uint8_t *out;
};

static void prepare(struct associated *associated, const struct work *work, const char *kind) {
    size_t id_len = work->suite->message_id_len, kind_len = strlen(kind);
    memcpy(associated->bytes, work->message->message_id, id_len);
    memcpy(associated->bytes + id_len, kind, kind_len);
    associated->len = id_len + kind_len + 12;
}

static const uint8_t *associate(struct associated *associated, uint32_t sequence, uint32_t content_len) {
    uint8_t *out = associated->bytes + associated->len - 12;
    kms_put_u32(kms_put_u32(kms_put_u32(out, sequence), 0), content_len);
    return associated->bytes;
}

static kms_status begin(struct work *work, kms_esdk_message_t *message, uint8_t *out, int encrypts) {
    *work = (struct work){.message = message, .suite = kms_esdk_suite(message->suite)};
    work->out = out;
    if (!work->suite) return KMS_WRONG_LENGTH;
    prepare(&work->regular, work, REGULAR);
    prepare(&work->final, work, FINAL);
    return kms_esdk_cipher_begin(&work->cipher, message->key, work->suite, encrypts);
}

/* Turns on prefetching for buffers that are larger than the processor's caches. */
static void prefetch_large(struct work *work, size_t out_len, const uint8_t *in, size_t in_len) {
    if (out_len < LARGER_THAN_CACHES) return;
    work->cipher.out_end = work->out + out_len;
    work->cipher.in_end = in + in_len;
}

static uint8_t *put_nonce(uint8_t *out, uint32_t sequence) {
    memset(out, 0, KMS_ESDK_NONCE_SIZE - SEQUENCE_SIZE);
    return kms_put_u32(out + KMS_ESDK_NONCE_SIZE - SEQUENCE_SIZE, sequence);
}

/* --- encrypting --------------------------------------------------------------------------------------------------- */

static uint8_t *put_head(uint8_t *out, uint32_t sequence, uint32_t len, int is_final) {
    if (!is_final) return put_nonce(kms_put_u32(out, sequence), sequence);
    out = kms_put_u32(out, FINAL_MARKER);
    return kms_put_u32(put_nonce(kms_put_u32(out, sequence), sequence), len);
}

static kms_status encrypt_frame(struct work *work, const uint8_t *in, uint32_t len, int is_final) {
    kms_esdk_message_t *message = work->message;
    uint32_t sequence = message->sequence;
    struct associated *associated = is_final ? &work->final : &work->regular;
    if (sequence == FINAL_MARKER) return KMS_WRONG_LENGTH;
    uint8_t *head = work->out;
    uint8_t *ciphertext = put_head(head, sequence, len, is_final);
    uint8_t *nonce = head + (is_final ? 8 : 4);
    if (!kms_esdk_cipher_run(&work->cipher, ciphertext, ciphertext + len, nonce, associate(associated, sequence, len),
                             associated->len, in, len))
        return KMS_CIPHER_FAILED;
    work->out = ciphertext + len + KMS_ESDK_TAG_SIZE;
    message->sequence++;
    return KMS_OK;
}

/* Returns the number of regular frames in `len` bytes. With is_last, the final frame keeps at least one byte if there
 * is any. */
static uint64_t whole_frames(const kms_esdk_message_t *message, uint64_t len, uint8_t is_last) {
    return is_last && len > 0 ? (len - 1) / message->frame_len : len / message->frame_len;
}

uint64_t kms_esdk_encrypted_len(const kms_esdk_message_t *message, uint64_t in_len, uint8_t is_last) {
    uint64_t len = message->held_len + in_len, frames = whole_frames(message, len, is_last);
    uint64_t rest = len - frames * message->frame_len;
    return frames * (message->frame_len + KMS_ESDK_FRAME_OVERHEAD) + (is_last ? rest + KMS_ESDK_FINAL_OVERHEAD : 0);
}

/* Completes and encrypts the frame that an earlier call left in `held`. */
static kms_status encrypt_held(struct work *work, uint8_t *held, const uint8_t **in, size_t *rest) {
    kms_esdk_message_t *message = work->message;
    uint32_t missing = message->frame_len - message->held_len;
    if (missing > 0) memcpy(held + message->held_len, *in, missing);
    *in += missing;
    *rest -= missing;
    message->held_len = 0;
    kms_status status = encrypt_frame(work, held, message->frame_len, 0);
    OPENSSL_cleanse(held, message->frame_len);
    return status;
}

static kms_status encrypt_rest(struct work *work, uint8_t *held, const uint8_t *in, size_t rest, uint8_t is_last) {
    kms_esdk_message_t *message = work->message;
    uint32_t len = message->held_len + (uint32_t)rest;
    if (is_last && message->held_len == 0) {
        message->progress = ENDED;
        return encrypt_frame(work, in, len, 1);
    }
    if (rest > 0) memcpy(held + message->held_len, in, rest);
    message->held_len = len;
    if (!is_last) return KMS_OK;
    message->progress = ENDED;
    message->held_len = 0;
    kms_status status = encrypt_frame(work, held, len, 1);
    OPENSSL_cleanse(held, len);
    return status;
}

static kms_status encrypt_all(struct work *work, uint8_t *held, const uint8_t *in, size_t in_len, uint8_t is_last) {
    kms_esdk_message_t *message = work->message;
    uint64_t frames = whole_frames(message, message->held_len + (uint64_t)in_len, is_last);
    size_t rest = in_len;
    kms_status status = KMS_OK;
    if (frames > 0 && message->held_len > 0) {
        status = encrypt_held(work, held, &in, &rest);
        frames--;
    }
    for (; status == KMS_OK && frames > 0; frames--) {
        status = encrypt_frame(work, in, message->frame_len, 0);
        in += message->frame_len;
        rest -= message->frame_len;
    }
    return status == KMS_OK ? encrypt_rest(work, held, in, rest, is_last) : status;
}

kms_status kms_esdk_encrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len, uint8_t is_last) {
    struct work work;
    kms_status status = KMS_WRONG_LENGTH;
    if (message->progress == OPEN && held_len >= message->frame_len && message->held_len <= message->frame_len &&
        out_len == kms_esdk_encrypted_len(message, in_len, is_last)) {
        status = begin(&work, message, out, 1);
        prefetch_large(&work, out_len, in, in_len);
        if (status == KMS_OK) status = encrypt_all(&work, held, in, in_len, is_last);
        kms_esdk_cipher_end(&work.cipher);
    }
    if (status != KMS_OK) {
        message->progress = FAILED;
        OPENSSL_cleanse(out, out_len);
        OPENSSL_cleanse(held, held_len);
    }
    return status;
}

/* --- decrypting --------------------------------------------------------------------------------------------------- */

/* The head of a frame. */
struct frame {
    size_t len;  /* of the whole frame; 0 if fewer than `head` bytes are there */
    size_t head; /* bytes before the content */
    uint32_t content_len;
    int is_final;
};

static int is_nonce(const uint8_t *bytes, uint32_t sequence) {
    uint8_t nonce[KMS_ESDK_NONCE_SIZE];
    put_nonce(nonce, sequence);
    return memcmp(bytes, nonce, sizeof nonce) == 0;
}

static kms_status read_final(struct frame *frame, const kms_esdk_message_t *message, const uint8_t *in, size_t len) {
    frame->is_final = 1;
    frame->head = FINAL_HEAD;
    if (len < FINAL_HEAD) return KMS_OK;
    frame->content_len = kms_get_u32(in + FINAL_HEAD - 4);
    if (kms_get_u32(in + 4) != message->sequence || !is_nonce(in + 8, message->sequence) ||
        frame->content_len > message->frame_len)
        return KMS_INVALID_CIPHERTEXT;
    frame->len = FINAL_HEAD + frame->content_len + KMS_ESDK_TAG_SIZE;
    return KMS_OK;
}

static kms_status read_frame(struct frame *frame, const kms_esdk_message_t *message, const uint8_t *in, size_t len) {
    *frame = (struct frame){.head = SEQUENCE_SIZE};
    if (message->sequence == FINAL_MARKER) return KMS_INVALID_CIPHERTEXT;
    if (len < SEQUENCE_SIZE) return KMS_OK;
    uint32_t sequence = kms_get_u32(in);
    if (sequence == FINAL_MARKER) return read_final(frame, message, in, len);
    frame->head = FRAME_HEAD;
    if (sequence != message->sequence) return KMS_INVALID_CIPHERTEXT;
    if (len < FRAME_HEAD) return KMS_OK;
    if (!is_nonce(in + SEQUENCE_SIZE, sequence)) return KMS_INVALID_CIPHERTEXT;
    frame->content_len = message->frame_len;
    frame->len = (size_t)message->frame_len + KMS_ESDK_FRAME_OVERHEAD;
    return KMS_OK;
}

static kms_status decrypt_frame(struct work *work, const struct frame *frame, const uint8_t *in) {
    kms_esdk_message_t *message = work->message;
    uint8_t tag[KMS_ESDK_TAG_SIZE];
    struct associated *associated = frame->is_final ? &work->final : &work->regular;
    memcpy(tag, in + frame->len - sizeof tag, sizeof tag);
    if (!kms_esdk_cipher_run(&work->cipher, work->out, tag, in + (frame->is_final ? 8 : 4),
                             associate(associated, message->sequence, frame->content_len), associated->len,
                             in + frame->head, frame->content_len))
        return KMS_INVALID_CIPHERTEXT;
    work->out += frame->content_len;
    message->sequence++;
    if (frame->is_final) message->progress = ENDED;
    return KMS_OK;
}

/* Moves bytes to `held` until it has `wanted` bytes or the input ends. */
static void hold(kms_esdk_message_t *message, uint8_t *held, size_t wanted, const uint8_t **in, size_t *rest) {
    size_t missing = wanted - message->held_len, moved = missing < *rest ? missing : *rest;
    memcpy(held + message->held_len, *in, moved);
    message->held_len += (uint32_t)moved;
    *in += moved;
    *rest -= moved;
}

/* Completes the frame in `held`, first its head, which gives its length, and decrypts it once it is whole. */
static kms_status decrypt_held(struct work *work, uint8_t *held, const uint8_t **in, size_t *rest) {
    kms_esdk_message_t *message = work->message;
    struct frame frame;
    kms_status status = KMS_OK;
    do {
        status = read_frame(&frame, message, held, message->held_len);
        if (status != KMS_OK) return status;
        size_t wanted = frame.len ? frame.len : frame.head;
        if (message->held_len < wanted) hold(message, held, wanted, in, rest);
        if (message->held_len < wanted) return KMS_OK;
    } while (frame.len == 0);
    message->held_len = 0;
    return decrypt_frame(work, &frame, held);
}

static kms_status decrypt_next(struct work *work, uint8_t *held, const uint8_t **in, size_t *rest) {
    struct frame frame;
    if (work->message->held_len > 0) return decrypt_held(work, held, in, rest);
    kms_status status = read_frame(&frame, work->message, *in, *rest);
    if (status != KMS_OK) return status;
    if (frame.len == 0 || frame.len > *rest) {
        hold(work->message, held, *rest, in, rest); /* an incomplete frame */
        return KMS_OK;
    }
    status = decrypt_frame(work, &frame, *in);
    *in += frame.len;
    *rest -= frame.len;
    return status;
}

/* Keeps the bytes after the final frame: the signature, in suites that have one. In others no byte may follow. */
static kms_status keep_footer(struct work *work, uint8_t *held, const uint8_t *in, size_t rest) {
    kms_esdk_message_t *message = work->message;
    if (rest == 0) return KMS_OK;
    if (!work->suite->is_signed || message->held_len + rest > KMS_ESDK_MAXIMUM_FOOTER) return KMS_INVALID_CIPHERTEXT;
    memcpy(held + message->held_len, in, rest);
    message->held_len += (uint32_t)rest;
    return KMS_OK;
}

static kms_status decrypt_all(struct work *work, uint8_t *held, const uint8_t *in, size_t in_len) {
    kms_status status = KMS_OK;
    while (status == KMS_OK && work->message->progress == OPEN && in_len > 0)
        status = decrypt_next(work, held, &in, &in_len);
    return status == KMS_OK ? keep_footer(work, held, in, in_len) : status;
}

/* Reads the head of a frame whose first `waits` bytes are in `held` and the others in `in`. Returns 0 if the frame is
 * incomplete or wrong. */
static int reads_whole(struct frame *frame, const kms_esdk_message_t *message, const uint8_t *held, size_t waits,
                       const uint8_t *in, size_t in_len) {
    uint8_t head[FINAL_HEAD];
    size_t first = waits < sizeof head ? waits : sizeof head;
    size_t second = in_len < sizeof head - first ? in_len : sizeof head - first;
    if (first > 0) memcpy(head, held, first);
    if (second > 0) memcpy(head + first, in, second);
    return read_frame(frame, message, head, first + second) == KMS_OK && frame->len > waits &&
           frame->len - waits <= in_len;
}

size_t kms_esdk_decrypted_len(const kms_esdk_message_t *message, const uint8_t *held, size_t held_len,
                              const uint8_t *in, size_t in_len) {
    kms_esdk_message_t at = *message;
    struct frame frame;
    size_t total = 0, waits = message->held_len;
    if (message->progress != OPEN || waits > held_len) return 0;
    while (reads_whole(&frame, &at, held, waits, in, in_len)) {
        total += frame.content_len;
        if (frame.is_final) break;
        in += frame.len - waits;
        in_len -= frame.len - waits;
        waits = 0;
        at.sequence++;
    }
    return total;
}

kms_status kms_esdk_decrypt(uint8_t *out, size_t out_len, kms_esdk_message_t *message, uint8_t *held, size_t held_len,
                            const uint8_t *in, size_t in_len) {
    struct work work;
    kms_status status = KMS_WRONG_LENGTH;
    if (message->progress != FAILED && held_len >= (size_t)message->frame_len + KMS_ESDK_HELD_OVERHEAD &&
        message->held_len <= held_len && out_len == kms_esdk_decrypted_len(message, held, held_len, in, in_len)) {
        status = begin(&work, message, out, 0);
        prefetch_large(&work, out_len, in, in_len);
        if (status == KMS_OK) status = decrypt_all(&work, held, in, in_len);
        kms_esdk_cipher_end(&work.cipher);
    }
    if (status != KMS_OK) {
        message->progress = FAILED;
        OPENSSL_cleanse(out, out_len);
    }
    return status;
}
