#include "vector_registers.h"

/* This function is in a file of its own so that it is never inlined: the ABI makes these registers caller-saved, so its
 * callers keep nothing in them. */
#if defined(__x86_64__)

#define UPPER "16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"

void kms_zero_vector_registers(void) {
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile(".irp n," UPPER "\n\tvpxord %zmm\\n, %zmm\\n, %zmm\\n\n\t.endr");
    if (__builtin_cpu_supports("avx")) __asm__ volatile("vzeroall");
}

#else

void kms_zero_vector_registers(void) {}

#endif
