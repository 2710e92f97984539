/* Vector registers, which outlive the call that used them. */
#ifndef KMS_VECTOR_REGISTERS_H
#define KMS_VECTOR_REGISTERS_H

/* Zeroes them all. libcrypto's assembly leaves round keys in them (seen: the last one of a message key, by the AVX-512 code
 * of 3.6), and whoever saves all registers (the dynamic linker, when it resolves a function) writes them to the stack. */
void kms_zero_vector_registers(void);

#endif
