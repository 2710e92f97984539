"""The contract of an authentication method. The executor asks it first for each call."""

from __future__ import annotations

from typing import Protocol

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.model.principal import Principal


class Authentication(Protocol):
    """Finds the principal that has sent a call. Both methods verify the credentials in full, each time."""

    def principal(self, credentials: Credentials) -> Principal:
        """Returns the caller. Raises MissingAuthenticationTokenException, UnrecognizedClientException, and for
        signatures IncompleteSignatureException and InvalidSignatureException."""

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """Returns the caller without reading from disk, for use on an event loop; None if the disk is needed, or if
        `principal` would raise."""
