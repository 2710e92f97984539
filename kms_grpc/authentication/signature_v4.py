"""Verification of AWS Signature Version 4: finds the principal whose access key has signed a request.

    string to sign = "AWS4-HMAC-SHA256" · x-amz-date · scope · hex(SHA-256(canonical request))
    canonical request = method · path · query · each signed header · their names · hex(SHA-256(body))

The digest is always computed over the body; the value of `x-amz-content-sha256` must be the same. Signatures are
compared in constant time, and the refusal of a wrong signature reveals nothing about the right one. Texts are AWS's,
except for forms of signing that AWS accepts and this service does not.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from kms_grpc.authentication.credentials import Credentials, SignedRequest
from kms_grpc.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    KMSError,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kms_grpc.model.principal import Principal

ALGORITHM: Final = b"AWS4-HMAC-SHA256"
SERVICE: Final = b"kms"
TERMINATOR: Final = b"aws4_request"
SKEW_SECONDS: Final = 300
MUST_BE_SIGNED: Final = (b"host", b"content-type", b"x-amz-date", b"x-amz-target")
_PARAMETER: Final = re.compile(rb"(Credential|SignedHeaders)=([^,\s]+)")
_MOMENT: Final = re.compile(rb"([12]\d{3})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3])([0-5]\d)([0-5]\d)Z")

MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key"
    " and signing method. Consult the service documentation for details."
)
UNKNOWN: Final = "The security token included in the request is invalid."


class Signer(NamedTuple):
    """The principal of an access key, and the signing keys derived from the secret."""

    principal: Principal
    signing_key: Callable[[bytes, bytes], bytes]
    """Maps (date, region) to a signing key of 32 bytes."""


class Signers(Protocol):
    """Finds the signer of a request by its access key id."""

    def find(self, access_key_id: str) -> Signer | None: ...

    def find_warm(self, access_key_id: str) -> Signer | None:
        """Returns the signer without reading from disk; None if the disk is needed."""


class FixedSigners:
    """Signers whose secrets are given at start as (access key id, secret, principal)."""

    def __init__(self, known: Iterable[tuple[str, str, Principal]]) -> None:
        self._signers = {
            access_key_id: Signer(principal, lru_cache(16)(partial(derive_signing_key, secret.encode())))
            for access_key_id, secret, principal in known
        }

    def find(self, access_key_id: str) -> Signer | None:
        """See Signers."""
        return self._signers.get(access_key_id)

    find_warm = find


class Scope(NamedTuple):
    """The content of an Authorization header without the signature."""

    access_key_id: str
    date: bytes
    region: bytes
    service: bytes
    terminator: bytes
    signed_headers: bytes
    names: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        return b"/".join((self.date, self.region, self.service, self.terminator))


class SignatureV4:
    """Implements base.Authentication. A request may differ from the clock `wall_ns` by at most SKEW_SECONDS."""

    def __init__(self, signers: Signers, wall_ns: Callable[[], int]) -> None:
        self._signers = signers
        self._wall_ns = wall_ns

    def principal(self, credentials: Credentials) -> Principal:
        """Raises MissingAuthenticationTokenException, IncompleteSignatureException, UnrecognizedClientException,
        InvalidSignatureException."""
        return self._verified(credentials, self._signers.find)

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        try:
            return self._verified(credentials, self._signers.find_warm)
        except KMSError:
            return None

    def _verified(self, credentials: Credentials, find: Callable[[str], Signer | None]) -> Principal:
        request = credentials.signed
        assert request is not None
        _refuse_other_forms(request)
        stated, _, signature = request.headers[b"authorization"].partition(b"Signature=")
        scope = read_scope(stated, bool(signature))
        moment = _check_headers(request, scope)
        _check_scope(scope, moment)
        _check_moment(moment, self._wall_ns() // 10**9)
        signer = find(scope.access_key_id)
        if signer is None:
            raise UnrecognizedClientException(UNKNOWN)
        expected = signature_of(signer.signing_key(scope.date, scope.region), request, scope, moment)
        if not hmac.compare_digest(expected, signature):
            raise InvalidSignatureException(MISMATCH)
        return signer.principal


def called_region(request: SignedRequest) -> str | None:
    """Returns the region of the scope, if there is one. It is not proven until the signature is verified."""
    stated = request.headers.get(b"authorization", b"").partition(b"Signature=")[0]
    try:
        return read_scope(stated, True).region.decode("ascii", "replace")
    except KMSError:
        return None


def derive_signing_key(secret: bytes, date: bytes, region: bytes) -> bytes:
    """Returns the signing key for one day and region, 32 bytes."""
    key = hmac.digest(b"AWS4" + secret, date, "sha256")
    for part in (region, SERVICE, TERMINATOR):
        key = hmac.digest(key, part, "sha256")
    return key


def signature_of(signing_key: bytes, request: SignedRequest, scope: Scope, moment: bytes) -> bytes:
    """Returns the signature, 64 hexadecimal digits."""
    digest = hashlib.sha256(canonical_request(request, scope)).hexdigest().encode()
    text = b"\n".join((ALGORITHM, moment, scope.text, digest))
    return hmac.digest(signing_key, text, "sha256").hex().encode()


def canonical_request(request: SignedRequest, scope: Scope) -> bytes:
    """Returns the canonical request, whose digest is signed."""
    headers = request.headers
    lines = [name + b":" + b" ".join(headers[name].split()) for name in scope.names]
    return b"\n".join(
        (
            request.method,
            canonical_path(request.path),
            canonical_query(request.query) if request.query else b"",
            *lines,
            b"",
            scope.signed_headers,
            hashlib.sha256(request.body).hexdigest().encode(),
        )
    )


@lru_cache(64)
def canonical_path(path: bytes) -> bytes:
    """Returns the path without `.`, `..` and empty segments, percent-encoded a second time, as AWS prescribes."""
    if path in (b"", b"/"):
        return b"/"
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    closing = b"/" if kept and path.endswith(b"/") else b""
    return quote(b"/" + b"/".join(kept) + closing, safe="/~").encode()


def canonical_query(query: bytes) -> bytes:
    """Returns the parameters as they are in the URL, sorted by name and value."""
    pairs = sorted(pair.partition(b"=")[::2] for pair in query.split(b"&"))
    return b"&".join(name + b"=" + value for name, value in pairs)


@lru_cache(1024)
def read_scope(stated: bytes, is_signed: bool) -> Scope:
    """Parses an Authorization header up to the signature. Cached, since all calls of a client on one day send the same.
    Raises IncompleteSignatureException."""
    given = dict(_PARAMETER.findall(stated))
    there = {"Credential": b"Credential" in given, "Signature": is_signed, "SignedHeaders": b"SignedHeaders" in given}
    if not all(there.values()):
        missing = (name for name, is_there in there.items() if not is_there)
        raise IncompleteSignatureException(
            " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        )
    parts = given[b"Credential"].split(b"/")
    if len(parts) != 5:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    signed = given[b"SignedHeaders"]
    access_key_id, date, region, service, terminator = parts
    names = tuple(signed.split(b";"))
    return Scope(access_key_id.decode("latin-1"), date, region, service, terminator, signed, names)


def _refuse_other_forms(request: SignedRequest) -> None:
    header = request.headers.get(b"authorization")
    if b"X-Amz-Signature=" in request.query or b"X-Amz-Algorithm=" in request.query:
        raise IncompleteSignatureException("Presigned URLs are not supported: sign the request in its headers.")
    if header is None:
        raise MissingAuthenticationTokenException("Missing Authentication Token")
    algorithm = header.partition(b" ")[0]
    if algorithm.startswith(b"AWS4-ECDSA-P256-SHA256"):
        raise IncompleteSignatureException(
            "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not supported: sign with AWS4-HMAC-SHA256."
        )
    if algorithm != ALGORITHM:
        raise IncompleteSignatureException("Authorization header must begin with AWS4-HMAC-SHA256.")
    if b"x-amz-security-token" in request.headers:
        raise UnrecognizedClientException(
            "Session tokens are not supported: sign with an access key alone, without x-amz-security-token."
        )


def _check_headers(request: SignedRequest, scope: Scope) -> bytes:
    """Checks that all headers that must be signed are; returns x-amz-date."""
    moment = request.headers.get(b"x-amz-date")
    if moment is None:
        raise IncompleteSignatureException("Authorization header requires existence of a 'X-Amz-Date' header.")
    if not _MOMENT.fullmatch(moment):
        raise IncompleteSignatureException("Date must be in ISO-8601 'basic format', e.g. 20260131T120000Z.")
    for name in scope.names:
        if name not in request.headers:
            raise InvalidSignatureException(MISMATCH)
    for name in (*MUST_BE_SIGNED, *(name for name in request.headers if name.startswith(b"x-amz-"))):
        if name not in scope.names:
            raise InvalidSignatureException(f"'{name.decode()}' must be a 'SignedHeader' in the AWS Authorization.")
    return moment


def _check_scope(scope: Scope, moment: bytes) -> None:
    if scope.service != SERVICE:
        raise InvalidSignatureException("Credential should be scoped to correct service: 'kms'.")
    if scope.terminator != TERMINATOR:
        raise InvalidSignatureException("Credential should be scoped with a valid terminator: 'aws4_request'.")
    if scope.date != moment[:8]:
        raise InvalidSignatureException(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
        )


def _check_moment(moment: bytes, now: int) -> None:
    signed = _seconds(moment)
    if now - signed > SKEW_SECONDS:
        bound, current = _text(now - SKEW_SECONDS), _text(now)
        raise InvalidSignatureException(
            f"Signature expired: {moment.decode()} is now earlier than {bound} ({current} - 5 min.)"
        )
    if signed - now > SKEW_SECONDS:
        bound, current = _text(now + SKEW_SECONDS), _text(now)
        raise InvalidSignatureException(
            f"Signature not yet current: {moment.decode()} is still later than {bound} ({current} + 5 min.)"
        )


@lru_cache(64)
def _seconds(moment: bytes) -> int:
    found = _MOMENT.fullmatch(moment)
    assert found is not None
    return calendar.timegm(tuple(map(int, found.groups())))


def _text(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
