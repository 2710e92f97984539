"""Authentication by client certificates, whose names mean a principal.

TLS has verified that the caller has the certificate's key. Each call asks again whether the certificate is valid now,
and signed by a CA of the bundle that its rule names: other bundles vouch for nobody else. Kinds of names are never
mixed, and a subject is never taken apart as a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from kms_grpc.authentication.bearer_tokens import Holder
from kms_grpc.authentication.mappings import Mappings
from kms_grpc.authentication.moments import iso_time
from kms_grpc.configured_files import NamedFiles
from kms_grpc.errors import ExpiredTokenException, UnrecognizedClientException
from kms_grpc.issuer_settings import BundleSettings, MappingSettings
from kms_grpc.misfits import ConfigurationError
from kms_grpc.model.principal import Principal

NOBODY: Final = "The client certificate means no caller."
SPIFFE_ID: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")
"""A SPIFFE id with a path: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md §2."""
SPIFFE_LENGTH: Final = 2048
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?(?=-----BEGIN |\Z)", re.DOTALL)
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .@_:/()'-]+")
"""A value of a subject that cannot be mistaken for two."""
_MET: Final = 4096


class Bundle(NamedTuple):
    """The CAs of a bundle, and the rules about certificates that they have signed."""

    pem: str
    authorities: Sequence[x509.Certificate]
    mappings: Mappings

    def vouches_for(self, certificate: x509.Certificate, now_ns: int) -> bool:
        """Returns whether a CA that is valid now has signed the certificate."""
        return any(_is_valid(one, now_ns) and _has_signed(one, certificate) for one in self.authorities)


class Certificates:
    """The bundles and rules of a configuration. `wall_ns` gives the time."""

    def __init__(self, bundles: Iterable[Bundle], wall_ns: Callable[[], int]) -> None:
        self._bundles = tuple(bundles)
        self._wall_ns = wall_ns
        self._met: dict[bytes, Holder] = {}
        """Holders of certificates that have called."""
        self.pem = "\n".join(one.pem for one in self._bundles)
        """All CAs, for handshakes."""

    def principal(self, der: bytes) -> Principal:
        """Returns the principal that a certificate means. Raises UnrecognizedClientException and ExpiredTokenException.
        `der` should be the same object for all calls of a connection, whose look-up is faster then."""
        found = self.warm_principal(der)
        return self._judged(der) if found is None else found

    def warm_principal(self, der: bytes) -> Principal | None:
        """Returns the principal of a certificate that was judged before."""
        met = self._met.get(der)
        return met.principal if met is not None and met.holds(self._wall_ns()) else None

    def _judged(self, der: bytes) -> Principal:
        now_ns = self._wall_ns()
        try:
            certificate = x509.load_der_x509_certificate(der)
            _require_time(certificate, now_ns)
            names = names_of(certificate)
        except ValueError:
            raise UnrecognizedClientException(NOBODY) from None
        for bundle in self._bundles:
            if bundle.vouches_for(certificate, now_ns):
                principal = bundle.mappings.principal(names)
                if principal is not None:
                    return self._keep(der, certificate, bundle, principal)
        raise UnrecognizedClientException(NOBODY)

    def _keep(self, der: bytes, certificate: x509.Certificate, bundle: Bundle, principal: Principal) -> Principal:
        ends = [_end_ns(one) for one in bundle.authorities if _has_signed(one, certificate)]
        if len(self._met) >= _MET:
            self._met.clear()
        self._met[der] = Holder(principal, None, min(_end_ns(certificate), *ends))
        return principal


def certificates_of(
    bundles: Iterable[BundleSettings],
    mappings: Sequence[MappingSettings],
    files: NamedFiles,
    wall_ns: Callable[[], int],
) -> Certificates:
    """Returns the certificates that settings describe. Raises ConfigurationError with the place of a damaged block."""
    made = []
    for one in bundles:
        pem, authorities = read_bundle(one, files)
        made.append(Bundle(pem, authorities, Mappings(rule for rule in mappings if rule.bundle == one.name)))
    return Certificates(made, wall_ns)


def read_bundle(settings: BundleSettings, files: NamedFiles) -> tuple[str, list[x509.Certificate]]:
    """Returns text and CAs of a bundle. Raises ConfigurationError, also where one of several blocks is damaged."""
    place = f"client bundle {settings.name}: {settings.file}"
    try:
        text = files.text(settings.file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{place}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    found = []
    for number, block in enumerate(_PEM.findall(text), 1):
        try:
            one = x509.load_pem_x509_certificate(block.encode())
            is_authority = one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_authority = False
        except ValueError:
            raise ConfigurationError(f"{place}: certificate {number} is damaged") from None
        if not is_authority:
            raise ConfigurationError(f"{place}: certificate {number} is not that of a CA")
        found.append(one)
    if not found:
        raise ConfigurationError(f"{place}: it has no certificates in PEM format")
    return text, found


def namesakes(authorities: Sequence[x509.Certificate]) -> list[str]:
    """Returns the subjects that several CAs of a bundle share. Of those, TLS finds only the first one for certificates
    without authorityKeyIdentifier."""
    subjects = [one.subject.rfc4514_string() for one in authorities]
    return sorted({one for one in subjects if subjects.count(one) > 1})


def names_of(certificate: x509.Certificate) -> Mapping[str, str]:
    """Returns the names of a certificate by which rules know it: `spiffe`, `dns` and `subject`, each only where there
    is exactly one."""
    names: dict[str, str] = {}
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternative = x509.SubjectAlternativeName([])
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) == 1 and len(uris[0]) <= SPIFFE_LENGTH and SPIFFE_ID.fullmatch(uris[0]):
        names["spiffe"] = uris[0]
    hosts = alternative.get_values_for_type(x509.DNSName)
    if len(hosts) == 1:
        names["dns"] = hosts[0]
    subject = _subject(certificate.subject)
    return names | ({"subject": subject} if subject else {})


def _subject(name: x509.Name) -> str | None:
    """Returns a subject as `CN=orders,O=Acme`, the most specific part first, as RFC 4514 has it. None where a part is
    there twice, or has a character that could make two subjects look alike."""
    parts = [(attribute.rfc4514_attribute_name, attribute.value) for attribute in name]
    kinds = [kind for kind, _ in parts]
    plain = all(isinstance(value, str) and _PLAIN.fullmatch(value) for _, value in parts)
    if not parts or not plain or len(set(kinds)) < len(kinds) or len(name.rdns) < len(parts):
        return None
    return ",".join(f"{kind}={value!s}" for kind, value in reversed(parts))


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_valid(certificate: x509.Certificate, now_ns: int) -> bool:
    return certificate.not_valid_before_utc.timestamp() * 10**9 <= now_ns < _end_ns(certificate)


def _end_ns(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp()) * 10**9


def _require_time(certificate: x509.Certificate, now_ns: int) -> None:
    if now_ns >= _end_ns(certificate):
        raise ExpiredTokenException(f"The client certificate is expired: the server's time is {iso_time(now_ns)}.")
    if not _is_valid(certificate, now_ns):
        raise UnrecognizedClientException(
            f"The client certificate is not yet valid: the server's time is {iso_time(now_ns)}."
        )
