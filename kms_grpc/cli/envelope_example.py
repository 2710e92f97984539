"""Encrypts a file under a data key from standard input, with AES-256-GCM of the `cryptography` package.

kms-grpc data-key --key alias/orders --ciphertext-to big.key --plaintext-to - | python3 envelope.py seal big big.enc
kms-grpc decrypt big.key | python3 envelope.py open big.enc big
"""

import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


def main(verb: str, source: str, target: str) -> None:
    cipher = AESGCM(sys.stdin.buffer.read())
    content = Path(source).read_bytes()
    if verb == "seal":
        nonce = os.urandom(NONCE_BYTES)
        result = nonce + cipher.encrypt(nonce, content, None)
    else:
        result = cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], None)
    Path(target).write_bytes(result)


if __name__ == "__main__":
    main(*sys.argv[1:])
