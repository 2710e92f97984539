"""A keeper over real shards whose clock is stepped by hand.

`python -m tests.processes.by_hand DIR WALL_SECONDS` looks at the keys for an hour from that time on, to be killed at
fault points."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.processes.keeper import Keeper
from kms_grpc.processes.outbox import OutboxCopier
from kms_grpc.registry.shards import Shard
from tests.registry.made import opened

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


class HandClock:
    """Wall and boot, stepped together or apart."""

    def __init__(self, wall_ns: int) -> None:
        self.wall = wall_ns
        self.boot = 5 * HOUR

    def wall_ns(self) -> int:
        return self.wall

    def boot_ns(self) -> int:
        return self.boot

    def boot_id(self) -> str:
        return "boot"


class Kept:
    """One keeper. Outboxes stay as they are, to be counted."""

    def __init__(self, folder: Path, wall_ns: int) -> None:
        self.clock = HandClock(wall_ns)
        self.shards = opened(folder)
        self._log = FileAuditLog(folder / "none.jsonl", self.clock)
        self._keeper = Keeper(self, OutboxCopier({}, self._log, folder / "none.position"))

    @property
    def shard(self) -> Shard:
        return self.shards.default

    def facts(self) -> Mapping[str, Any]:
        return {}

    def turn(self) -> dict[str, int]:
        self._keeper.turn()
        return self._keeper.gauges()

    def to(self, wall_ns: int) -> dict[str, int]:
        """Wall and boot go on together until then, in steps of ten minutes at most."""
        while self.clock.wall < wall_ns:
            step = min(600 * SECOND, wall_ns - self.clock.wall)
            self.clock.wall += step
            self.clock.boot += step
            gauges = self.turn()
        return gauges

    def jump(self, wall_ns: int) -> dict[str, int]:
        """The wall clock is set."""
        self.clock.wall = wall_ns
        self.clock.boot += SECOND
        return self.turn()

    def close(self) -> None:
        self._log.close()
        self.shards.close()


def events(shard: Shard, name: str | None = None) -> list[dict[str, Any]]:
    """The audit records that wait in the outbox."""
    records = [json.loads(row.record) for row in shard.registry.outbox.oldest(10_000)]
    return [record for record in records if name in (None, record["eventName"])]


if __name__ == "__main__":
    kept = Kept(Path(sys.argv[1]), int(sys.argv[2]) * SECOND)
    kept.to(kept.clock.wall + HOUR)
