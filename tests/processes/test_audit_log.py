"""The audit log on real files: acknowledged records are there once, in order, as whole lines."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kms_grpc.audit import log as audit_log
from kms_grpc.audit import reserve
from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import SystemClock
from kms_grpc.config import from_values
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.processes.run_folder import RunFolder
from tests.processes.small_disk import MIB, fill, small_disk
from tests.processes.stand_in_server import eventually

__all__ = ["small_disk"]

Open = Callable[..., FileAuditLog]


def line(number: int, size: int = 0) -> bytes:
    return json.dumps({"number": number, "filling": "x" * size}).encode() + b"\n"


def numbers(path: Path) -> list[int]:
    """Returns the numbers of all lines, each of which must be whole."""
    return [json.loads(text)["number"] for text in path.read_bytes().splitlines() if b"eventName" not in text]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.jsonl"


@pytest.fixture
def opened() -> Iterator[Open]:
    logs: list[FileAuditLog] = []

    def open_log(path: Path, **options: int) -> FileAuditLog:
        logs.append(FileAuditLog(path, SystemClock(), **options))
        return logs[-1]

    yield open_log
    for each in logs:
        each.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log checks its file all the time instead of once a second."""
    monkeypatch.setattr(audit_log, "CHECK_SECONDS", 0.0)


# --- opening an existing log -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),  # a first start
        (line(1), line(1)),  # a clean end
        (line(1) + b'{"num', line(1) + b'{"num\n'),  # killed in the middle of a write
        (line(1) + b"\0" * 9, line(1) + b"\0" * 9 + b"\n"),  # power loss: the size was written before the data
        (b"\n", b"\n"),
        (b'{"num', b'{"num\n'),  # the first line of all
    ],
)
def test_a_torn_last_line_is_closed(path: Path, opened: Open, before: bytes, after: bytes) -> None:
    path.write_bytes(before)
    opened(path).write(line(2))
    assert path.read_bytes() == after + line(2)


def test_a_clean_start_writes_nothing(path: Path, opened: Open) -> None:
    opened(path).close()
    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o777 == 0o600


# --- acknowledged records ----------------------------------------------------------------------------------------


def test_write_also_writes_all_earlier_records(path: Path, opened: Open) -> None:
    log = opened(path, tick_seconds=3600)
    for number in range(5):
        log.append(line(number))
    assert numbers(path) == []
    log.write(line(5))
    assert numbers(path) == [0, 1, 2, 3, 4, 5]


