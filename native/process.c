/* What concerns the process as a whole. */
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "core.h"

kms_status kms_forbid_core_dumps(void) {
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0) return KMS_FILE_SYSTEM_ERROR;
    return KMS_OK;
}

const char *kms_libcrypto_version(void) { return OpenSSL_version(OPENSSL_VERSION); }
unsigned int kms_libcrypto_number(void) { return (unsigned int)OpenSSL_version_num(); }

/* Epochs lie in a file that all processes of the host map; each is an aligned u64. */
/* NOLINTNEXTLINE(readability-non-const-parameter): it is written, through the atomic type. */
void kms_epoch_bump(uint64_t *epoch) { atomic_fetch_add_explicit((_Atomic uint64_t *)epoch, 1, memory_order_release); }

uint64_t kms_epoch_read(const uint64_t *epoch) {
    return atomic_load_explicit((const _Atomic uint64_t *)epoch, memory_order_acquire);
}
