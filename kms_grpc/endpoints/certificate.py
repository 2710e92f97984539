"""A server's certificate and its private key, read from their files and judged. It knows no gRPC.

Both are PEM: the certificate (RFC 5280) with those that lead to its CA behind it, and the key in PKCS #8 or its older
forms, without a passphrase. What no client could verify is refused: clients of gRPC take RSA from 2,048 bits and the
curves P-256 and P-384, and look for the server's name in subjectAltName alone (RFC 9525).
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
"""A group may read the key, as a service's own group does."""


@dataclass(frozen=True, slots=True)
class Certified:
    """A pair that fits together, as it was read."""

    chain: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    """What the certificate is good for: DNS names (`*.example.com` too) and IP addresses."""
    expires: datetime
    """When the first of the chain does."""


def read(files: Tls, now: datetime) -> Certified:
    """The pair. ConfigurationError, with the file, what is wrong with it, and the way out."""
    chain, key = _read_certificate(files.certificate_file), _read_key(files.key_file)
    certificates = _parse_chain(files.certificate_file, chain)
    _require_belonging(files, certificates[0], _public_key(files.key_file, key))
    for certificate in certificates:
        _require_valid(files.certificate_file, certificate, now)
    names = tuple(names_of(certificates[0]))
    if not names:
        _refuse(files.certificate_file, "names no host: let it be issued with DNS names or IPs in subjectAltName")
    return Certified(chain, key, names, min(one.not_valid_after_utc for one in certificates))


def names_of(certificate: x509.Certificate) -> Iterator[str]:
    """DNS names and IP addresses of its subjectAltName."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from found.get_values_for_type(x509.DNSName)
    yield from map(str, found.get_values_for_type(x509.IPAddress))


def identity(files: Tls) -> tuple[tuple[int, int, int, int], ...] | None:
    """Which files these are, and which state of them; links are followed. None where one of them is missing."""
    try:
        facts = [path.stat() for path in (files.certificate_file, files.key_file)]
    except OSError:
        return None
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in facts)


def _read_certificate(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(path, f"{error.strerror}; give the server's certificate")


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        _refuse(path, f"{error.strerror}; give the certificate's private key")
    if mode & OPEN_TO_OTHERS:
        _refuse(path, f"the private key is open to others (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
    return content


def _parse_chain(path: Path, chain: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain)
    except ValueError:
        _refuse(path, "holds no certificates in PEM form; give the server's own, then those that lead to its CA")


def _public_key(path: Path, key: bytes) -> bytes:
    """The public half, as SubjectPublicKeyInfo. No text of the parser's goes on: it might tell of the key."""
    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        _refuse(path, "the private key has a passphrase; give it without: openssl pkey -in FILE -out FILE")
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, "holds no private key in PEM form that can be read")
    by_rsa = isinstance(private, rsa.RSAPrivateKey) and private.key_size >= RSA_BITS_LEAST
    if not by_rsa and not (isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, CURVES)):
        _refuse(path, "no client takes such a key: have one of RSA (2,048 bits or more), P-256 or P-384 certified")
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _require_belonging(files: Tls, certificate: x509.Certificate, public: bytes) -> None:
    try:
        certified = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        certified = b""
    if certified != public:
        _refuse(
            files.key_file,
            f"is not the key of the first certificate in {files.certificate_file}; give the two that belong together, "
            "the server's own certificate first",
        )


def _require_valid(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    subject = certificate.subject.rfc4514_string() or "the certificate"
    if now > until:
        _refuse(path, f"{subject} expired on {until:%Y-%m-%dT%H:%M:%SZ}; let a new one be issued")
    if now < since:
        _refuse(path, f"{subject} is valid from {since:%Y-%m-%dT%H:%M:%SZ} on: wait, or look at this machine's clock")


def _refuse(path: Path, why: str) -> NoReturn:
    raise ConfigurationError(f"tls: {path}: {why}")
