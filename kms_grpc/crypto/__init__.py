"""The Python face of the C core. Keys are named by handles; no key material ever becomes a Python object.

keyring           where keys live, and what is known about it
key_wrapping      root key, region keys, key material, row MACs
import_wrapping   RSA wrapping pairs, imported key material
encryption_context, framing    bytes that are unambiguous
ciphertext_blob   the header of a blob
envelope          sealing and opening: one C call each, GIL released
epoch             the counter by which processes of a host see changes
reference         yardsticks for `kms-grpc bench`
"""
