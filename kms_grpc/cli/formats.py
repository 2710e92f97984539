"""Formats of encrypted files, told apart by their first bytes.

| first bytes | format | command |
|---|---|---|
| 01 01 | a ciphertext blob, as `encrypt` and `data-key` write it (native/blob.c) | decrypt |
| 02 04 78, 02 05 78 | a message of the AWS Encryption SDK, as `encrypt-file` writes it (native/esdk.h) | decrypt-file |
| 01 80 | an older message of the AWS Encryption SDK | decrypt-file |
| AQ, Ag | either of them in base64 | |
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum
from typing import Final


class Format(Enum):
    """A format, with the command that decrypts it."""

    BLOB = "decrypt"
    MESSAGE = "decrypt-file"

    @property
    def command(self) -> str:
        return f"kms-grpc {self.value}"


_STARTS: Final = {
    b"\x01\x01": Format.BLOB,
    b"\x02\x04\x78": Format.MESSAGE,
    b"\x02\x05\x78": Format.MESSAGE,
    b"\x01\x80": Format.MESSAGE,
}
_LONGEST: Final = 8
"""Bytes of base64 that hold the longest start."""


def format_of(head: bytes) -> Format | None:
    """Returns the format of content that begins with `head`; None if it is another format, which may be base64."""
    return next((found for start, found in _STARTS.items() if head.startswith(start)), None)


def format_in_base64(head: bytes) -> Format | None:
    """Returns the format of content whose base64 begins with `head`; None if that is not base64, or of another
    format."""
    letters = b"".join(head.split())[:_LONGEST]
    try:
        return format_of(base64.b64decode(letters[: len(letters) // 4 * 4], validate=True))
    except binascii.Error:
        return None
