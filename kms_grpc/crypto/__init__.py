"""The Python interface of the C core in native/. It names keys by handles; key material never becomes a Python object.

keyring              opens the keyring, evicts keys, reports its protection
key_wrapping         root key, region keys, key material, row MACs
import_wrapping      RSA wrapping pairs, imported key material
envelope             seals and opens ciphertext blobs
ciphertext_blob      the header of a blob
encryption_context   the canonical form of an encryption context
raw_request          Encrypt and Decrypt on serialised messages
raw_batch            batches on serialised messages
record               records of the client library
data_key_budget      how many records, bytes and seconds a data key has left
message_format       messages of the AWS Encryption SDK
message_signature    the signature of such a message
framing              joins fields unambiguously
words                numbers that the processes of a host share
validity             the lists that keep a Permit valid
errors               exceptions of the core
scratch, new_bytes, bytes_lists   buffers that C writes
c_functions          the addresses of the core's functions, for the bench
"""
