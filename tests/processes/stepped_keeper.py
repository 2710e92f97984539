"""A keeper over real shards, whose clock the test steps.

`python -m tests.processes.stepped_keeper DIR WALL_SECONDS` runs the keeper's work for one hour of stepped time, so that
a test can kill it at a fault point.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.processes.keeper import PeriodicWork
from kms_grpc.processes.outbox_copier import OutboxCopier
from kms_grpc.registry.shards import Shard
from tests.registry.made import REGION, opened

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


class ManualClock:
    """A wall clock and a boot clock, stepped together or apart. The attributes are in nanoseconds."""

    def __init__(self, wall_ns: int) -> None:
        self.wall = wall_ns
        self.boot = 5 * HOUR

    def wall_ns(self) -> int:
        return self.wall

    def boot_ns(self) -> int:
        return self.boot

    def boot_id(self) -> str:
        return "boot"

    def step(self, seconds: float, apart: float = 0.0) -> None:
        """Advance both clocks, the wall clock by `apart` seconds more."""
        self.wall += int((seconds + apart) * SECOND)
        self.boot += int(seconds * SECOND)


class SteppedKeeper:
    """The work of a keeper without the copying of outboxes, so that tests can count the records there."""

    def __init__(self, folder: Path, wall_ns: int, regions: Sequence[str] = (REGION,)) -> None:
        self.clock = ManualClock(wall_ns)
        self.shards = opened(folder, regions)
        self._log = FileAuditLog(folder / "none.jsonl", self.clock)
        self.work = PeriodicWork(self, OutboxCopier({}, self._log, folder / "none.position"))

    @property
    def shard(self) -> Shard:
        return self.shards.default

    def facts(self) -> Mapping[str, Any]:
        return {}

    def run_pass(self) -> dict[str, int]:
        self.work.run_pass()
        return self.work.gauges()

    def to(self, wall_ns: int) -> dict[str, int]:
        """Advance both clocks together, in steps of at most ten minutes, with a pass after each step."""
        while self.clock.wall < wall_ns:
            step = min(600 * SECOND, wall_ns - self.clock.wall)
            self.clock.wall += step
            self.clock.boot += step
            gauges = self.run_pass()
        return gauges

    def jump(self, wall_ns: int) -> dict[str, int]:
        """Set the wall clock, as an operator would; the boot clock goes on by one second."""
        self.clock.wall = wall_ns
        self.clock.boot += SECOND
        return self.run_pass()

    def close(self) -> None:
        self._log.close()
        self.shards.close()


def events(shard: Shard, name: str | None = None) -> list[dict[str, Any]]:
    """Returns the audit records in the outbox, optionally those with one event name."""
    records = [json.loads(row.record) for row in shard.registry.outbox.oldest(10_000)]
    return [record for record in records if name in (None, record["eventName"])]


if __name__ == "__main__":
    kept = SteppedKeeper(Path(sys.argv[1]), int(sys.argv[2]) * SECOND)
    kept.to(kept.clock.wall + HOUR)
