"""Issuers of assertions for tests: keys, key sets and tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = 1_796_000_000
ISSUER, AUDIENCE = "https://cluster.example.com", "kms"
RSA, SMALL_RSA = (rsa.generate_private_key(65537, bits) for bits in (2048, 1024))
EC = ec.generate_private_key(ec.SECP256R1())
ED, OTHER_ED = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
_FORMS: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}


def jwk(key: Any, kid: str | None = None, *, private: bool = False, **more: Any) -> dict[str, Any]:
    """Returns a key as an entry of a key set."""
    form = next((form for kind, form in _FORMS.items() if isinstance(key, kind)), OKPAlgorithm)
    entry = form.to_jwk(key if private else key.public_key(), as_dict=True)
    entry.pop("key_ops", None)
    return entry | ({"kid": kid} if kid else {}) | more


def key_set(*entries: dict[str, Any]) -> str:
    return json.dumps({"keys": list(entries)})


def claims(**changes: Any) -> dict[str, Any]:
    """Returns good claims with changes; None leaves a claim out."""
    good = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "system:serviceaccount:orders:api", "iat": NOW - 10, "exp": NOW + 600,
    }  # fmt: skip
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: Any = ED, algorithm: str = "EdDSA", header: dict[str, Any] | None = None, **changes: Any) -> str:
    headers = {name: value for name, value in ({"kid": "one"} | (header or {})).items() if value is not None}
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def signed_text(header: str, body: str, key: ed25519.Ed25519PrivateKey = ED) -> str:
    """Returns an assertion with these very texts, signed by EdDSA."""
    parts = b".".join(base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in (header, body))
    return (parts + b"." + base64.urlsafe_b64encode(key.sign(parts)).rstrip(b"=")).decode()
