/* --- python/objects.c: what reads and makes Python's objects. Called with the GIL held, by ctypes and not by cffi ------- */

/* Where the bytes of a tuple of `bytes` are, and how long. 0; -1 and TypeError where one is something else. */
int kms_bytes_read(void *tuple, const uint8_t **places, uint64_t *lens);
/* A new list of new `bytes`, each lens[i] + more long, and where each is to be written, all of it, before anybody else sees
 * it. NULL with MemoryError, or ValueError where one would be shorter than nothing. */
void *kms_bytes_make(uint8_t **places, const uint64_t *lens, size_t count, int64_t more);
/* The built-in function of record.py: seal_within(address of a kms_data_key_t, now, context, plaintext). A record, or the
 * status as an int. TypeError. */
void *kms_seal_function(void);
