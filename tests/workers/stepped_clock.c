/* The clocks of a real server, stepped by a test: preloaded (ld.so(8), LD_PRELOAD) into supervisor, workers and keeper.
 *
 * CLOCK_REALTIME and CLOCK_BOOTTIME return the last step in the file named by KMS_TEST_CLOCK: an int64 count of steps,
 * then for each step the wall and boot time as int64 nanoseconds. CLOCK_MONOTONIC, and with it all timeouts, is real.
 * libfaketime is not used because it also steps CLOCK_MONOTONIC and cannot step wall and boot time apart. Only readings
 * by the interpreter itself are stepped; gRPC's and libc's timers use the real clocks.
 *
 * A thread that reads the wall clock takes both values; its next reading of the boot clock returns the one of the same
 * step. Otherwise a step between the two readings would look like a jump.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE 4096

static const volatile int64_t *file_of_steps;
static int (*real)(clockid_t, struct timespec *);
static void *interpreter;
static __thread int64_t taken[2]; /* wall, boot */

__attribute__((constructor)) static void begin(void) {
    Dl_info info;
    const char *path = getenv("KMS_TEST_CLOCK");
    void *entry = dlsym(RTLD_DEFAULT, "Py_BytesMain");
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0 || !entry || !dladdr(entry, &info)) return;
    void *mapped = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return;
    interpreter = info.dli_fbase;
    file_of_steps = mapped;
}

static int is_interpreter(void *caller) {
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fbase == interpreter;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int wall = clock == CLOCK_REALTIME, boot = clock == CLOCK_BOOTTIME;
    if (!file_of_steps || !(wall || boot) || !is_interpreter(__builtin_return_address(0))) return real(clock, time);
    if (wall || !taken[0]) {
        const volatile int64_t *step = file_of_steps + 2 * *file_of_steps;
        taken[0] = step[-1];
        taken[1] = step[0];
    }
    time->tv_sec = taken[boot] / 1000000000;
    time->tv_nsec = taken[boot] % 1000000000;
    return 0;
}
