"""HTTP answers as bytes: head and body in one piece.

Header names are case-insensitive (RFC 9110 §5.1), but a widely used client in C compares `Content-Length` with its
case; so header names go out as AWS spells them.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from kms_grpc.audit.record import new_id

JSON_1_1: Final = b"application/x-amz-json-1.1"
TEXT: Final = b"text/plain"
_STATUS: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\nDate: ".encode() for each in HTTPStatus}


class Answers:
    """Makes the answers of one worker."""

    def __init__(self, worker: bytes) -> None:
        self._last = b"\r\nkms-worker: " + worker + b"\r\n"
        self._second, self._date = 0, b""

    def answer(
        self,
        status: int,
        body: bytes,
        request_id: bytes,
        keep_alive: bool,
        kind: bytes = JSON_1_1,
        *,
        is_head: bool = False,
    ) -> bytes:
        """Returns an answer as bytes. Without `keep_alive` it ends the connection; with `is_head` it has no body."""
        return b"".join(
            (
                _STATUS[status], self.date(), b"\r\nx-amzn-RequestId: ", request_id,
                b"\r\nContent-Type: ", kind, b"\r\nContent-Length: ", b"%d" % len(body), self._last,
                b"\r\n" if keep_alive else b"Connection: close\r\n\r\n", b"" if is_head else body,
            )
        )  # fmt: skip

    def refusal(self, status: int, text: str) -> bytes:
        """Returns the answer to bytes that are not a request. The connection ends with it."""
        body = text.encode("ascii")
        return b"".join(
            (
                _STATUS[status], self.date(), b"\r\nx-amzn-RequestId: ", new_id().encode(),
                b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ", b"%d" % len(body),
                b"\r\nConnection: close\r\n\r\n", body,
            )
        )  # fmt: skip

    def date(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second, self._date = now, formatdate(now, usegmt=True).encode()
        return self._date
