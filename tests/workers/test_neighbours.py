"""One tenant's writes and a slow disk leave another tenant's reads alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.workers.connections import Caller, connect
from tests.workers.slow_disk import SlowDisk

FSYNC_MS = 3000
WRITES = 12


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_reads_are_not_moved_by_writes_that_wait_for_a_slow_disk(
    start_server: StartServer, tmp_path: Path, held: ExitStack
) -> None:
    """Twelve writes wait for fsync, more than a worker has threads. Meanwhile warm and cold calls on each worker take
    no longer than this machine's load makes them."""
    disk = SlowDisk(tmp_path)
    server = start_server(workers=2, environment=disk.environment)
    callers = connect(server, held)
    each = [next(caller for caller in callers if caller.worker == worker) for worker in (0, 1)]
    warm, *cold = (callers[0].call("CreateKey").key_metadata.key_id for _ in range(3))
    blob = each[0].call("Encrypt", key_id=warm, plaintext=b"neighbour").ciphertext_blob
    for caller in each:
        caller.call("Decrypt", ciphertext_blob=blob)
    disk.fsync_takes(FSYNC_MS)
    writes = [callers[number % len(callers)].begin("CreateKey") for number in range(WRITES)]
    time.sleep(0.3)
    slowest = max(
        _seconds(caller, "Encrypt", key_id=key_id, plaintext=b"x") if key_id else _seconds(caller, "Decrypt", blob=blob)
        for caller in each
        for key_id in (None, *cold, None)
    )
    waiting = sum(not write.done() for write in writes)
    disk.fsync_takes(0)
    assert waiting, "the writes were too fast for this test to show anything"
    assert slowest < FSYNC_MS / 1000 / 3, f"{slowest:.2f} s while {waiting} writes waited"
    assert {write.code().name for write in writes} == {"OK"}


def _seconds(caller: Caller, name: str, **fields: object) -> float:
    if "blob" in fields:
        fields = {"ciphertext_blob": fields["blob"]}
    begun = time.monotonic()
    caller.call(name, **fields)
    return time.monotonic() - begun
