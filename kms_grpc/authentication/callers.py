"""Authentication for both front doors: by bearer token, or by the signature of an access key."""

from __future__ import annotations

from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authentication.in_force import InForce
from kms_grpc.model.principal import Principal


class Callers:
    """Implements base.Authentication. Verifies a signed request by its signature only, and any other by its token
    only."""

    def __init__(self, in_force: InForce, signatures: Authentication) -> None:
        self._in_force = in_force
        self._signatures = signatures

    def principal(self, credentials: Credentials) -> Principal:
        return self._of(credentials).principal(credentials)

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        return self._of(credentials).warm_principal(credentials)

    def _of(self, credentials: Credentials) -> Authentication:
        return self._in_force.current().tokens if credentials.signed is None else self._signatures
