"""The ECDSA signature at the end of a message, in some suites of the AWS Encryption SDK. It covers all bytes before it.

The public key is in the encryption context under `aws-crypto-public-key`: a compressed point (SEC 1, 2.3.3) in
base64. The footer is u16 length, then the signature in DER. Source:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html#footer-structure
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from kms_grpc.errors import InvalidCiphertextException

PUBLIC_KEY: Final = "aws-crypto-public-key"
_P256_SUITE = 0x0214


class MessageSignature:
    """Hashes the signed bytes in parts and verifies the signature. Raises InvalidCiphertextException."""

    def __init__(self, suite: int, context: Mapping[str, str]) -> None:
        self._is_p256 = suite == _P256_SUITE
        self._hash = hashlib.sha256() if self._is_p256 else hashlib.sha384()
        self._key = self._read_key(context.get(PUBLIC_KEY, ""))

    def update(self, part: bytes | bytearray | memoryview) -> None:
        """Hashes the next bytes that the signature covers."""
        self._hash.update(part)

    def verify(self, footer: bytes) -> None:
        """Verifies the signature. `footer` is all bytes after the final frame."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256, SHA384

        if len(footer) < 2 or int.from_bytes(footer[:2]) != len(footer) - 2:
            raise InvalidCiphertextException
        hashed = utils.Prehashed(SHA256() if self._is_p256 else SHA384())
        try:
            self._key.verify(footer[2:], self._hash.digest(), ec.ECDSA(hashed))
        except InvalidSignature:
            raise InvalidCiphertextException from None

    def _read_key(self, encoded: str) -> Any:
        from cryptography.hazmat.primitives.asymmetric import ec

        curve = ec.SECP256R1() if self._is_p256 else ec.SECP384R1()
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, base64.b64decode(encoded, validate=True))
        except (ValueError, binascii.Error):
            raise InvalidCiphertextException from None
