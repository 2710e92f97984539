/* Properties of the whole process: core dumps, and the libcrypto that is linked in. */
#include <openssl/crypto.h>
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
