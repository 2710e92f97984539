"""The forms in which a secret could lie somewhere: itself, in hex, and in base64 at each of its three alignments."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

URL_SAFE = bytes.maketrans(b"+/", b"-_")


def forms(secret: bytes) -> set[bytes]:
    """Of base64 the part that does not depend on what stands before and behind the secret."""
    aligned = [base64.b64encode(bytes(shift) + secret)[4 * (shift > 0) : -4] for shift in range(3)]
    in_base64 = {*aligned, *(text.translate(URL_SAFE) for text in aligned)}
    return {secret, secret.hex().encode(), secret.hex().upper().encode(), *in_base64}


def found(text: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of the secrets that are in `text`, in whatever form."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


def all_found(texts: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[str]:
    return [f"{name} in {where}" for where, text in texts for name in found(text, secrets)]
