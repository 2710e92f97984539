"""Wrapping pairs for importing, made before anybody asks.

The keeper's own thread makes them, one at a time, the GIL released; they lie in the shard, wrapped. Where none lies
ready, a worker makes one for the call that asks for it, beside all other calls (handlers/importing.py).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Final

from kms_grpc.clock import Clock
from kms_grpc.errors import KMSError
from kms_grpc.registry import imports, owned_keys
from kms_grpc.registry.shards import Shard

READY: Final = {"RSA_2048": 2, "RSA_3072": 1, "RSA_4096": 1}
"""How many of each lie ready in each region."""
BEGIN_SECONDS: Final = 3.0
"""A server that has just started has more urgent things to do."""
LOWEST_PRIORITY: Final = 19
"""Nice value of the thread: it takes what the workers leave."""
PASS_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


class ImportPairs:
    """Keeps the stock of every region. `stop` ends it after the pair that is being made."""

    def __init__(self, shards: Iterable[Shard], clock: Clock) -> None:
        self._shards = list(shards)
        self._clock = clock
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="import-pairs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        for shard in self._shards:
            self._try(shard, _provide_owned_keys)
        self._end.wait(BEGIN_SECONDS)
        while not self._end.is_set():
            made = [self.turn(shard) for shard in self._shards]
            if not any(made):
                self._end.wait(PASS_SECONDS)

    def turn(self, shard: Shard) -> bool:
        """Make at most one pair for the region; whether one was made."""
        return self._try(shard, self._look_after)

    def _look_after(self, shard: Shard, now_ns: int) -> bool:
        owned_keys.provide(shard, now_ns)
        return any(self._provide(shard, spec, count, now_ns) for spec, count in READY.items())

    def _try(self, shard: Shard, work: Callable[[Shard, int], bool]) -> bool:
        try:
            return work(shard, max(self._clock.wall_ns(), shard.registry.latest_time.read_ns()))
        except KMSError as error:
            _log.error("wrapping pairs of %s are not made for now: %s", shard.region, error)
            return False

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
