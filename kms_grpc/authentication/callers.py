"""Callers of all doors: known by a bearer token, or by the signature of an access key."""

from __future__ import annotations

from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.model.principal import Principal


class Callers:
    """See Authentication. What a door extracted says which of the two is asked; neither stands in for the other."""

    def __init__(self, tokens: Authentication, signatures: Authentication) -> None:
        self._tokens = tokens
        self._signatures = signatures

    def principal(self, credentials: Credentials) -> Principal:
        """See Authentication."""
        return self._of(credentials).principal(credentials)

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """See Authentication."""
        return self._of(credentials).warm_principal(credentials)

    def _of(self, credentials: Credentials) -> Authentication:
        return self._tokens if credentials.signed is None else self._signatures
