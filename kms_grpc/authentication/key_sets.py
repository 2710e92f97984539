"""Sets of public keys that verify assertions (JSON Web Key Set, RFC 7517).

Of a set, those keys are used that fit one of the four algorithms. Others are skipped, as RFC 7517 §5 asks for: keys of
unknown types, for encryption, with private members, RSA keys of less than 2,048 bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RSA_BITS_LEAST: Final = 2048
KEYS_LIMIT: Final = 100
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_OF_KIND: Final = {("RSA", None): ("RS256", "PS256"), ("EC", "P-256"): ("ES256",), ("OKP", "Ed25519"): ("EdDSA",)}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})


class Unusable(Exception):
    """A text is no key set, or has no key that can be used. The text says why, without any of the keys."""


class KeySet(NamedTuple):
    """The keys of an issuer by key id and algorithm. Two sets are the same if they were read from equal texts."""

    keys: dict[tuple[str | None, str], tuple[jwt.PyJWK, ...]]
    text: str

    def find(self, kid: str | None, algorithm: str) -> tuple[jwt.PyJWK, ...]:
        """Returns the keys for a header. A header without key id means the set's only key for its algorithm."""
        if kid is not None:
            return self.keys.get((kid, algorithm), ())
        found = [key for (_, named), keys in self.keys.items() if named == algorithm for key in keys]
        return tuple(found) if len(found) == 1 else ()


NO_KEYS: Final = KeySet({}, "")


def parse(text: str) -> KeySet:
    """Returns a key set. Raises Unusable."""
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise Unusable("it is no JSON Web Key Set") from None
    if not isinstance(entries, list):
        raise Unusable("it is no JSON Web Key Set")
    keys: dict[tuple[str | None, str], tuple[jwt.PyJWK, ...]] = {}
    for entry in entries[:KEYS_LIMIT]:
        for place, key in _usable(entry):
            keys[place] = (*keys.get(place, ()), key)
    if not keys:
        raise Unusable("it has no key for RS256, PS256, ES256 or EdDSA")
    return KeySet(keys, text)


def _usable(entry: Any) -> Iterator[tuple[tuple[str | None, str], jwt.PyJWK]]:
    if not isinstance(entry, dict) or not _PRIVATE.isdisjoint(entry) or entry.get("use", "sig") != "sig":
        return
    operations, kid, stated = entry.get("key_ops", ["verify"]), entry.get("kid"), entry.get("alg")
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(kid, str | None):
        return
    kind, curve = entry.get("kty"), entry.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return
    for algorithm in _OF_KIND.get((kind, curve), ()):
        if stated in (None, algorithm):
            try:
                key = jwt.PyJWK(entry, algorithm)
            except Exception:  # noqa: S112 - PyJWT and cryptography raise many kinds for a key that is none
                continue
            if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= RSA_BITS_LEAST:
                yield (kid, algorithm), key
