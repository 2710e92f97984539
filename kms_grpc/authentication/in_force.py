"""The configuration in force: who may call, by which credentials, and with which policies.

All of it is taken as one. A worker has the next configuration ready before the supervisor writes its number into the
words file; from that moment all calls of all workers are judged by it, those on open connections and streams included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.certificates import Certificates
from kms_grpc.authentication.key_sources import KeySource, KeySources
from kms_grpc.authorization.identity_policies import Identity
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.model.principal import Principal


class Configured(NamedTuple):
    """A configuration of callers."""

    number: int
    """0 at the start of a server, then one more with each reload."""
    principals: Mapping[str, Principal]
    """The configured callers by name."""
    tokens: Authentication
    policies: Mapping[str, Identity]
    """Their policies and tags, and those of mappings, by name."""
    digests: Mapping[str, bytes]
    """Digests of what makes each configured caller (principal_settings.digest_of), by name."""
    certificates: Certificates
    keys: Sequence[KeySource] = ()
    """The keys of issuers."""


class InForce:
    """The configuration in force in one worker. `number` reads its number from the words file; `sources` are the
    fetched keys of all issuers. Thread-safe."""

    def __init__(self, first: Configured, sources: KeySources, number: Callable[[], int]) -> None:
        self._now, self.sources, self._number = first, sources, number
        self._next: Configured | None = None
        self._lock = threading.Lock()

    def current(self) -> Configured:
        """Returns the configuration in force. Raises DependencyTimeoutException if this worker does not have it; the
        supervisor then replaces the worker."""
        now = self._now
        return now if self._number() == now.number else self._advance()

    def prepare(self, following: Configured) -> None:
        """Has a configuration ready for the moment at which its number is written."""
        with self._lock:
            self._next = following
            self.sources.keep([*self._now.keys, *following.keys])

    def principal_named(self, name: str) -> Principal | None:
        """Returns a configured caller."""
        return self.current().principals.get(name)

    def principal_with_arn(self, arn: str) -> Principal | None:
        """Returns a configured caller by its ARN, in whatever partition."""
        wanted = Principal("", arn, "").within("aws").arn
        return next((one for one in self.current().principals.values() if one.within("aws").arn == wanted), None)

    def digest_of(self, name: str) -> bytes | None:
        """Returns the digest of what makes a configured caller."""
        return self.current().digests.get(name)

    def policies(self) -> Mapping[str, Identity]:
        """Returns the policies in force. It is the same object until others are."""
        return self.current().policies

    def _advance(self) -> Configured:
        with self._lock:
            number = self._number()
            if self._next is not None and self._next.number == number:
                self._now, self._next = self._next, None
            if self._now.number != number:
                raise DependencyTimeoutException("The worker takes a new configuration. Repeat the call.")
            return self._now
