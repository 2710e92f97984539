"""The keeper finds rows that were rolled back while the server runs, copies logs and syncs marks."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import SystemClock
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.model.key import KeyState
from kms_grpc.processes import upkeep
from kms_grpc.processes.outbox_copier import OutboxCopier
from kms_grpc.processes.upkeep import MarkSync, Upkeep
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql import log_copy, sqlite
from kms_grpc.registry.sql.library import sqlite3
from tests.processes.outbox_copies import copy_all
from tests.processes.stand_in_server import eventually
from tests.registry.damaging import damaged_rows
from tests.registry.made import ACCOUNT, REGION, add_key, opened, shard_file, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    start(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def shard(folder: Path) -> Iterator[Shard]:
    shards = opened(folder)
    yield shards.default
    shards.close()


def test_a_row_rolled_back_while_running_is_found_within_one_round(
    folder: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first round takes nine runs, and each later one a run, since all comparisons count as quick."""
    monkeypatch.setattr(upkeep, "AT_ONCE_S", math.inf)
    monkeypatch.setattr(upkeep, "COMPARE_EVERY_S", 0.0)
    monkeypatch.setattr(upkeep, "REST", 0)
    key = add_key(shard)
    with closing(sqlite3.connect(shard_file(folder))) as connection:
        row = connection.execute("SELECT * FROM keys").fetchone()
    with shard.writing() as transaction:
        transaction.keys.change(replace(key, state=KeyState.DISABLED))
    looked = Upkeep(shard, SystemClock())
    for _ in range(9):
        looked.run()
    assert looked.wrong_buckets == 0
    with closing(sqlite3.connect(shard_file(folder))) as connection, connection:
        connection.execute("DELETE FROM keys")
        connection.execute(f"INSERT INTO keys VALUES ({','.join('?' * len(row))})", row)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            looked.run()
    assert looked.wrong_buckets > 0
    found = [json.loads(each.record) for each in shard.registry.outbox.oldest(9)]
    assert {each["eventName"] for each in found} == {"RowsDifferFromCommitted"}
    assert len(found) == looked.wrong_buckets, "each is reported once"
    assert "is not what was committed to it" in caplog.text


@pytest.mark.parametrize(("seconds_each", "most_at_once"), [(0.0, 256), (0.001, 32)])
def test_a_round_takes_a_second_for_each_bucket(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, seconds_each: float, most_at_once: int
) -> None:
    """Buckets that are compared quickly are compared together, and the next ones wait for so many seconds."""
    compared: list[tuple[float, int, int]] = []
    now = 1_000.0

    def differences(bucket: int, count: int) -> list[str]:
        nonlocal now
        compared.append((now, bucket, count))
        now += count * seconds_each
        return []

    monkeypatch.setattr(shard.registry, "differences", differences)
    monkeypatch.setattr(upkeep, "time", SimpleNamespace(monotonic=lambda: now))
    looked = Upkeep(shard, SystemClock())
    while now < 1_000 + 3 * 256:
        looked.run()
        now += 0.25
    buckets = [bucket % 256 for _, first, count in compared for bucket in range(first, first + count)]
    assert buckets == [number % 256 for number in range(len(buckets))], "in order, without a gap"
    assert len(buckets) >= 2 * 256
    assert max(count for _, _, count in compared) <= most_at_once
    assert len(compared) < 60
    waits = [(later[0] - earlier[0]) / earlier[2] for earlier, later in pairwise(compared)]
    assert all(1.0 <= wait <= 1.3 for wait in waits)


