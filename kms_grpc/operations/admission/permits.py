"""Permits: results of admission, kept so that the next such call need not be admitted again.

A Permit is found by caller, called region, operation and the request's identity (what it says about its keys); where
a decision has read the encryption context, also by the digest of all encryption contexts of the request. It has
three lists (crypto/validity.py). The words of the names that its admission relied on must have the values that they had
before the registry was read. No end may have been reached, of a key material or of what was read. The third list names
the counters that count the call. So a write that touches one of its names, on any worker of this host, ends a Permit,
and no other write does: a disabled key, a moved alias and a new key material take effect at once, and other keys stay
warm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from kms_grpc.crypto.validity import FOR_EVER
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal
from kms_grpc.operations.call import Call
from kms_grpc.registry.shards import Shard


class NotWarm(Exception):
    """The call cannot be answered from a Permit: it must be admitted."""


class Permit(NamedTuple):
    """Plain data, without callables."""

    principal: Principal
    shard: Shard
    keys: tuple[Key, ...]
    lists: bytes
    """The lists that keep the Permit valid."""
    cells: tuple[int, ...]
    """`count[]` of the lists."""
    audit_head: bytes
    """The beginning of the audit records of all calls that this Permit admits."""
    materials: Any = None
    """The key materials of the call, in kinds of operations that keep them."""

    def give(self, call: Call) -> None:
        """Gives a call what its admission would have found."""
        call.called, call.keys, call.permit_head, call.cells = self.shard, self.keys, self.audit_head, self.cells


class Permits:
    """The Permits of one worker: those for all encryption contexts and those for one, `limit` of each. A full table is
    emptied: making a Permit again costs microseconds.

    All that a decision reads before the context is the same for calls of one name, so either all of them read the
    context or none does, until a word changes. No name is in both tables."""

    def __init__(self, limit: int) -> None:
        self._permits: dict[Hashable, Permit] = {}
        self._with_context: set[Hashable] = set()
        """Names of calls whose decisions have read the encryption context."""
        self._by_context: dict[Hashable, Permit] = {}
        """Their Permits, by name and digest."""
        self._limit = limit

    def find(
        self, call: Call, identity: Hashable, digest: Callable[[Any], bytes], request: Any = None
    ) -> Permit | None:
        """Returns the valid Permit of a call whose caller is known. `digest(request)` gives the digest of its
        encryption contexts (context_digest); it is asked only where they count."""
        name = (call.caller, call.credentials.region, call.operation, identity)
        permit = self._permits.get(name)
        if permit is None and name in self._with_context:
            permit = self._by_context.get((name, digest(request)))
        if permit is None or not permit.shard.words.hold(permit.lists, call.time_ns, call.service.clock.boot_ns()):
            return None
        return permit

    def counts_contexts(self, call: Call, identity: Hashable) -> bool:
        """Returns whether the Permit of a call is found by its encryption contexts too."""
        return (call.caller, call.credentials.region, call.operation, identity) in self._with_context

    def keep(
        self, call: Call, identity: Hashable, permit: Permit, digest: Callable[[Any], bytes], request: Any
    ) -> None:
        """Keeps the Permit of a call whose decisions were stable (Call.stable); if they have read the encryption
        context, for this context alone."""
        name = (call.caller, call.credentials.region, call.operation, identity)
        if call.reads_context:
            self._keep_for_context(name, digest(request), permit)
            return
        if len(self._permits) >= self._limit:
            self._permits.clear()
        self._with_context.discard(name)
        self._permits[name] = permit

    def _keep_for_context(self, name: Hashable, digest: bytes, permit: Permit) -> None:
        if len(self._by_context) >= self._limit:
            self._with_context.clear()
            self._by_context.clear()
        self._permits.pop(name, None)
        self._by_context[name, digest] = permit
        self._with_context.add(name)

    def __len__(self) -> int:
        return len(self._permits) + len(self._by_context)


def context_digest(*contexts: bytes) -> bytes:
    """Returns SHA-256 over the canonical forms of a request's encryption contexts, 32 bytes. A canonical form tells its
    own length."""
    return hashlib.sha256(b"".join(contexts)).digest()


def permit_for(call: Call, materials: object = None, *, counts: bool = True) -> Permit:
    """Returns the Permit of an admitted call. `counts`: each call that it admits is counted by itself."""
    cells = (call.service.counters.cell(call.operation, "OK"),) if counts else ()
    return Permit(
        call.principal, call.shard, call.keys, lists_for(call, call.keys, cells), cells, call.audit_head, materials
    )


def lists_for(call: Call, keys: tuple[Key, ...], cells: tuple[int, ...] = ()) -> bytes:
    """Returns the lists that keep the admission of a call valid."""
    assert call.basis is not None, "the call was admitted"
    return call.basis.lists(end_for(keys), cells)


def holds(call: Call, shard: Shard, lists: bytes) -> bool:
    """Returns whether an admission that was kept is valid for the call."""
    return shard.words.hold(lists, call.time_ns, call.service.clock.boot_ns())


def end_for(keys: tuple[Key, ...]) -> int:
    """Returns when the first material of `keys` expires, in the shard's time: ns since 1970."""
    return min((key.expires_ns for key in keys if key.expires_ns is not None), default=FOR_EVER)
