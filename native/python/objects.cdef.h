/* --- python/objects.c: reads and creates Python objects ----------------------------------------------------------- */

/* Call these functions by ctypes, which holds the GIL; cffi releases it. */

/* Gives address and length of each element of a tuple of `bytes`. Returns 0, or -1 with TypeError for another type. */
int kms_bytes_read(void *tuple, const uint8_t **places, uint64_t *lens);
/* Creates a list of uninitialised `bytes` of lens[i] + more bytes each, and gives their addresses. The caller writes
 * every byte before other code can see the list. Returns NULL with MemoryError, or with ValueError for a negative
 * length. */
void *kms_bytes_make(uint8_t **places, const uint64_t *lens, size_t count, int64_t more);
/* Creates the built-in function seal_within(address of a kms_data_key_t, now, context, plaintext). It returns a record
 * as bytes, or a kms_status as int, and raises TypeError. */
void *kms_seal_function(void);
/* Creates the built-in function open_within(cached, now, context, record). `cached` is a dict from a wrapped data key and
 * canonical context, joined as `bytes`, to a tuple whose first element is the address of a kms_data_key_t, which the rest
 * of the tuple keeps alive. Returns the plaintext as bytes, or a kms_status as int: KMS_USED_UP if the dict has no such
 * data key. Raises TypeError. */
void *kms_open_function(void);
/* Creates the built-in function opener_of(cached, context, clock). It returns a function open_next(record), which does
 * what open_within does with the time that clock() returns, in less time where records have the same data key. */
void *kms_opener_function(void);
/* Creates the built-in function since_boot(): seconds since the machine started, its sleep included. */
void *kms_clock_function(void);
/* Creates the built-in function new_uuid(). It returns a UUID as str, and raises OSError without random bytes. */
void *kms_uuid_function(void);
