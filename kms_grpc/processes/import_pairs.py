"""Generates RSA wrapping key pairs for GetParametersForImport in advance.

A thread of the keeper generates one pair at a time, with the GIL released, and stores it wrapped in the shard. If no
pair is ready, a worker generates one during the call (operations/handlers/importing.py).
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from kms_grpc.clock import Clock
from kms_grpc.errors import KMSError
from kms_grpc.folder_watch import WRITTEN, FolderWatch
from kms_grpc.processes.looks import ANYWAY_NS
from kms_grpc.registry import imports, owned_keys
from kms_grpc.registry.shards import Shard

READY: Final = {"RSA_2048": 2, "RSA_3072": 1, "RSA_4096": 1}
"""Number of ready pairs per wrapping key spec that each region keeps."""
BEGIN_SECONDS: Final = 3.0
"""Delay after the start, when the processor is busy with starting the server."""
LOWEST_PRIORITY: Final = 19
"""Nice value of the thread, so that workers come first."""
PASS_SECONDS: Final = 0.5
"""How long after a write a region is looked at."""

_log = logging.getLogger(__name__)


class ImportPairs:
    """Keeps READY pairs in every region. `stop` returns after the pair that is being generated."""

    def __init__(self, shards: Iterable[Shard], clock: Clock, folder: Path) -> None:
        """`folder` is the one that the shards are in."""
        self._shards = list(shards)
        self._clock = clock
        self._writes = FolderWatch(folder, WRITTEN)
        self._complete: dict[str, object] = {}
        """The version of each shard at the last look that found all pairs."""
        self._look_anyway_ns: dict[str, int] = {}
        self._end = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, name="import-pairs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        os.eventfd_write(self._end, 1)
        if self._thread.ident is not None:
            self._thread.join()
        self._writes.close()
        os.close(self._end)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        for shard in self._shards:
            self._try(shard, _provide_owned_keys)
        pause = BEGIN_SECONDS
        while not self._ends(pause):
            self._writes.take()
            made = [self._look(shard) for shard in self._shards if self._is_due(shard)]
            pause = 0 if any(made) else PASS_SECONDS
            if not made and not self._writes.is_blind and self._writes.wait([self._end], ANYWAY_NS / 1e9):
                return

    def _ends(self, seconds: float) -> bool:
        return bool(select.select([self._end], [], [], seconds)[0])

    def _is_due(self, shard: Shard) -> bool:
        """Returns whether a region was written to since it had all pairs, or not looked at for long: pairs expire."""
        unchanged = self._complete.get(shard.region) == shard.registry.version()
        return not unchanged or self._clock.boot_ns() >= self._look_anyway_ns[shard.region]

    def _look(self, shard: Shard) -> bool:
        """Generate at most one pair for a region; True if one was generated."""
        version = shard.registry.version()
        self._complete.pop(shard.region, None)
        self._look_anyway_ns[shard.region] = self._clock.boot_ns() + ANYWAY_NS
        made = self.make_one(shard)
        if made is False:
            self._complete[shard.region] = version
        return bool(made)

    def make_one(self, shard: Shard) -> bool | None:
        """Generate at most one pair for a region. True if one was generated, False if none is missing, None if that
        failed."""
        return self._try(shard, self._provide_any)

    def _provide_any(self, shard: Shard, now_ns: int) -> bool:
        owned_keys.provide(shard, now_ns)
        return any(self._provide(shard, spec, count, now_ns) for spec, count in READY.items())

    def _try(self, shard: Shard, work: Callable[[Shard, int], bool]) -> bool | None:
        try:
            return work(shard, max(self._clock.wall_ns(), shard.registry.latest_time.read_ns()))
        except KMSError as error:
            _log.error("cannot generate wrapping key pairs of %s for now: %s", shard.region, error)
            return None

    def _provide(self, shard: Shard, spec: str, count: int, now_ns: int) -> bool:
        if shard.registry.pairs.count_ready(spec) >= count:
            return False
        pair, record = imports.make_pair(shard, spec, now_ns)
        with shard.registry.writing() as transaction:
            transaction.pairs.add(pair)
            transaction.outbox.add(record)
        return True


def _provide_owned_keys(shard: Shard, now_ns: int) -> bool:
    owned_keys.provide(shard, now_ns)
    return False