def test_an_upkeep_tells_when_it_has_something_to_do(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the next comparison while nobody writes, and the copying of the log within a second of a write."""
    looked = Upkeep(shard, SystemClock())
    assert looked.seconds_to_due() == 0
    monkeypatch.setattr(upkeep, "COMPARE_EVERY_S", 3600.0)
    add_key(shard)
    looked.run()
    assert 3000 < looked.seconds_to_due() <= 3600
    add_key(shard)
    assert 0 <= looked.seconds_to_due() <= log_copy.SECONDS
    monkeypatch.setattr(log_copy, "SECONDS", 0.0)
    looked.run()
    assert looked.seconds_to_due() > 3000


def test_no_commit_copies_the_log_and_the_keeper_does_within_its_bounds(
    folder: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shard.registry.checkpoint() in (True, False)
    monkeypatch.setattr(log_copy, "SECONDS", 3600.0)
    written = shard_file(folder).stat().st_mtime_ns
    log = Path(f"{shard_file(folder)}-wal")
    while log.stat().st_size < log_copy.BYTES:
        with shard.writing() as transaction:
            for number in range(64):
                row = OutboxRow(f"{log.stat().st_size} {number}", ACCOUNT, os.urandom(16_384))
                transaction.outbox.add(row)
    assert shard_file(folder).stat().st_mtime_ns == written, "commits leave the file alone"
    assert shard.registry.checkpoint(), "the log has 4 MiB"
    assert shard_file(folder).stat().st_size > log_copy.BYTES // 2
    assert not shard.registry.checkpoint(), "nothing was written since"
    add_key(shard)
    assert log.stat().st_size >= log_copy.BYTES, "the log was begun anew, and its file is as long as before"
    assert shard.registry.checkpoint()
    monkeypatch.setattr(log_copy, "BYTES", 1 << 40)
    add_key(shard)
    assert not shard.registry.checkpoint(), "neither so many bytes nor a second"
    monkeypatch.setattr(log_copy, "SECONDS", 0.0)
    assert shard.registry.checkpoint()
    assert not shard.registry.checkpoint()


@pytest.mark.parametrize(("version", "waits"), [("3.46.1", True), ("3.53.4", False)])
def test_an_affected_library_copies_the_log_while_nobody_writes(
    folder: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch, version: str, waits: bool
) -> None:
    """A commit that starts the log anew must not meet the copying (library.py)."""
    monkeypatch.setattr(sqlite, "sqlite_version", lambda: version)
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.2)
    other = opened(folder)
    add_key(shard)
    with other.default.registry.writing():
        if waits:
            with pytest.raises(DependencyTimeoutException, match="others have been writing"):
                shard.registry.checkpoint()
        else:
            assert shard.registry.checkpoint()
    other.close()
    assert shard.registry.checkpoint() == waits
    add_key(shard)


def test_the_mark_is_synced_within_100_ms_of_a_write(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[float] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (synced.append(time.monotonic()), real(descriptor))[1])
    marks = MarkSync([shard])
    marks.start()
    eventually(lambda: len(synced) == 1, "the first sync")
    time.sleep(0.3)
    assert len(synced) == 1, "nothing was written"
    add_key(shard)
    eventually(lambda: len(synced) == 2, "the sync of the write")
    marks.stop()
    assert upkeep.SYNC_EVERY_S <= 0.1


def test_a_forged_outbox_row_is_not_copied(folder: Path, shard: Shard, caplog: pytest.LogCaptureFixture) -> None:
    """It is left in the outbox, logged, and named by the scan of the rows; genuine rows are copied."""
    with shard.writing() as transaction:
        transaction.outbox.add(OutboxRow("genuine", ACCOUNT, b'{"eventID":"genuine"}'))
        transaction.outbox.add(OutboxRow("changed", ACCOUNT, b'{"eventID":"changed"}'))
    with closing(sqlite3.connect(shard_file(folder))) as connection, connection:
        forged: tuple[Any, ...] = ("forged", ACCOUNT, b'{"eventID":"forged"}')
        connection.execute("INSERT INTO outbox (event_id, account, record, mac) VALUES (?, ?, ?, NULL)", forged)
        connection.execute("UPDATE outbox SET record = ? WHERE event_id = 'changed'", [b'{"eventID":"other"}'])
    (folder / "audit").mkdir()
    log = FileAuditLog(folder / "audit" / "keeper.jsonl", SystemClock())
    copy_all(OutboxCopier({REGION: shard.registry}, log, folder / "audit" / "position"))
    log.close()
    assert log.path.read_bytes() == b'{"eventID":"genuine"}\n'
    names = sorted(name for name in damaged_rows(shard.registry) if "outbox" in name)
    assert names == ["audit record changed in the outbox", "audit record forged in the outbox"]
    assert "audit record forged in the outbox was changed on disk" in caplog.text
