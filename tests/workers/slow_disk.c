/* Makes fsync(2) and fdatasync(2) take as many milliseconds longer as a file says, for tests of a slow disk. The file is
 * named by KMS_TEST_DISK and holds one int32. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int32_t *milliseconds;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("KMS_TEST_DISK");
    const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *milliseconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) milliseconds = mapped;
}

static int slowed(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const int32_t wait = milliseconds ? *milliseconds : 0;
    if (wait > 0) {
        const struct timespec pause = {wait / 1000, wait % 1000 * 1000000L};
        nanosleep(&pause, NULL);
    }
    return real(file);
}

int fsync(int file) { return slowed("fsync", file); }
int fdatasync(int file) { return slowed("fdatasync", file); }
