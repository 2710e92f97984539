"""Verification of AWS Signature Version 4: finds the principal whose access key has signed a request.

    string to sign = "AWS4-HMAC-SHA256" · date · scope · hex(SHA-256(canonical request))
    canonical request = method · path · query · each signed header · their names · hex(SHA-256(body))

The headers that `SignedHeaders` names are verified. Those that protect a call must be among them: host, the date, the
operation, and every `x-amz-` header that is sent. AWS's SDKs differ in the others: some leave content-type unsigned.

The digest is always computed over the body; the value of `x-amz-content-sha256` must be the same. Signatures are
compared in constant time, and the refusal of a wrong signature reveals nothing about the right one. Texts are AWS's,
except for forms of signing that AWS accepts and this service does not.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from kms_grpc.authentication.credentials import Credentials, SignedRequest
from kms_grpc.authentication.signing_date import basic_format, date_header, seconds_of, text_of
from kms_grpc.authentication.signing_key import (
    SERVICE,
    TERMINATOR,
    SigningKey,
    SigningKeys,
    derive_signing_key,
    hex_digest,
)
from kms_grpc.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidSignatureException,
    KMSError,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kms_grpc.model.principal import Principal

ALGORITHM: Final = b"AWS4-HMAC-SHA256"
SKEW_SECONDS: Final = 300
MUST_BE_SIGNED: Final = (b"host", b"x-amz-target")
"""Headers that must be signed, beside the date and every `x-amz-` header that is sent."""
PARTS: Final = (b"Credential", b"Signature", b"SignedHeaders")
"""The parts of an Authorization header. They come in any order, between commas or spaces."""
_STATED: Final = re.compile(rb"(Credential|Signature|SignedHeaders)=([^,\s]+)")
_SEPARATOR: Final = re.compile(rb"[,\s]+")

MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key"
    " and signing method. Consult the service documentation for details."
)
UNKNOWN: Final = "The security token included in the request is invalid."
EXPIRED: Final = "The security token included in the request is expired"
SESSION_TOKEN: Final = b"x-amz-security-token"
"""The header of a session token. Like all of `x-amz-` it must be signed."""


class Signer(NamedTuple):
    """The principal of an access key, and the signing keys derived from the secret."""

    principal: Principal
    signing_key: Callable[[bytes, bytes], SigningKey]
    """Maps (date, region) to a signing key."""
    keep: Callable[[bytes, bytes, SigningKey], None]
    """Keeps the key of (date, region), which has verified a signature."""
    ends_ns: int | None = None
    """The first moment at which a temporary key is refused as expired, ns since 1970; None for a permanent one."""


class Signers(Protocol):
    """Finds the signer of a request by its access key id."""

    def find(self, access_key_id: str) -> Signer | None: ...

    def find_warm(self, access_key_id: str) -> Signer | None:
        """Returns the signer without reading from disk; None if the disk is needed."""


class SessionSigners(Protocol):
    """Finds the signer of a request by its temporary access key id and the session token that came with it."""

    def find(self, access_key_id: str, token: bytes) -> Signer | None: ...

    def find_warm(self, access_key_id: str, token: bytes) -> Signer | None:
        """Returns the signer of a token that was opened before."""


class NoSessions:
    """Implements SessionSigners where there are none."""

    def find(self, access_key_id: str, token: bytes) -> Signer | None:
        """See SessionSigners."""
        return None

    find_warm = find


class FixedSigners:
    """Signers whose secrets are given at start as (access key id, secret, principal)."""

    def __init__(self, known: Iterable[tuple[str, str, Principal]]) -> None:
        self._signers = {
            access_key_id: _fixed(secret.encode(), principal) for access_key_id, secret, principal in known
        }

    def find(self, access_key_id: str) -> Signer | None:
        """See Signers."""
        return self._signers.get(access_key_id)

    find_warm = find


def _fixed(secret: bytes, principal: Principal) -> Signer:
    keys = SigningKeys()

    def signing_key(date: bytes, region: bytes) -> SigningKey:
        return keys.find(date, region) or SigningKey(derive_signing_key(secret, date, region))

    return Signer(principal, signing_key, keys.keep)


class Scope(NamedTuple):
    """The content of an Authorization header without the signature."""

    access_key_id: str
    date: bytes
    region: bytes
    service: bytes
    terminator: bytes
    signed_headers: bytes
    names: tuple[bytes, ...]
    text: bytes
    """Date, region, service and terminator, as the signature covers them."""


NO_SESSIONS: Final = NoSessions()
FindSigner = Callable[[str], Signer | None]
FindSession = Callable[[str, bytes], Signer | None]


class SignatureV4:
    """Implements base.Authentication. A request may differ from the clock `wall_ns` by at most SKEW_SECONDS."""

    def __init__(self, signers: Signers, wall_ns: Callable[[], int], sessions: SessionSigners = NO_SESSIONS) -> None:
        self._signers, self._sessions = signers, sessions
        self._wall_ns = wall_ns

    def principal(self, credentials: Credentials) -> Principal:
        """Raises MissingAuthenticationTokenException, IncompleteSignatureException, UnrecognizedClientException,
        InvalidSignatureException, ExpiredTokenException."""
        return self._verified(credentials, self._signers.find, self._sessions.find)

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        try:
            return self._verified(credentials, self._signers.find_warm, self._sessions.find_warm)
        except KMSError:
            return None

    def _verified(self, credentials: Credentials, find: FindSigner, find_session: FindSession) -> Principal:
        request = credentials.signed
        assert request is not None
        _refuse_other_forms(request)
        stated, signature = without_signature(request.headers[b"authorization"])
        scope = read_scope(stated, bool(signature))
        moment = _check_headers(request, scope)
        _check_scope(scope, moment)
        _check_moment(moment, self._wall_ns() // 10**9)
        token = request.headers.get(SESSION_TOKEN)
        signer = find(scope.access_key_id) if token is None else find_session(scope.access_key_id, token)
        if signer is None:
            raise UnrecognizedClientException(UNKNOWN)
        key = signer.signing_key(scope.date, scope.region)
        if not hmac.compare_digest(signature_of(key, request, scope, moment), signature):
            raise InvalidSignatureException(MISMATCH)
        if signer.ends_ns is not None and self._wall_ns() >= signer.ends_ns:
            raise ExpiredTokenException(EXPIRED)
        signer.keep(scope.date, scope.region, key)
        _verified_scopes.keep(stated, scope)
        return signer.principal


def called_region(request: SignedRequest) -> str | None:
    """Returns the region of the scope, if there is one. It is not proven until the signature is verified."""
    stated, _ = without_signature(request.headers.get(b"authorization", b""))
    try:
        return read_scope(stated, True).region.decode("ascii", "replace")
    except KMSError:
        return None


def signature_of(signing_key: SigningKey, request: SignedRequest, scope: Scope, moment: bytes) -> bytes:
    """Returns the signature, 64 hexadecimal digits."""
    digest = hex_digest(canonical_request(request, scope))
    return signing_key.sign(b"\n".join((ALGORITHM, moment, scope.text, digest)))


def canonical_request(request: SignedRequest, scope: Scope) -> bytes:
    """Returns the canonical request, whose digest is signed."""
    headers = request.headers
    lines = [b"%b:%b" % (name, b" ".join(headers[name].split())) for name in scope.names]
    return b"\n".join(
        (
            request.method,
            canonical_path(request.path),
            canonical_query(request.query) if request.query else b"",
            *lines,
            b"",
            scope.signed_headers,
            hex_digest(request.body),
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


def without_signature(header: bytes) -> tuple[bytes, bytes]:
    """Returns an Authorization header without its signature, and the signature. The headers of a client's calls on one
    day differ in the signature alone."""
    before, _, after = header.partition(b"Signature=")
    if after.isalnum():
        return before, after  # the usual form, in which the signature is the last part
    signature, *rest = _SEPARATOR.split(after, 1)
    return before + rest[0] if rest else before, signature


class VerifiedScopes:
    """Scopes by the Authorization header, without its signature, of calls that were verified: all calls of a client on
    one day state the same. What strangers send is not kept."""

    LIMIT: Final = 1024
    BYTES: Final = 1024
    """A longer header is not kept, so that all of them have at most a megabyte."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Scope] = {}
        self.find = self._kept.get

    def keep(self, stated: bytes, scope: Scope) -> None:
        if stated not in self._kept and len(stated) <= self.BYTES:
            if len(self._kept) >= self.LIMIT:
                self._kept.clear()
            self._kept[stated] = scope


