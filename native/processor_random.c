#include "processor_random.h"

#include <stdatomic.h>

#define TRIES 10 /* by Intel's Digital Random Number Generator guide; more failures mean that the generator is broken */

enum presence { UNKNOWN, ABSENT, PRESENT };

#if defined(__x86_64__)

#include <cpuid.h>

static enum presence look(void) {
    unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_RDRND) ? PRESENT : ABSENT;
}

__attribute__((target("rdrnd"))) static int draw(uint64_t *word) {
    unsigned long long drawn = 0;
    int well = __builtin_ia32_rdrand64_step(&drawn) != 0;
    *word = drawn;
    return well;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

#define HWCAP2_WITH_RNG (1UL << 16) /* HWCAP2_RNG of Linux's asm/hwcap.h, which older headers lack */

static enum presence look(void) { return getauxval(AT_HWCAP2) & HWCAP2_WITH_RNG ? PRESENT : ABSENT; }

/* s3_3_c2_c4_0 is RNDR, by a name that every assembler knows. It sets the flag Z if it gives nothing. */
static int draw(uint64_t *word) {
    uint64_t drawn = 0;
    int well = 0;
    __asm__ volatile("mrs %0, s3_3_c2_c4_0\n\tcset %w1, ne" : "=r"(drawn), "=r"(well) : : "cc");
    *word = drawn;
    return well;
}

#else

static enum presence look(void) { return ABSENT; }
static int draw(uint64_t *word) {
    *word = 0;
    return 0;
}

#endif

/* Asks once: a hypervisor traps CPUID, which takes longer than sealing. */
static int is_present(void) {
    static _Atomic int known;
    int presence = atomic_load_explicit(&known, memory_order_relaxed);
    if (presence == UNKNOWN) atomic_store_explicit(&known, presence = look(), memory_order_relaxed);
    return presence == PRESENT;
}

int kms_processor_random(uint64_t *word) {
    *word = 0;
    if (!is_present()) return 0;
    for (int i = 0; i < TRIES; i++)
        if (draw(word)) return 1;
    *word = 0;
    return 0;
}
