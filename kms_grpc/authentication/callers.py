"""Authentication for both front doors: by bearer token, by the signature of an access key, or by client certificate.

| the call has | the caller is |
|---|---|
| a token or a signature | whom it names |
| a certificate alone | whom its rule names |
| a certificate, and a token or signature | whom both name; UNAUTHENTICATED if they are not the same |
"""

from __future__ import annotations

from typing import Final

from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authentication.in_force import InForce
from kms_grpc.errors import UnrecognizedClientException
from kms_grpc.model.principal import Principal

OF_TWO: Final = "The client certificate and the security token of the request are not of the same caller."


class Callers:
    """Implements base.Authentication. Verifies a signed request by its signature only, and any other by its token
    only."""

    def __init__(self, in_force: InForce, signatures: Authentication) -> None:
        self._in_force = in_force
        self._signatures = signatures

    def principal(self, credentials: Credentials) -> Principal:
        """Returns the caller. Raises what the methods raise, and UnrecognizedClientException for two callers."""
        if credentials.certificate is None:
            return self._of(credentials).principal(credentials)
        certified = self._in_force.current().certificates.principal(credentials.certificate)
        if _has_certificate_alone(credentials):
            return certified
        stated = self._of(credentials).principal(credentials)
        if not _are_same(stated, certified):
            raise UnrecognizedClientException(OF_TWO)
        return stated

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        if credentials.certificate is None:
            if credentials.signed is None:
                return self._in_force.current().tokens.warm_principal(credentials)
            return self._signatures.warm_principal(credentials)
        certified = self._in_force.current().certificates.warm_principal(credentials.certificate)
        if certified is None or _has_certificate_alone(credentials):
            return certified
        stated = self._of(credentials).warm_principal(credentials)
        return stated if stated is not None and _are_same(stated, certified) else None

    def _of(self, credentials: Credentials) -> Authentication:
        return self._in_force.current().tokens if credentials.signed is None else self._signatures


def _has_certificate_alone(credentials: Credentials) -> bool:
    if credentials.signed is None:
        return credentials.token is None
    return b"authorization" not in credentials.signed.headers


def _are_same(stated: Principal, certified: Principal) -> bool:
    return (stated.arn, stated.account) == (certified.arn, certified.account)
