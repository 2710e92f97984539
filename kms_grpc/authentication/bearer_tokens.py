"""Authentication by bearer tokens of the configuration (RFC 6750).

Tokens are kept by their keyed digests alone (BLAKE2s, RFC 7693, under a key of this process): not even one that was
accepted stays in memory. They are looked up by digest, so that the time of a look-up reveals nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s
from typing import Final

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.crypto.envelope import random_bytes
from kms_grpc.errors import MissingAuthenticationTokenException, UnrecognizedClientException
from kms_grpc.model.principal import Principal

_keyed: Final = blake2s(key=random_bytes(32))
"""Never updated. Copying it takes half as long as making it for each token."""


class BearerTokens:
    """Implements base.Authentication. Raises ValueError if two principals have the same token."""

    def __init__(self, principals: Iterable[tuple[str, Principal]]) -> None:
        self._principals: dict[bytes, Principal] = {}
        for token, principal in principals:
            if self._principals.setdefault(_digest(token), principal) is not principal:
                raise ValueError(
                    f"principals {self._principals[_digest(token)].name} and {principal.name} have the same token"
                )

    def principal(self, credentials: Credentials) -> Principal:
        """Raises MissingAuthenticationTokenException without a token, UnrecognizedClientException for an unknown
        one."""
        if credentials.token is None:
            raise MissingAuthenticationTokenException("Missing Authentication Token")
        principal = self._principals.get(_digest(credentials.token))
        if principal is None:
            raise UnrecognizedClientException("The security token included in the request is invalid.")
        return principal

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        return None if credentials.token is None else self._principals.get(_digest(credentials.token))


def _digest(token: str) -> bytes:
    digest = _keyed.copy()
    digest.update(token.encode("utf-8", "surrogatepass"))
    return digest.digest()
