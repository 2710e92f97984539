"""The keeper's upkeep of the shards, by which rows that are old or missing are noticed.

| task | how often |
|---|---|
| compares rows with the row hashes and the mark | each of the 256 buckets once in 5 minutes |
| copies the write-ahead log into the shard's file | once a second after writes, or more often (log_copy.py) |
| syncs the marks to the disk | 80 ms after anything was written, in a thread of its own |

As many buckets are compared at once as take some 20 ms: all of a small shard, which then costs next to nothing. A
bucket of a large shard may take longer; then the next one waits twenty times as long as it took. The thread of the
marks sleeps until inotify reports a write to one of them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from kms_grpc.audit.record import shard_event
from kms_grpc.clock import Clock
from kms_grpc.errors import KMSError
from kms_grpc.folder_watch import WRITTEN, FolderWatch
from kms_grpc.registry.mark import MarkUnusable
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.row_hashes import BUCKETS

COMPARE_EVERY_S: Final = 1.0
AT_ONCE_S: Final = 0.02
GROWTH: Final = 16
"""How many times as many buckets as the last time are compared at once, at most."""
REST: Final = 20
SYNC_EVERY_S: Final = 0.08
SYNC_ANYWAY_S: Final = 60.0
"""The marks are also synced this often, even if inotify has reported no write."""

_log = logging.getLogger(__name__)


class Upkeep:
    """The upkeep of one shard."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._shard = shard
        self._clock = clock
        self._bucket = 0
        self._at_once = 1
        self._next = 0.0
        self._wrong: set[int] = set()

    @property
    def region(self) -> str:
        return self._shard.region

    @property
    def wrong_buckets(self) -> int:
        """Number of buckets that were found to differ from what was committed."""
        return len(self._wrong)

    def seconds_to_due(self) -> float:
        """Returns the seconds until `run` has something to do, if nothing is written meanwhile."""
        return max(0.0, min(self._next - time.monotonic(), self._shard.registry.seconds_to_checkpoint()))

    def run(self) -> None:
        """Does what is due. Raises KMSError or OSError if the shard or its mark cannot be read."""
        self._shard.registry.checkpoint()
        began = time.monotonic()
        if began < self._next:
            return
        first, count = self._bucket, min(self._at_once, BUCKETS - self._bucket)
        self._bucket = (first + count) % BUCKETS
        wrong = self._wrong_among(first, count)
        took = max(time.monotonic() - began, 1e-6)
        self._next = began + took + max(count * COMPARE_EVERY_S, REST * took)
        if took >= AT_ONCE_S:
            self._at_once = max(1, count // 2)
        elif count == self._at_once:  # the last ones of a round may be fewer
            self._at_once = min(BUCKETS, count * max(1, int(min(GROWTH, AT_ONCE_S / took))))
        new = wrong.keys() - self._wrong
        self._wrong = self._wrong - {*range(first, first + count)} | wrong.keys()
        for bucket in sorted(new):
            self._report(bucket, wrong[bucket])

    def _wrong_among(self, first: int, count: int) -> dict[int, Sequence[str]]:
        """Returns the differences of each bucket that differs, by bucket. Finds these buckets by halving."""
        found = self._shard.registry.differences(first, count)
        if not found or count == 1:
            return {first: found} if found else {}
        half = count // 2
        return self._wrong_among(first, half) | self._wrong_among(first + half, count - half)

    def _report(self, bucket: int, found: Sequence[str]) -> None:
        shard, differences = self._shard, list(found)
        _log.error(
            "region %s: bucket %d is not what was committed to it: %s. Stop the server and put the newest copy back",
            shard.region,
            bucket,
            "; ".join(differences),
        )
        details = {"bucket": bucket, "differences": differences}
        name, now_ns = "RowsDifferFromCommitted", self._clock.wall_ns()
        event_id, line = shard_event(name, shard.region, shard.account, now_ns, details)
        with shard.writing() as transaction:
            transaction.outbox.add(OutboxRow(event_id, shard.account, line))


class MarkSync:
    """A thread that syncs the marks of all regions."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = list(shards)
        self._failing: set[str] = set()
        self._ended = threading.Event()
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, name="marks", daemon=True)

    def start(self) -> None:
        if self._shards:
            self._thread.start()

    def stop(self) -> None:
        """Syncs once more and ends the thread."""
        self._ended.set()
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._sync()
        os.close(self._wake)

    def _run(self) -> None:
        writes = FolderWatch(self._shards[0].registry.mark_folder, WRITTEN)  # the marks of all regions are there
        try:
            while not self._ended.is_set():
                writes.take()
                self._sync()
                if not writes.is_blind:
                    writes.wait([self._wake], SYNC_ANYWAY_S)
                self._ended.wait(SYNC_EVERY_S)
        finally:
            writes.close()

    def _sync(self) -> None:
        for shard in self._shards:
            try:
                shard.registry.sync_mark()
            except (OSError, MarkUnusable) as error:
                if shard.region not in self._failing:
                    self._failing.add(shard.region)
                    _log.error("region %s: its mark cannot be synced: %s", shard.region, error)
            else:
                self._failing.discard(shard.region)


def run_all(upkeeps: Iterable[Upkeep], failing: set[str]) -> None:
    """Runs all upkeeps. Logs the first failure of a region; `failing` are those that failed last time."""
    for upkeep in upkeeps:
        region = upkeep.region
        try:
            upkeep.run()
        except (KMSError, OSError) as error:
            if region not in failing:
                failing.add(region)
                _log.error("region %s cannot be looked after for now: %s", region, error)
        else:
            failing.discard(region)
