/* The keyring: key slots in memory pages that are locked, excluded from core dumps and wiped on fork. See keyring.c. */
#ifndef KMS_KEYRING_H
#define KMS_KEYRING_H

#include "core.h"

/* The kinds of key that a slot holds; 0 marks a free slot. */
enum kms_kind {
    KMS_ROOT_KEY = 1,     /* 32 bytes */
    KMS_REGION_KEY = 2,   /* 32 bytes */
    KMS_MESSAGE_ROOT = 3, /* K, 32 bytes, and its CMAC subkey K1, 16 bytes */
    KMS_RECORD_ROOT = 4,  /* a message root derived from a data key of the client library */
    KMS_STREAM_KEY = 5,   /* the key of the frames of one message: 16, 24 or 32 bytes */
};

#define KMS_KEY_WORDS 6

/* A copy of a key on the caller's stack. The caller wipes it: OPENSSL_cleanse(&key, sizeof key). */
union kms_key {
    uint64_t words[KMS_KEY_WORDS];
    struct {
        uint8_t key[32];
        uint8_t subkey[16];
    };
};

/* Stores a key and gives its handle. Errors: KMS_KEYRING_FULL, KMS_KEYRING_LOST. */
kms_status kms_keyring_put(uint64_t *handle, const union kms_key *key, enum kms_kind kind);

/* Copies a key out. Errors: KMS_KEYRING_LOST, KMS_STALE_HANDLE, KMS_WRONG_KIND; the copy is then zero. */
kms_status kms_keyring_get(union kms_key *key, uint64_t handle, enum kms_kind kind);

#endif
