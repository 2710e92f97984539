/* Preloaded into clone_process.py: what a process of a cloned virtual machine sees. Its process id is that of the
 * original, so that libcrypto does not notice a fork; and with KMS_TEST_CLONED_KERNEL=1 the kernel's generator is cloned
 * as well: it is a sequence whose state is in the process's memory.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

pid_t getpid(void) { return 4242; }

static uint64_t state = 1;

/* SplitMix64, by Steele, Lea and Flood. */
static uint64_t next(void) {
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

ssize_t getrandom(void *out, size_t len, unsigned int flags) {
    const char *cloned = getenv("KMS_TEST_CLONED_KERNEL");
    if (!cloned || strcmp(cloned, "1") != 0) return syscall(SYS_getrandom, out, len, flags);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t word = next();
        memcpy((uint8_t *)out + at, &word, len - at < 8 ? len - at : 8);
    }
    return (ssize_t)len;
}

int getentropy(void *out, size_t len) { return getrandom(out, len, 0) == (ssize_t)len ? 0 : -1; }
