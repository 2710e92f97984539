"""A second writer of the AWS Encryption SDK's message format, over `cryptography`. It writes suite 0x0478, and wrong
messages whose tags are all right."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = b"\x04\x78"
FINAL = 0xFFFFFFFF


def field(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def context_of(context: Mapping[str, str]) -> bytes:
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    joined = b"".join(field(part) for pair in pairs for part in pair)
    return struct.pack(">H", len(pairs)) + joined if pairs else b""


@dataclasses.dataclass(frozen=True)
class Second:
    """A message to write. `numbers` replaces the sequence numbers, `commitment` the right commitment."""

    data_key: bytes
    message_id: bytes
    arn: str
    wrapped: bytes
    context: Mapping[str, str] = dataclasses.field(default_factory=dict)
    frame_length: int = 128
    commitment: bytes | None = None
    serialized_context: bytes | None = None

    def derived(self, label: bytes) -> bytes:
        return HKDF(SHA512(), 32, self.message_id, label).derive(self.data_key)

    def header(self) -> bytes:
        pairs = context_of(self.context) if self.serialized_context is None else self.serialized_context
        head = b"\x02" + SUITE + self.message_id + field(pairs) + b"\0\1"
        head += field(b"aws-kms") + field(self.arn.encode()) + field(self.wrapped)
        head += b"\x02" + struct.pack(">I", self.frame_length) + (self.commitment or self.derived(b"COMMITKEY"))
        return head + AESGCM(self.derived(SUITE + b"DERIVEKEY")).encrypt(bytes(12), b"", head)

    def frame(self, number: int, content: bytes, final: bool, nonce: bytes | None = None) -> bytes:
        kind = b"AWSKMSEncryptionClient Final Frame" if final else b"AWSKMSEncryptionClient Frame"
        nonce = nonce or bytes(8) + struct.pack(">I", number)
        associated = self.message_id + kind + struct.pack(">IQ", number, len(content))
        sealed = AESGCM(self.derived(SUITE + b"DERIVEKEY")).encrypt(nonce, content, associated)
        if final:
            return struct.pack(">II", FINAL, number) + nonce + struct.pack(">I", len(content)) + sealed
        return struct.pack(">I", number) + nonce + sealed

    def frames(self, plaintext: bytes) -> list[bytes]:
        whole = max(len(plaintext) - 1, 0) // self.frame_length
        parts = [plaintext[i * self.frame_length : (i + 1) * self.frame_length] for i in range(whole + 1)]
        return [self.frame(i + 1, part, i == whole) for i, part in enumerate(parts)]

    def message(self, plaintext: bytes) -> bytes:
        return self.header() + b"".join(self.frames(plaintext))
