"""Authentication by bearer tokens of the configuration (RFC 6750).

Tokens are kept by their digests alone: not even one that was accepted stays in memory. They are looked up by a digest
under a key of this process, so that the time of a look-up reveals nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2s, sha256
from typing import Final, NamedTuple

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authentication.key_sets import KeySet
from kms_grpc.authentication.key_sources import KeySource
from kms_grpc.authentication.moments import iso_time
from kms_grpc.crypto.envelope import random_bytes
from kms_grpc.errors import ExpiredTokenException, MissingAuthenticationTokenException, UnrecognizedClientException
from kms_grpc.model.principal import Principal
from kms_grpc.principal_settings import Credential

EXPIRED: Final = "The security token included in the request is expired"
"""AWS's text."""
UNKNOWN: Final = "The security token included in the request is invalid."
_short: Final = blake2s(key=random_bytes(32))
_long: Final = sha256(random_bytes(64))
"""The beginnings of digests, never updated themselves: copying one takes half as long as making it for each token.
BLAKE2s is faster for tokens, SHA-256 for assertions."""
_SHORT_LENGTH: Final = 256
_KNOWN: Final = 4096
ASSERTION_LENGTH: Final = 16 * 1024
"""Longest assertion, in characters: a call's metadata may have no more."""


class Holder(NamedTuple):
    """The principal of a token, and when the token is taken: ns since 1970."""

    principal: Principal
    begins_ns: int | None = None
    ends_ns: int | None = None
    source: KeySource | None = None
    """The keys that have verified the token, where it is an assertion: it is taken while they are in force."""
    keys: KeySet | None = None

    def holds(self, now_ns: int) -> bool:
        """Returns whether the token is taken now."""
        if self.source is not None and self.source.keys is not self.keys:
            return False
        begun = self.begins_ns is None or now_ns >= self.begins_ns
        return begun and (self.ends_ns is None or now_ns < self.ends_ns)


class BearerTokens:
    """Implements base.Authentication. `wall_ns` gives the time by which dates of credentials are judged. A token that
    is none of the configured ones may be an assertion, which `assertion` verifies."""

    def __init__(
        self,
        credentials: Iterable[tuple[Credential, Principal]],
        wall_ns: Callable[[], int],
        assertion: Callable[[str], Holder] | None = None,
    ) -> None:
        self._wall_ns = wall_ns
        self._assertion = assertion
        self._configured = {
            _keyed(one.digest): Holder(principal, one.begins_ns, one.ends_ns) for one, principal in credentials
        }
        self._met: dict[bytes, Holder] = {}
        """Holders of tokens that have called, by the keyed digest of the token."""

    def principal(self, credentials: Credentials) -> Principal:
        """Raises MissingAuthenticationTokenException without a token, UnrecognizedClientException for an unknown one or
        one whose time has not come, and ExpiredTokenException."""
        if credentials.token is None:
            raise MissingAuthenticationTokenException("Missing Authentication Token")
        token = _bytes(credentials.token)
        holder = self._configured.get(_keyed(sha256(token).digest())) or self._asserted(credentials.token)
        require_time(holder.begins_ns, holder.ends_ns, self._wall_ns())
        if len(self._met) >= _KNOWN:
            self._met.clear()
        self._met[_keyed(token, len(credentials.token))] = holder
        return holder.principal

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        token = credentials.token
        if token is None:
            return None
        digest = _short.copy() if len(token) <= _SHORT_LENGTH else _long.copy()
        digest.update(token.encode("utf-8", "surrogatepass"))
        holder = self._met.get(digest.digest())
        if holder is None:
            return self._first(credentials)
        principal, begins_ns, ends_ns, *_ = holder
        lasts = begins_ns is None and ends_ns is None
        return principal if lasts or holder.holds(self._wall_ns()) else None

    def _asserted(self, token: str) -> Holder:
        if self._assertion is None or token.count(".") != 2 or len(token) > ASSERTION_LENGTH or not token.isascii():
            raise UnrecognizedClientException(UNKNOWN)
        return self._assertion(token)

    def _first(self, credentials: Credentials) -> Principal | None:
        """Returns the principal of a token that has not called yet; nothing of it needs the disk."""
        try:
            return self.principal(credentials)
        except (UnrecognizedClientException, ExpiredTokenException):
            return None


def require_time(begins_ns: int | None, ends_ns: int | None, now_ns: int) -> None:
    """Raises ExpiredTokenException or UnrecognizedClientException, both with the server's time, for a verified
    credential whose time is over or has not come."""
    if ends_ns is not None and now_ns >= ends_ns:
        raise ExpiredTokenException(f"{EXPIRED}: the server's time is {iso_time(now_ns)}.")
    if begins_ns is not None and now_ns < begins_ns:
        raise UnrecognizedClientException(
            f"The security token included in the request is not yet valid: the server's time is {iso_time(now_ns)}."
        )


def _bytes(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")


def _keyed(content: bytes, length: int = 0) -> bytes:
    """Returns the digest of a token of `length` characters, or of a token's SHA-256."""
    digest = _short.copy() if length <= _SHORT_LENGTH else _long.copy()
    digest.update(content)
    return digest.digest()
