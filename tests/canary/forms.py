"""The encodings of a secret to search for: raw, hex, and base64 at each of its three alignments."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

URL_SAFE = bytes.maketrans(b"+/", b"-_")


def forms(secret: bytes) -> set[bytes]:
    """Returns all encodings; of base64 the part that does not depend on the bytes around the secret."""
    aligned = [base64.b64encode(bytes(shift) + secret)[4 * (shift > 0) : -4] for shift in range(3)]
    in_base64 = {*aligned, *(text.translate(URL_SAFE) for text in aligned)}
    return {secret, secret.hex().encode(), secret.hex().upper().encode(), *in_base64}


def found(text: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """Returns the names of the secrets that `text` contains in any encoding."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


def all_found(texts: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[str]:
    return [f"{name} in {where}" for where, text in texts for name in found(text, secrets)]