_verified_scopes: Final = VerifiedScopes()


def read_scope(stated: bytes, is_signed: bool) -> Scope:
    """Parses an Authorization header without its signature. Raises IncompleteSignatureException."""
    found = _verified_scopes.find(stated) if is_signed else None
    return found or _parse_scope(stated, is_signed)


def _parse_scope(stated: bytes, is_signed: bool) -> Scope:
    pairs = _STATED.findall(stated) + [(b"Signature", b"")] * is_signed
    stated_names = [name for name, _ in pairs]
    wrong = [_not_once(name.decode(), stated_names.count(name)) for name in PARTS if stated_names.count(name) != 1]
    if wrong:
        raise IncompleteSignatureException(" ".join(wrong))
    given = dict(pairs)
    parts = given[b"Credential"].split(b"/")
    if len(parts) != 5:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    signed = given[b"SignedHeaders"]
    access_key_id, date, region, service, terminator = parts
    names = tuple(signed.split(b";"))
    text = b"/".join((date, region, service, terminator))
    return Scope(access_key_id.decode("latin-1"), date, region, service, terminator, signed, names, text)


def _not_once(name: str, count: int) -> str:
    given_twice = f"Authorization header has the '{name}' parameter twice."
    return given_twice if count else f"Authorization header requires '{name}' parameter."


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


def _check_headers(request: SignedRequest, scope: Scope) -> bytes:
    """Checks that all headers that must be signed are; returns the request's date in the basic format."""
    headers = request.headers
    dated = date_header(headers)
    moment = basic_format(dated, headers[dated])
    names = scope.names
    for name in names:
        if name not in headers:
            raise InvalidSignatureException(MISMATCH)
    for name in (*MUST_BE_SIGNED, dated, *[name for name in headers if name.startswith(b"x-amz-")]):
        if name not in names:
            shown = name.decode("ascii", "backslashreplace")
            raise InvalidSignatureException(f"'{shown}' must be a 'SignedHeader' in the AWS Authorization.")
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
    signed = seconds_of(moment)
    if now - signed > SKEW_SECONDS:
        bound, current = text_of(now - SKEW_SECONDS), text_of(now)
        raise InvalidSignatureException(
            f"Signature expired: {moment.decode()} is now earlier than {bound} ({current} - 5 min.)"
        )
    if signed - now > SKEW_SECONDS:
        bound, current = text_of(now + SKEW_SECONDS), text_of(now)
        raise InvalidSignatureException(
            f"Signature not yet current: {moment.decode()} is still later than {bound} ({current} + 5 min.)"
        )
