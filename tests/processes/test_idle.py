"""An idle server sleeps: its processes are woken by what happens, and by the beat. tests/idle.py measures its cost.

The tests count how often a thread went to sleep, which the load of the machine does not change.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kms_grpc import folder_watch
from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import SystemClock
from kms_grpc.folder_watch import RENAMED, WRITTEN, FolderWatch
from kms_grpc.processes import due_work
from kms_grpc.processes.file_descriptors import Descriptors
from kms_grpc.processes.upkeep import Upkeep
from kms_grpc.processes.writability import ASK_EVERY_NS
from kms_grpc.registry.sql import log_copy
from kms_grpc.registry.sql.row_hashes import BUCKETS, ROW_HASH
from kms_grpc.registry.sql.rows import RowKind, RowMac
from kms_grpc.registry.words import create_words, words_path
from tests.processes.stand_in_server import eventually
from tests.processes.stepped_keeper import DAY, HOUR, SECOND, SteppedKeeper
from tests.processes.test_due_work import rotating
from tests.registry.made import add_key, opened, start
from tests.registry.test_caches import switch

NOW = 1_800_000_000 * SECOND


def sleeps(task: int, process: str = "self") -> int:
    """Returns how often a thread has gone to sleep so far."""
    status = Path(f"/proc/{process}/task/{task}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])


# --- the watch of a folder ---------------------------------------------------------------------------------------


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[int], FolderWatch]]:
    made: list[FolderWatch] = []

    def watched(events: int) -> FolderWatch:
        made.append(FolderWatch(tmp_path, events))
        return made[-1]

    (tmp_path / "file").write_bytes(b"before")
    yield watched
    for each in made:
        each.close()


def _append(folder: Path) -> None:
    with (folder / "file").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("events", "happens", "told"),
    [
        (WRITTEN, _append, True),  # a commit writes to the write-ahead log
        (WRITTEN, lambda folder: (folder / "new").touch(), True),  # the first commit of a shard makes that log
        (WRITTEN, lambda folder: (folder / "file").unlink(), True),
        (WRITTEN, lambda folder: (folder / "file").read_bytes(), False),
        (RENAMED, lambda folder: (folder / "file").rename(folder / "file.1"), True),  # logrotate
        (RENAMED, lambda folder: (folder / "file").unlink(), True),
        (RENAMED, _append, False),  # the log's own lines
    ],
)
def test_a_watch_reports_the_events_that_it_was_asked_for(
    tmp_path: Path,
    watch: Callable[[int], FolderWatch],
    events: int,
    happens: Callable[[Path], object],
    told: bool,
) -> None:
    watched = watch(events)
    assert not watched.is_blind
    assert not watched.take()
    for _ in range(2):
        (tmp_path / "file").unlink(missing_ok=True)
        (tmp_path / "file").touch()
        watched.take()
        happens(tmp_path)
        (tmp_path / "new").unlink(missing_ok=True)
        assert watched.take() is told
    assert not watched.take(), "nothing happened since"


def test_many_writes_are_reported_once_until_taken(tmp_path: Path, watch: Callable[[int], FolderWatch]) -> None:
    watched = watch(WRITTEN)
    for _ in range(1000):
        _append(tmp_path)
    assert watched.wait([], 60) is False
    assert watched.take()
    assert not watched.take()


def test_writes_of_other_processes_are_reported(tmp_path: Path, watch: Callable[[int], FolderWatch]) -> None:
    watched = watch(WRITTEN)
    code = "import os, sys; os.pwrite(os.open(sys.argv[1], os.O_RDWR), b'x', 2)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True)
    assert watched.take()


def test_a_folder_that_was_moved_and_made_anew_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    watched = FolderWatch(folder, WRITTEN)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert watched.take()
    assert not watched.take()
    (folder / "new").touch()
    assert watched.take()
    watched.close()


def test_a_folder_that_cannot_be_watched_is_looked_at_until_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    watched = FolderWatch(folder, WRITTEN)
    assert watched.is_blind
    assert watched.take()
    assert watched.take()
    folder.mkdir()
    assert watched.take()
    assert not watched.is_blind
    assert not watched.take()
    watched.close()


def test_without_inotify_a_folder_is_looked_at_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoInotify:
        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(folder_watch, "_libc", NoInotify())
    watched = FolderWatch(tmp_path, WRITTEN)
    assert watched.is_blind
    assert watched.take()
    assert watched.wait([], 0.01) is False
    watched.close()


# --- the keeper --------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[SteppedKeeper]:
    start(tmp_path / "data")
    made = SteppedKeeper(tmp_path / "data", NOW)
    eventually(lambda: _is_quiet(made), "the last commit is old enough to be told from a new one")
    yield made
    made.close()


def _is_quiet(kept: SteppedKeeper) -> bool:
    kept.run_pass()
    return kept.work.is_quiet


def test_a_keeper_is_quiet_until_something_is_written(kept: SteppedKeeper) -> None:
    key = add_key(kept.shard)
    assert not _is_quiet(kept)
    eventually(lambda: _is_quiet(kept), "nothing is left to do")
    switch(kept.shard, key.key_id, key.state)
    assert not _is_quiet(kept)


@pytest.mark.parametrize(
    ("ahead_ns", "seconds"),
    [
        (3 * SECOND, 3),  # it sleeps until the date
        (0, 0),
        (-HOUR, 0),  # overdue, as for a change that failed
        (DAY, ASK_EVERY_NS / SECOND),  # the next try whether shards can be written comes first
    ],
)
def test_a_keeper_sleeps_until_the_next_date(
    kept: SteppedKeeper, ahead_ns: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upkeep, "seconds_to_due", lambda upkeep: 3600.0)
    kept.clock.step(ASK_EVERY_NS / SECOND)
    eventually(lambda: _is_quiet(kept), "nothing is left to do")
    rotating(kept.shard, kept.clock.wall + DAY)
    eventually(lambda: _is_quiet(kept), "the date was read")
    kept.clock.wall += DAY - ahead_ns
    assert kept.work.seconds_to_due() == pytest.approx(seconds, abs=1e-6)


def test_a_keeper_wakes_to_copy_a_log_that_was_written_to(kept: SteppedKeeper) -> None:
    kept.clock.step(ASK_EVERY_NS / SECOND)
    eventually(lambda: _is_quiet(kept) and kept.work.seconds_to_due() > log_copy.SECONDS, "nothing is left to do")
    add_key(kept.shard)
    assert kept.work.seconds_to_due() <= log_copy.SECONDS


def test_regions_record_a_trusted_time_in_turn(tmp_path: Path) -> None:
    """One commit each ten seconds serves all regions: each process knows the time, and so does one that starts."""
    regions, folder = ["eu-west-1", "eu-west-2", "eu-west-3"], tmp_path / "data"
    start(folder, regions)
    kept = SteppedKeeper(folder, NOW, regions)
    kept.to(NOW + HOUR + 60 * SECOND)
    for _ in range(2 * len(regions)):
        before = [shard.registry.latest_time.read_ns() for shard in kept.shards]
        kept.clock.step(10)
        kept.run_pass()
        after = [shard.registry.latest_time.read_ns() for shard in kept.shards]
        assert sum(later > earlier for earlier, later in zip(before, after, strict=True)) == 1
        assert {shard.words.latest_time.value for shard in kept.shards} == {max(after)} == {kept.clock.wall}
    assert kept.clock.wall - min(after) == 20 * SECOND, "each in turn"
    latest = kept.clock.wall
    kept.close()
    create_words(words_path(folder), len(regions))  # as at each start
    with closing(opened(folder, regions)) as started:
        assert {shard.words.latest_time.value for shard in started} == {latest}


def test_a_time_that_is_not_trusted_is_told_to_nobody(tmp_path: Path) -> None:
    regions, folder = ["eu-west-1", "eu-west-2"], tmp_path / "data"
    start(folder, regions)
    kept = SteppedKeeper(folder, NOW, regions)
    kept.to(NOW + HOUR - SECOND)
    assert {shard.words.latest_time.value for shard in kept.shards} == {0}
    assert {shard.registry.latest_time.read_ns() for shard in kept.shards} == {0}
    kept.close()


def test_something_due_happens_after_its_time_is_on_disk(kept: SteppedKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.to(NOW + 2 * HOUR)
    recorded: list[int] = []
    monkeypatch.setattr(
        due_work, "delete_due", lambda shard, now_ns: recorded.append(shard.registry.latest_time.read_ns()) or 0
    )
    add_key(kept.shard)  # leads to a look
    kept.clock.step(60)
    kept.run_pass()
    assert recorded == [kept.clock.wall]


# --- a worker's beat ---------------------------------------------------------------------------------------------


def test_a_worker_counts_its_descriptors_every_five_seconds() -> None:
    now = 0.0
    watched = Descriptors(lambda: now)
    counted = []
    for _ in range(11):
        counted.append(bool(watched.gauges()))
        now += 1
    assert counted == [second % 5 == 0 for second in range(11)]


# --- what is compared again and again ----------------------------------------------------------------------------


def test_an_unchanged_shard_is_compared_without_its_macs(kept: SteppedKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row hashes and mark that were verified are told by their SHA-256; rows are verified each time."""
    made: list[RowKind] = []
    holds = RowMac.holds
    monkeypatch.setattr(RowMac, "holds", lambda macs, kind, row: made.append(kind) or holds(macs, kind, row))
    kept.shard.registry.differences(0, BUCKETS)
    made.clear()
    for _ in range(2):
        assert not kept.shard.registry.differences(0, BUCKETS)
    assert ROW_HASH not in made
    rows = len(made)
    add_key(kept.shard)
    made.clear()
    assert not kept.shard.registry.differences(0, BUCKETS)
    assert made.count(ROW_HASH) == BUCKETS, "they have changed"
    assert len(made) - BUCKETS > rows / 2, "the rows again"


# --- threads -----------------------------------------------------------------------------------------------------


def test_the_thread_of_an_audit_log_sleeps_until_there_is_a_line(tmp_path: Path) -> None:
    log = FileAuditLog(tmp_path / "log.jsonl", SystemClock())
    thread = log._thread.native_id
    assert thread is not None
    time.sleep(0.5)
    before = sleeps(thread)
    time.sleep(2.5)
    assert sleeps(thread) == before
    log.append(b"{}\n")
    eventually(lambda: log.path.read_bytes() == b"{}\n", "it is awake")
    log.close()
