/* The file of the root key: 32 bytes. C reads and writes it, so that the key never becomes a Python object. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keyring.h"

#define NO_REPLACEMENT 1U /* the kernel's RENAME_NOREPLACE */

static kms_status write_durably(int file, const uint8_t *bytes, size_t len) {
    while (len > 0) {
        ssize_t written = write(file, bytes, len);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return KMS_FILE_SYSTEM_ERROR;
        bytes += written;
        len -= (size_t)written;
    }
    return fsync(file) == 0 ? KMS_OK : KMS_FILE_SYSTEM_ERROR;
}

static kms_status sync_folder(const char *folder) {
    int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return KMS_FILE_SYSTEM_ERROR;
    kms_status status = fsync(opened) == 0 ? KMS_OK : KMS_FILE_SYSTEM_ERROR;
    close(opened);
    return status;
}

static kms_status write_new_file(const char *path) {
    uint8_t key[KMS_ROOT_KEY_SIZE];
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) return KMS_FILE_SYSTEM_ERROR;
    kms_status status = kms_random(key, sizeof key);
    if (status == KMS_OK) status = write_durably(file, key, sizeof key);
    OPENSSL_cleanse(key, sizeof key);
    if (close(file) != 0 && status == KMS_OK) status = KMS_FILE_SYSTEM_ERROR;
    return status;
}

/* Renames the finished file, unless the new name exists. By the system call, since musl has no function for it. Uses a
 * hard link if kernel or file system lack the flag. */
static kms_status give_name(const char *unfinished_path, const char *path) {
    long refused = syscall(SYS_renameat2, AT_FDCWD, unfinished_path, AT_FDCWD, path, NO_REPLACEMENT);
    if (refused && (errno == EINVAL || errno == ENOSYS)) refused = link(unfinished_path, path);
    if (refused) return errno == EEXIST ? KMS_FILE_EXISTS : KMS_FILE_SYSTEM_ERROR;
    return KMS_OK;
}

/* Deletes an unfinished file, which a crash left and nothing was ever wrapped under. */
kms_status kms_root_key_create(const char *path, const char *unfinished_path, const char *folder) {
    unlink(unfinished_path);
    kms_status status = write_new_file(unfinished_path);
    if (status == KMS_OK) status = give_name(unfinished_path, path);
    int reason = errno;
    unlink(unfinished_path);
    if (status == KMS_OK) return sync_folder(folder);
    errno = reason;
    return status;
}

static kms_status judge(int file) {
    struct stat facts;
    if (fstat(file, &facts) != 0) return KMS_FILE_SYSTEM_ERROR;
    if (!S_ISREG(facts.st_mode)) return KMS_FILE_NOT_REGULAR;
    if (facts.st_uid != geteuid()) return KMS_FILE_WRONG_OWNER;
    if (facts.st_mode & (S_IRWXG | S_IRWXO)) return KMS_FILE_WRONG_MODE;
    return facts.st_size == KMS_ROOT_KEY_SIZE ? KMS_OK : KMS_FILE_WRONG_SIZE;
}

static kms_status read_whole(int file, uint8_t *bytes, size_t len) {
    while (len > 0) {
        ssize_t got = read(file, bytes, len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return KMS_FILE_SYSTEM_ERROR;
        if (got == 0) return KMS_FILE_WRONG_SIZE;
        bytes += got;
        len -= (size_t)got;
    }
    return KMS_OK;
}

kms_status kms_root_key_load(uint64_t *root, const char *path) {
    union kms_key key = {.words = {0}};
    *root = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a named pipe must not block the start */
    if (file < 0) return KMS_FILE_SYSTEM_ERROR;
    kms_status status = judge(file);
    if (status == KMS_OK) status = read_whole(file, key.key, KMS_ROOT_KEY_SIZE);
    close(file);
    if (status == KMS_OK) status = kms_keyring_put(root, &key, KMS_ROOT_KEY);
    OPENSSL_cleanse(&key, sizeof key);
    return status;
}