def test_appended_records_are_synced_without_a_write(path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    log = opened(path)
    log.append(line(1))
    eventually(lambda: synced == [len(line(1))], "one fdatasync of the whole line")
    log.write(line(2))
    eventually(lambda: synced == [len(line(1)), len(line(1) + line(2))], "one more, since there is more")


def test_records_of_many_threads_are_written_once(path: Path, opened: Open) -> None:
    log = opened(path)

    def work(thread: int) -> None:
        for number in range(500):
            (log.write if number % 3 else log.append)(line(thread * 500 + number))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    seen = numbers(path)
    assert sorted(seen) == list(range(4000))
    for thread in range(8):
        assert [n for n in seen if n // 500 == thread] == list(range(thread * 500, thread * 500 + 500)), "in order"


def test_held_bytes_are_counted_exactly_while_threads_append(path: Path, opened: Open) -> None:
    """A count that loses an addition lets more than the limit be held, one that loses a subtraction less."""
    made, switching = opened(path, tick_seconds=0), sys.getswitchinterval()
    record = line(1)
    threads = [threading.Thread(target=lambda: [made.append(record) for _ in range(60_000)]) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switching)
    made.write(record)
    assert made.facts().held_bytes == 0
    assert len(numbers(path)) == 240_001 - made.facts().dropped


def test_a_slow_disk_loses_nothing(path: Path, opened: Open) -> None:
    """The syncing thread sleeps while more records arrive than may be held in memory."""
    log = opened(path, tick_seconds=3600, held_bytes=1000)
    for number in range(200):
        log.append(line(number))
    log.close()
    assert numbers(path) == list(range(200))
    assert log.facts().dropped == 0


def test_a_closed_log_refuses_records(path: Path, opened: Open) -> None:
    log = opened(path)
    log.close()
    log.close()
    with pytest.raises(DependencyTimeoutException, match="closed"):
        log.write(line(1))


# --- rotation ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("deleted", [False, True])
def test_a_moved_or_deleted_log_is_created_again(
    path: Path, opened: Open, deleted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(path, reserve_bytes=MIB)
    log.write(line(1))
    old = os.open(path, os.O_RDONLY)
    path.unlink() if deleted else path.rename(path.with_suffix(".1"))
    eventually(path.exists, "a new log")
    eventually(lambda: reserve.left(old) < 4096, "the old file has released its reserve")
    log.write(line(2))
    assert numbers(path) == [2]
    eventually(lambda: log.facts().reserve_bytes > MIB // 2, "a reserve for the new file")
    assert f"{path} was moved or deleted" in caplog.text
    os.close(old)


@pytest.mark.parametrize("folder_too", [False, True])
def test_a_deleted_log_is_a_gap_that_stops_writes_and_leaves_a_record(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, folder_too: bool
) -> None:
    """A file that was moved takes further lines; a deleted one takes none, so that no record is lost unseen."""
    monkeypatch.setattr(audit_log, "CHECK_SECONDS", 3600.0)
    folder = path.parent / "audit"
    folder.mkdir()
    log = opened(folder / path.name)
    log.write(line(1))
    (folder / path.name).rename(folder / "moved")
    log.write(line(2))
    assert numbers(folder / "moved") == [1, 2]
    (folder / "moved").unlink()
    if folder_too:
        folder.rmdir()
    with pytest.raises(DependencyTimeoutException, match="its file was deleted"):
        log.write(line(3))
    log.append(line(4))
    monkeypatch.setattr(audit_log, "CHECK_SECONDS", 0.0)
    eventually(lambda: not log.facts().blocked, "the log is made anew")
    log.write(line(5))
    assert numbers(folder / path.name) == [4, 5]
    gap = json.loads((folder / path.name).read_bytes().splitlines()[0])
    assert (gap["eventName"], gap["additionalEventData"]) == (
        "AuditLogGap",
        {"file": path.name, "lostBytes": len(line(1) + line(2))},
    )
    assert log.facts().gaps == 1


@pytest.mark.usefixtures("impatient")
def test_rotation_under_load_loses_nothing(path: Path, opened: Open) -> None:
    log = opened(path)
    for number in range(3000):
        (log.write if number % 2 else log.append)(line(number))
        if number % 1000 == 500:
            path.rename(path.with_suffix(f".{number}"))
            eventually(path.exists, "a new log")
    log.close()
    files = [*(path.with_suffix(f".{number}") for number in (500, 1500, 2500)), path]
    assert [n for file in files for n in numbers(file)] == list(range(3000))


# --- a full disk -------------------------------------------------------------------------------------------------


def _write_until_refused(log: FileAuditLog, first: int) -> int:
    """Write numbered lines; return the number of the first refused one."""
    number = first
    try:
        while True:
            log.write(line(number, 1000))
            number += 1
    except DependencyTimeoutException as refusal:
        assert "audit log worker-0.jsonl cannot be written: No space left on device" in refusal.text
        assert "make room" in refusal.text
        return number


def test_a_full_disk_until_there_is_space_again(
    small_disk: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "worker-0.jsonl"
    log = opened(path, reserve_bytes=MIB, held_bytes=10_000)
    log.write(line(0, 1000))
    filler = fill(small_disk)

    refused = _write_until_refused(log, 1)
    assert 900 < refused < 1100, "the log used its reserve of 1 MiB"
    assert log.facts().blocked
    assert numbers(path) == list(range(refused)), "whole lines, and no refused one"

    for number in range(refused, refused + 20):
        log.append(line(number, 1000))
    held = log.facts()
    assert (held.held_bytes, held.dropped) == (9 * len(line(refused, 1000)), 11)
    eventually(lambda: "calls that need it are refused" in caplog.text, "a log message")

    filler.unlink()
    eventually(lambda: not log.facts().blocked, "space again")
    eventually(lambda: b"AuditRecordsLost" in path.read_bytes(), "a record with the number of lost records")
    log.write(line(refused + 9, 1000))
    assert numbers(path) == list(range(refused + 10)), "held records are written in order"
    (lost,) = [json.loads(text) for text in path.read_bytes().splitlines() if b"AuditRecordsLost" in text]
    assert lost["additionalEventData"] == {"lost": 11}
    eventually(lambda: log.facts().reserve_bytes > MIB // 2, "the reserve is rebuilt")


def test_appended_lines_are_held_while_others_are_refused(small_disk: Path, opened: Open) -> None:
    """A refused call is audited too: its record is held and written before later records."""
    path = small_disk / "worker-0.jsonl"
    log = opened(path)
    filler = fill(small_disk)
    refused = _write_until_refused(log, 0)
    log.append(line(10_000))
    with pytest.raises(DependencyTimeoutException):
        log.write(line(10_001))
    filler.unlink()
    eventually(lambda: not log.facts().blocked, "space again")
    log.write(line(10_002))
    assert numbers(path) == [*range(refused), 10_000, 10_002]


def test_a_disk_that_stays_full_is_logged_once(
    small_disk: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(small_disk / "worker-0.jsonl")
    filler = fill(small_disk)
    _write_until_refused(log, 0)
    for _ in range(3):
        log._check()
        assert log.facts().blocked
    filler.unlink()
    log._check()
    assert not log.facts().blocked
    logged = [record.getMessage().removeprefix(f"the audit log {log.path} ") for record in caplog.records]
    assert logged == [
        "cannot be written: No space left on device; calls that need it are refused",
        "is written again",
    ]


def test_a_disk_without_space_for_the_reserve(small_disk: Path, opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "worker-0.jsonl"
    path.write_bytes(line(1) + b'{"torn')
    filler = fill(small_disk)
    log = opened(path, reserve_bytes=MIB)
    assert f"no reserve of {MIB} bytes for the audit log {path}: No space left on device" in caplog.text
    filler.unlink()
    eventually(lambda: log.facts().reserve_bytes >= MIB, "a reserve once there is space")
    log.write(line(2))
    assert path.read_bytes() == line(1) + b'{"torn\n' + line(2)


def test_the_reserve_of_a_removed_worker_is_released(tmp_path: Path) -> None:
    """A server with three workers is killed and started again with two."""
    run = RunFolder(tmp_path)
    run.audit.mkdir()
    for worker in (1, 2):
        run.worker_log(worker).write_bytes(line(worker))
        with run.worker_log(worker).open("ab") as file:
            reserve.extend(file.fileno(), MIB)
    run.make(from_values({"data_dir": str(tmp_path), "regions": ["eu-central-1"], "workers": 2}), ["Encrypt"])
    sizes = [run.worker_log(worker).stat() for worker in (1, 2)]
    assert sizes[0].st_blocks * 512 > MIB > 64 * 1024 > sizes[1].st_blocks * 512
    assert [numbers(run.worker_log(worker)) for worker in (1, 2)] == [[1], [2]]


def test_a_file_system_without_fallocate_is_logged_once(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On NFS before 4.2, for example, fallocate fails with EOPNOTSUPP."""

    def extend(descriptor: int, size: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(reserve, "extend", extend)
    with caplog.at_level(logging.WARNING):
        log = opened(path, reserve_bytes=MIB)
        log.write(line(1))
        log.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"no reserve of {MIB} bytes for the audit log {path}: Operation not supported"
    ]
    assert numbers(path) == [1]
