"""The contract of an authentication: what the executor asks first, for each call."""

from __future__ import annotations

from typing import Protocol

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.model.principal import Principal


class Authentication(Protocol):
    """Tells who calls. Both methods verify in full; neither remembers a verdict."""

    def principal(self, credentials: Credentials) -> Principal:
        """The caller. Raises MissingAuthenticationTokenException, UnrecognizedClientException, and for signatures
        IncompleteSignatureException and InvalidSignatureException."""

    def warm_principal(self, credentials: Credentials) -> Principal | None:
        """The same for an event loop: without reading from disk. None where that would be needed, or where
        `principal` would refuse."""
