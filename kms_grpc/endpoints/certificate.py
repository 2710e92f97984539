"""The server's certificate and private key, read from their files and checked.

Both files are PEM. The certificate (RFC 5280) is followed by the intermediate certificates that lead to its CA. The key
is in PKCS #8 or a traditional format, without a passphrase. A pair that no client could verify is rejected: gRPC
clients accept RSA keys from 2,048 bits and the curves P-256 and P-384, and look for the server's name in subjectAltName
only (RFC 9525).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from kms_grpc.config import ConfigurationError, Tls

RSA_BITS_LEAST: Final = 2048
CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
OPEN_TO_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
"""Permission bits that a key file must not have. A group may read it, as the group of a service does."""


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate chain and the matching private key, as read from their files."""

    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    """DNS names, possibly wildcards (`*.example.com`), and IP addresses of the certificate."""
    expires: datetime
    """The earliest time at which a certificate of the chain expires."""


def read(files: Tls, now: datetime) -> CertifiedKey:
    """Returns the pair. Raises ConfigurationError naming the file, the fault and the remedy."""
    chain, key = _read_certificate(files.certificate_file), _read_key(files.key_file)
    certificates = _parse_chain(files.certificate_file, chain)
    _require_belonging(files, certificates[0], _public_key(files.key_file, key))
    for certificate in certificates:
        _require_valid(files.certificate_file, certificate, now)
    names = tuple(names_of(certificates[0]))
    if not names:
        _refuse(
            files.certificate_file, "names no host: have it issued with DNS names or IP addresses in subjectAltName"
        )
    return CertifiedKey(chain, key, names, min(one.not_valid_after_utc for one in certificates))


def names_of(certificate: x509.Certificate) -> Iterator[str]:
    """Yields the DNS names and IP addresses in the certificate's subjectAltName."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from found.get_values_for_type(x509.DNSName)
    yield from map(str, found.get_values_for_type(x509.IPAddress))


def identity(files: Tls) -> tuple[tuple[int, int, int, int], ...] | None:
    """Returns device, inode, size and mtime of both files, which change when a file is replaced or rewritten.

    Follows symbolic links. None if a file is missing.
    """
    try:
        facts = [path.stat() for path in (files.certificate_file, files.key_file)]
    except OSError:
        return None
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in facts)


def _read_certificate(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(path, f"{error.strerror}; name the file with the server's certificate")


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        _refuse(path, f"{error.strerror}; name the file with the certificate's private key")
    if mode & OPEN_TO_OTHERS:
        _refuse(path, f"other users can access the private key (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
    return content


def _parse_chain(path: Path, chain: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError:
        _refuse(path, "contains no certificates in PEM format; put the server's own first, then the intermediate ones")


def _public_key(path: Path, key: bytes) -> bytes:
    """Returns the public key as SubjectPublicKeyInfo. Drops the parser's error texts, which might reveal the key."""
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        _refuse(path, "the private key has a passphrase; remove it: openssl pkey -in FILE -out FILE")
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, "contains no readable private key in PEM format")
    by_rsa = isinstance(private, rsa.RSAPrivateKey) and private.key_size >= RSA_BITS_LEAST
    if not by_rsa and not (isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, CURVES)):
        _refuse(path, "no client accepts this type of key: use RSA (2,048 bits or more), P-256 or P-384")
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _require_belonging(files: Tls, certificate: x509.Certificate, public: bytes) -> None:
    try:
        certified = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        certified = b""
    if certified != public:
        _refuse(
            files.key_file,
            f"is not the key of the first certificate in {files.certificate_file}; use a matching pair, with "
            "the server's own certificate first in its file",
        )


def _require_valid(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    subject = certificate.subject.rfc4514_string() or "the certificate"
    if now > until:
        _refuse(path, f"{subject} expired on {until:%Y-%m-%dT%H:%M:%SZ}; have a new one issued")
    if now < since:
        _refuse(path, f"{subject} is valid from {since:%Y-%m-%dT%H:%M:%SZ}: wait, or check this machine's clock")


def _refuse(path: Path, why: str) -> NoReturn:
    raise ConfigurationError(f"tls: {path}: {why}")
