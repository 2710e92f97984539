"""A CA for tests, which issues valid and invalid certificates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from kms_grpc.config import Tls

DAY = timedelta(days=1)
NAMES = ("localhost", "kms.test", "127.0.0.1")


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def alternative(names: Sequence[str]) -> x509.SubjectAlternativeName:
    ips = [name for name in names if name[0].isdigit()]
    dns: list[x509.GeneralName] = [x509.DNSName(name) for name in names if name not in ips]
    return x509.SubjectAlternativeName([*dns, *(x509.IPAddress(ip_address(ip)) for ip in ips)])


def in_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    return pem


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Authority:
    """A certificate authority. `pair` returns a certificate and its private key, both in PEM."""

    key: Any = field(default_factory=ec_key)
    name: x509.Name = field(default_factory=lambda: named("CA of the tests"))

    @property
    def pem(self) -> bytes:
        return self._signed(self.name, self.key, [x509.BasicConstraints(True, None)], -DAY, DAY)

    def pair(
        self, names: Sequence[str] = NAMES, key: Any = None, since: timedelta = -DAY, until: timedelta = DAY
    ) -> tuple[bytes, bytes]:
        key = key or ec_key()
        extensions = [alternative(names)] if names else []
        return self._signed(named("server"), key, extensions, since, until), in_pem(key)

    def client(
        self, *names: x509.GeneralName, subject: x509.Name | None = None, until: timedelta = DAY
    ) -> tuple[bytes, bytes]:
        """Returns a certificate with these names in subjectAltName, and its key, both in PEM."""
        key = ec_key()
        extensions = [x509.SubjectAlternativeName(names)] if names else []
        subject = x509.Name([]) if subject is None else subject
        return self._signed(subject, key, extensions, -DAY, until), in_pem(key)

    def _signed(self, subject: x509.Name, key: Any, extensions: Sequence[Any], since: Any, until: Any) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + since)
        builder = builder.not_valid_after(now + until)
        for extension in extensions:
            builder = builder.add_extension(extension, isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def lay(folder: Path, certificate: bytes | None, key: bytes | None, mode: int = 0o600) -> Tls:
    """Writes certificate and key under their usual names, each by a rename. None removes the file."""
    files = Tls(folder / "server.pem", folder / "server.key")
    for path, content in ((files.certificate_file, certificate), (files.key_file, key)):
        path.unlink(missing_ok=True)
        if content is not None:
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.chmod(mode)
            os.replace(new, path)
    return files
