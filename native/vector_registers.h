/* Vector registers keep their contents after the call that used them. */
#ifndef KMS_VECTOR_REGISTERS_H
#define KMS_VECTOR_REGISTERS_H

/* Zeroes all of them. libcrypto's assembly code leaves round keys there (seen with the AVX-512 code of 3.6: the last
 * round key of a message key), and code that saves all registers, such as the dynamic linker, copies them to the
 * stack. */
void kms_zero_vector_registers(void);

#endif
