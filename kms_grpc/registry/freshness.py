"""Compares a shard with its row hashes and its mark at each start: it must be what was committed to it last.

A shard of revision 0003 or older has no row hashes. It gets them once every MAC was verified, with the audit record
FirstRowHashes. If the shard differs, the server does not start; if it was restored on purpose, `--accept-older` makes
the row hashes anew, with the audit record AcceptOlderShard.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from kms_grpc.audit.record import shard_event
from kms_grpc.clock import Clock
from kms_grpc.errors import KeyUnavailableException, KMSError
from kms_grpc.registry.comparison import compare
from kms_grpc.registry.logged_keys import logged_keys
from kms_grpc.registry.mark import MarkUnusable, largest_counter
from kms_grpc.registry.own_row import WillNotStart, in_words
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.sql.registry import SqlRegistry
from kms_grpc.registry.sql.row_hashes import BUCKETS
from kms_grpc.registry.sql.shard_row import ShardRow

ON_PURPOSE = "If it was restored on purpose, start once with `kms-grpc serve --accept-older`; that is audited."
NAMES_SHOWN = 5
_WAITING = 1_000_000

_log = logging.getLogger(__name__)


class Guard:
    """Compares one shard with its row hashes and its mark before it is served."""

    def __init__(self, path: Path, registry: SqlRegistry, row: ShardRow, clock: Clock) -> None:
        self._path = path
        self._registry = registry
        self._row = row
        self._clock = clock

    def admit(self, accept_older: bool) -> None:
        """Returns if the shard is what was committed to it. Raises WillNotStart if not, unless that is accepted."""
        try:
            in_words(self._path, lambda: self._admit(accept_older))
        except KMSError as error:
            raise WillNotStart(error.text) from error

    def _admit(self, accept_older: bool) -> None:
        if self._row.hashed is None:
            self._make_first(accept_older)
            return
        _, found = compare(self._registry)
        found += self._lacks()
        if found and not accept_older:
            raise WillNotStart(
                f"{self._path} is not what was committed to it last: {'; '.join(found)}. Put the newest copy back. "
                + ON_PURPOSE
            )
        if found:
            self._make_anew("AcceptOlderShard", {"differences": found})

    def _lacks(self) -> list[str]:
        """Returns in words which keys the audit log knows and the shard lacks."""
        log = self._path.parent.parent / "audit" / "keeper.jsonl"
        waiting = [row.record for row in self._registry.outbox.oldest(_WAITING)]
        lacking = [each for each in logged_keys(log, self._row.region, waiting) if not self._has(each)]
        named = ", ".join(lacking[:NAMES_SHOWN])
        return [f"keys are missing that the audit log {log} knows ({len(lacking)}): {named}"] if lacking else []

    def _has(self, key_id: str) -> bool:
        try:
            return self._registry.keys.find(key_id) is not None
        except KeyUnavailableException:
            return True

    def _make_first(self, accept_older: bool) -> None:
        known = largest_counter(self._registry.mark.path)
        if known and not accept_older:
            raise WillNotStart(
                f"{self._path} is older than its mark {self._registry.mark.path}, which knows commit {known}: it is a "
                f"copy from before this version. Put the newest copy back. {ON_PURPOSE}"
            )
        damaged = self._damaged()
        if damaged and not accept_older:
            raise WillNotStart(
                f"{self._path} was changed on disk: {', '.join(damaged[:NAMES_SHOWN])}. Restore it from a backup, or "
                "leave out what is damaged: `kms-grpc serve --accept-older` starts once without it."
            )
        if not known:
            self._registry.mark.create()
        name = "AcceptOlderShard" if known or damaged else "FirstRowHashes"
        self._make_anew(name, {"damagedRows": len(damaged)}, replace(self._row, hashed=1))

    def _damaged(self) -> list[str]:
        """Returns the names of damaged rows. A row of the outbox had no MAC before the first row hashes."""
        unsealed = "in the outbox"
        return [name for name in self._registry.findings().damaged if not name.endswith(unsealed)]

    def _make_anew(self, name: str, details: dict[str, Any], own: ShardRow | None = None) -> None:
        """Makes the row hashes of the rows that are there, with a counter beyond all that is known."""
        mark = self._registry.mark
        try:
            known = mark.valid_counters()
        except MarkUnusable:
            mark.create()
            known = {}
        there = self._registry.findings().counters
        counter = 1 + max([0, *known.values(), *there.values()])
        event_id, line = shard_event(name, self._row.region, self._row.account, self._clock.wall_ns(), details)
        self._registry.rehash(counter, OutboxRow(event_id, self._row.account, line), own)
        if len(known) < BUCKETS:
            mark.create()
        mark.advance(dict.fromkeys(range(BUCKETS), counter))
        mark.sync()
        _log.warning("region %s: %s (%s)", self._row.region, name, details)
