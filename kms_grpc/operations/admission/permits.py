"""Permits: what admission found out, kept so that the next such call need not ask again.

A Permit answers for (caller, called region, operation, keys as sent). It dies with the shard's epoch: whatever any
worker of this host acknowledged since makes it stale, so a disabled key, a moved alias and a new material are obeyed
at once.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal
from kms_grpc.registry.shards import Shard

FOR_EVER = 1 << 63


class Permit(NamedTuple):
    """Plain data, without callables."""

    principal: Principal
    shard: Shard
    keys: tuple[Key, ...]
    epoch: int
    """The shard's epoch that admission was made under."""
    audit_head: bytes
    """What the audit records of all such calls begin with."""
    ends_ns: int = FOR_EVER
    """Wall clock; a principal that expires takes its Permits with it."""
    under: object = None
    """What the operation's form, if it is a raw one, answers under."""


class Permits:
    """The Permits of one worker. Bounded: a full table is emptied, since a Permit costs microseconds to make anew."""

    def __init__(self, limit: int) -> None:
        self._permits: dict[Hashable, Permit] = {}
        self._limit = limit

    def find(self, identity: Hashable, now_ns: int) -> Permit | None:
        permit = self._permits.get(identity)
        if permit is None or permit.epoch != permit.shard.epoch.value or now_ns >= permit.ends_ns:
            return None
        return permit

    def keep(self, identity: Hashable, permit: Permit) -> None:
        if len(self._permits) >= self._limit:
            self._permits.clear()
        self._permits[identity] = permit

    def __len__(self) -> int:
        return len(self._permits)


def end_for(keys: tuple[Key, ...]) -> int:
    """When a Permit for `keys` ends, by the wall clock: when the first material of them expires."""
    return min((key.expires_ns for key in keys if key.expires_ns is not None), default=FOR_EVER)
