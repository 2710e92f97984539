"""Permits: results of admission, kept so that the next such call need not be admitted again.

A Permit is found by caller, called region, operation and the request's identity (what it says about its keys). It is
valid while the shard's epoch is unchanged. Any write that any worker of this host acknowledges raises the epoch, so a
disabled key, a moved alias and a new key material take effect at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal
from kms_grpc.operations.call import Call
from kms_grpc.registry.shards import Shard

FOR_EVER = 1 << 63


class NotWarm(Exception):
    """The call cannot be answered from a Permit: it must be admitted."""


class Permit(NamedTuple):
    """Plain data, without callables."""

    principal: Principal
    shard: Shard
    keys: tuple[Key, ...]
    epoch: int
    """The shard's epoch at admission."""
    audit_head: bytes
    """The beginning of the audit records of all calls that this Permit admits."""
    ends_ns: int = FOR_EVER
    """Wall clock, ns since 1970."""
    materials: Any = None
    """The key materials of the call, in kinds of operations that keep them."""


class Permits:
    """The Permits of one worker. A full table is emptied: making a Permit again costs microseconds."""

    def __init__(self, limit: int) -> None:
        self._permits: dict[Hashable, Permit] = {}
        self._limit = limit

    def find(self, call: Call, identity: Hashable) -> Permit | None:
        """Returns the valid Permit of a call whose caller is known."""
        permit = self._permits.get((call.caller, call.credentials.region, call.operation, identity))
        if permit is None or permit.epoch != permit.shard.epoch.value or call.time_ns >= permit.ends_ns:
            return None
        return permit

    def keep(self, call: Call, identity: Hashable, permit: Permit) -> None:
        """Keeps the Permit of a call whose decisions were stable (Call.stable)."""
        if len(self._permits) >= self._limit:
            self._permits.clear()
        self._permits[call.caller, call.credentials.region, call.operation, identity] = permit

    def __len__(self) -> int:
        return len(self._permits)


def permit_for(call: Call, epoch: int, materials: object = None) -> Permit:
    """Returns the Permit of an admitted call. `epoch` is the shard's, read before admission."""
    return Permit(call.principal, call.shard, call.keys, epoch, call.audit_head, end_for(call.keys), materials)


def end_for(keys: tuple[Key, ...]) -> int:
    """Returns when the first material of `keys` expires: wall clock, ns since 1970."""
    return min((key.expires_ns for key in keys if key.expires_ns is not None), default=FOR_EVER)
