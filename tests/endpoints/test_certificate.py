"""Checks of the server's certificate and key: an error names the file, the fault and the remedy."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from kms_grpc.configuration_error import ConfigurationError
from kms_grpc.endpoints import certificate
from tests.certificates import DAY, NAMES, Authority, ec_key, in_pem, lay, rsa_key

CA = Authority()
CERTIFICATE, KEY = CA.pair()
Pair = tuple[bytes | None, bytes | None]


def cut(pem: bytes) -> bytes:
    """Returns the first half, as of a file that is still being written."""
    return pem[: len(pem) // 2]


@pytest.mark.parametrize(
    ("certificate_pem", "key_pem", "file", "says"),
    [
        (None, KEY, "server.pem", "No such file or directory; name the file with the server's certificate"),
        (
            CERTIFICATE,
            None,
            "server.key",
            "No such file or directory; name the file with the certificate's private key",
        ),
        (b"", KEY, "server.pem", "contains no certificates in PEM format"),
        (cut(CERTIFICATE), KEY, "server.pem", "contains no certificates in PEM format"),
        (KEY, CERTIFICATE, "server.pem", "contains no certificates in PEM format"),  # swapped
        (CERTIFICATE, cut(KEY), "server.key", "contains no readable private key"),
        (CERTIFICATE, b"", "server.key", "contains no readable private key"),
        (CERTIFICATE, in_pem(ec_key(), b"secret"), "server.key", "has a passphrase; remove it"),
        (CERTIFICATE, CA.pair()[1], "server.key", "is not the key of the first certificate in"),
        (CA.pem + CERTIFICATE, KEY, "server.key", "the server's own certificate first"),  # the chain in the wrong order
        (*CA.pair(until=-DAY / 2), "server.pem", "expired on 20"),
        (*CA.pair(since=DAY / 2), "server.pem", "is valid from 20"),
        (CERTIFICATE + CA.pair(until=-DAY / 2)[0], KEY, "server.pem", "expired on 20"),  # an intermediate certificate
        (*CA.pair(names=()), "server.pem", "names no host"),
        (*CA.pair(key=rsa_key(1024)), "server.key", "no client accepts this type of key"),
        (*CA.pair(key=ec.generate_private_key(ec.SECP521R1())), "server.key", "no client accepts this type of key"),
        (*CA.pair(key=ed25519.Ed25519PrivateKey.generate()), "server.key", "no client accepts this type of key"),
    ],
    ids=itertools.count(1),
)
def test_invalid_pairs(
    certificate_pem: bytes | None, key_pem: bytes | None, file: str, says: str, tmp_path: Path
) -> None:
    files = lay(tmp_path, certificate_pem, key_pem)
    with pytest.raises(ConfigurationError) as refused:
        certificate.read(files, datetime.now(UTC))
    text = str(refused.value)
    assert text.startswith(f"tls: {tmp_path / file}: ")
    assert says in text
    assert "PRIVATE KEY" not in text and "\n" not in text


@pytest.mark.parametrize(
    "pair",
    [
        CA.pair(),
        CA.pair(key=rsa_key(2048)),
        CA.pair(key=ec.generate_private_key(ec.SECP384R1())),
        (CERTIFICATE + CA.pem, KEY),  # with intermediate certificates
    ],
    ids=["P-256", "RSA", "P-384", "chain"],
)
def test_valid_pairs(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    found = certificate.read(lay(tmp_path, *pair), datetime.now(UTC))
    assert (found.chain, found.key, found.names) == (*pair, NAMES)
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize(
    ("mode", "taken"),
    [
        (0o600, True),
        (0o640, True),  # readable by a group, as Debian's ssl-cert or a mounted secret
        (0o644, False),
        (0o601, False),
        (0o660, False),  # a group that may write could replace the key
    ],
)
def test_permissions_of_the_key_file(mode: int, taken: bool, tmp_path: Path) -> None:
    files = lay(tmp_path, CERTIFICATE, KEY, mode)
    if taken:
        certificate.read(files, datetime.now(UTC))
        return
    with pytest.raises(
        ConfigurationError, match=rf"other users can access the private key \(mode {mode:04o}\): chmod 600 it"
    ):
        certificate.read(files, datetime.now(UTC))


def test_the_earliest_expiry_of_the_chain_counts(tmp_path: Path) -> None:
    found = certificate.read(lay(tmp_path, CERTIFICATE + CA.pair(until=DAY / 2)[0], KEY), datetime.now(UTC))
    assert found.expires < datetime.now(UTC) + DAY * 0.75
