"""The keeper deletes keys, removes expired material and rotates keys: once, when due, and only by a trusted clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.clock import JudgedClock
from kms_grpc.model.key import Key, KeyState, Material, MaterialState, Origin, Tag
from kms_grpc.model.key_transitions import as_of, with_materials
from kms_grpc.processes import due_work, import_pairs
from kms_grpc.registry import imports, owned_keys
from kms_grpc.registry.shards import Shard
from tests.processes.stand_in_server import ROOT
from tests.processes.stepped_keeper import DAY, HOUR, SECOND, ManualClock, SteppedKeeper, events
from tests.registry.made import ACCOUNT, add_alias, add_key, new_key, opened, start
from tests.threads import at_once

NOW = 1_800_000_000 * SECOND
DUE = NOW + 7 * DAY
YEAR = 365 * DAY
StartKeeper = Callable[[int], SteppedKeeper]


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("due") / "data"
    start(folder)
    return folder


@pytest.fixture
def folder(_started: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_started, tmp_path / "data"))


@pytest.fixture
def start_keeper(folder: Path) -> Iterator[StartKeeper]:
    """Returns a function that starts a keeper whose clock shows the given time."""
    made: list[SteppedKeeper] = []

    def begin(wall_ns: int) -> SteppedKeeper:
        made.append(SteppedKeeper(folder, wall_ns))
        return made[-1]

    yield begin
    for kept in made:
        kept.close()


def doomed(shard: Shard, deletion_ns: int = DUE) -> tuple[Key, list[bytes]]:
    """Returns a key pending deletion, with three materials, two aliases and a tag, and its wrapped materials."""
    key, first = new_key(shard)
    wrapped = [first.wrapped]
    with shard.writing() as transaction:
        key = transaction.keys.add(key, first)
        for number in range(2):
            fresh = shard.generate_material(key.key_id, key.account, number)
            wrapped.append(fresh.wrapped)
            key = transaction.keys.make_current(key, replace(fresh, rotated_ns=1))
        transaction.tags.set(Tag(key.key_id, ACCOUNT, "team", "payroll"))
        key = transaction.keys.change(replace(key, state=KeyState.PENDING_DELETION, deletion_ns=deletion_ns))
    for name in "ab":
        add_alias(shard, f"alias/{key.key_id}-{name}", key)
    return key, [one for one in wrapped if one is not None]


def is_there(shard: Shard, key: Key) -> bool:
    """True if the key and all that belongs to it exist; fails if only a part does."""
    registry = shard.registry
    found = [
        registry.keys.find(key.key_id) is not None,
        len(registry.materials.list_after(key.key_id, -1, 9)) == 3,
        *(registry.aliases.find(ACCOUNT, f"alias/{key.key_id}-{name}") is not None for name in "ab"),
        bool(registry.tags.list_after(key.key_id, "", 9)),
    ]
    assert len(set(found)) == 1, found
    return found[0]


# --- deletion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "until", "there", "reason"),
    [
        (DUE - 2 * HOUR, DUE - SECOND, True, "one second before the date"),
        (DUE - 2 * HOUR, DUE, False, "at the date, with a trusted clock"),
        (DUE - SECOND, DUE + HOUR - 2 * SECOND, True, "less than an hour after the start"),
        (DUE - SECOND, DUE + HOUR - SECOND, False, "an hour after the start"),
        (DUE + 31 * DAY, DUE + 31 * DAY + HOUR - SECOND, True, "after a month without a server: not at once"),
        (DUE + 31 * DAY, DUE + 31 * DAY + HOUR, False, "after a month without a server: an hour after the start"),
        (DUE - 31 * DAY, DUE - 31 * DAY + 2 * HOUR, True, "long before"),
    ],
)
def test_when_a_key_is_deleted(start_keeper: StartKeeper, begin: int, until: int, there: bool, reason: str) -> None:
    kept = start_keeper(begin)
    key, _ = doomed(kept.shard)
    other, late = add_key(kept.shard), doomed(kept.shard, DUE + YEAR)[0]
    gauges = kept.to(until)
    assert is_there(kept.shard, key) is there, reason
    assert gauges["keys_deleted"] == len(events(kept.shard, "DeleteKey")) == (not there)
    assert kept.shard.registry.keys.find(other.key_id) is not None
    assert is_there(kept.shard, late)


def test_the_audit_record_of_a_deletion(start_keeper: StartKeeper) -> None:
    kept = start_keeper(DUE)
    key, _ = doomed(kept.shard)
    kept.to(DUE + HOUR)
    (event,) = events(kept.shard)
    assert (event["eventName"], event["eventType"]) == ("DeleteKey", "AwsServiceEvent")
    assert event["serviceEventDetails"] == {"keyId": key.key_id}
    assert event["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key.arn}]


def test_a_cancelled_deletion_never_happens(start_keeper: StartKeeper) -> None:
    kept = start_keeper(DUE)
    key, _ = doomed(kept.shard)
    with kept.shard.writing() as transaction:
        transaction.keys.change(replace(key, state=KeyState.DISABLED, deletion_ns=None))
    kept.to(DUE + 2 * HOUR)
    assert is_there(kept.shard, key)
    assert due_work.delete_due(kept.shard, DUE + YEAR) == 0


def test_four_keepers_delete_a_key_once_and_four_workers_notice(folder: Path, start_keeper: StartKeeper) -> None:
    """Four keepers run at the same time. The workers have the keys in their caches before."""
    keepers = [start_keeper(DUE) for _ in range(4)]
    keys = [doomed(keepers[0].shard)[0] for _ in range(5)]
    workers = [opened(folder) for _ in range(4)]
    for worker in workers:
        for key in keys:
            assert worker.default.find_key(key.key_id) is not None
            worker.default.current_material(key)
    done = at_once(len(keepers), lambda number: keepers[number].to(DUE + 2 * HOUR)["keys_deleted"])
    assert sum(done) == len(keys)
    assert sorted(event["serviceEventDetails"]["keyId"] for event in events(keepers[0].shard, "DeleteKey")) == sorted(
        key.key_id for key in keys
    )
    for worker in workers:
        assert worker.default.catch_up()
        assert not any(worker.default.find_key(key.key_id) for key in keys)
        worker.close()


@pytest.mark.parametrize(
    ("point", "there"), [("commit.before:7", True), ("commit.after:7", False), ("epoch.after:1", False)]
)
def test_a_keeper_killed_during_a_deletion(folder: Path, start_keeper: StartKeeper, point: str, there: bool) -> None:
    """The first six commits try whether the shard can be written and record the time. The seventh one deletes the key,
    completely or not at all."""
    shards = opened(folder)
    key, wrapped = doomed(shards.default)
    command = [sys.executable, "-m", "tests.processes.stepped_keeper", str(folder), str(DUE // SECOND)]
    environment = os.environ | {"KMS_GRPC_FAULT": point}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL
    assert is_there(shards.default, key) is there
    assert len(events(shards.default, "DeleteKey")) == (not there)
    shards.close()
    kept = start_keeper(DUE + HOUR)
    kept.to(DUE + 3 * HOUR)
    assert not is_there(kept.shard, key)
    assert len(events(kept.shard, "DeleteKey")) == 1
    assert found_in(folder, wrapped) == []


def found_in(folder: Path, secrets: list[bytes]) -> list[str]:
    """Returns the names of files, including write-ahead logs, that contain any of these bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_a_deletion_erases_the_material_from_all_files(folder: Path, start_keeper: StartKeeper) -> None:
    kept = start_keeper(DUE)
    _, wrapped = doomed(kept.shard)
    assert found_in(folder, wrapped), "the material is in a file before"
    kept.to(DUE + HOUR)
    assert found_in(folder, wrapped) == []


def test_material_removed_by_workers_is_erased_within_a_minute(folder: Path, start_keeper: StartKeeper) -> None:
    """Workers do not notify the keeper of deleted imported material and used pairs."""
    kept = start_keeper(NOW)
    kept.to(NOW + 2 * HOUR)
    _, material = imported(kept.shard, None)
    with kept.shard.writing() as transaction:
        transaction.materials.change(replace(material, wrapped=None))
    assert material.wrapped is not None
    assert found_in(folder, [material.wrapped])
    kept.to(NOW + 2 * HOUR + 60 * SECOND)
    assert found_in(folder, [material.wrapped]) == []


def test_a_clock_that_is_set_during_a_pass(start_keeper: StartKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper trusts the reading that it has checked, not a later one in the same pass: here the clock is set a year
    forward in between."""
    kept = start_keeper(NOW - 2 * HOUR)
    key, _ = doomed(kept.shard, NOW + YEAR // 2)
    kept.to(NOW)
    checked = iter([NOW + 20 * SECOND])
    kept.clock.boot += 20 * SECOND
    monkeypatch.setattr(kept.clock, "wall_ns", lambda: next(checked, NOW + YEAR))
    kept.run_pass()
    assert is_there(kept.shard, key)
    assert kept.shard.registry.latest_time.read_ns() == NOW + 20 * SECOND


# --- clocks that are set -----------------------------------------------------------------------------------------


def test_a_clock_set_a_year_forward_destroys_nothing(start_keeper: StartKeeper) -> None:
    """Nothing is destroyed at the jump, in the hour after it, or after a correction. Both jumps are counted."""
    kept = start_keeper(NOW)
    key, _ = doomed(kept.shard)
    kept.to(NOW + 2 * HOUR)
    assert kept.jump(NOW + YEAR)["clock_jumps"] == 1
    kept.to(NOW + YEAR + HOUR - SECOND)
    assert is_there(kept.shard, key)
    assert kept.shard.registry.latest_time.read_ns() <= NOW + 2 * HOUR, "a time that is not trusted is not recorded"
    assert kept.jump(NOW + 3 * HOUR)["clock_jumps"] == 2
    kept.to(NOW + 5 * HOUR)
    assert is_there(kept.shard, key)
    kept.to(DUE - SECOND)
    assert is_there(kept.shard, key)
    kept.to(DUE)
    assert not is_there(kept.shard, key)


def test_a_clock_set_back_postpones_nothing_that_was_due(start_keeper: StartKeeper) -> None:
    kept = start_keeper(DUE - 2 * HOUR)
    kept.to(DUE)
    assert kept.shard.registry.latest_time.read_ns() == DUE
    key, _ = doomed(kept.shard, DUE - SECOND)
    lost, _ = imported(kept.shard, DUE - SECOND)
    assert kept.jump(DUE - 31 * DAY)["clock_jumps"] == 1
    worker = JudgedClock(ManualClock(DUE - 31 * DAY))
    worker.raise_floor(kept.shard.registry.latest_time.read_ns())
    assert as_of(lost, worker.wall_ns()).state is KeyState.PENDING_IMPORT, "expired material stays expired"
    kept.to(DUE - 31 * DAY + HOUR - SECOND)
    assert is_there(kept.shard, key)
    kept.to(DUE - 31 * DAY + 2 * HOUR)
    assert not is_there(kept.shard, key)
    assert len(events(kept.shard, "DeleteExpiredKeyMaterial")) == 1
    assert kept.shard.registry.latest_time.read_ns() == DUE


# --- expiry ------------------------------------------------------------------------------------------------------


def imported(shard: Shard, expires_ns: int | None, waiting_ns: int | None = None) -> tuple[Key, Material]:
    """Returns an external key and its material; with `waiting_ns` it has another one pending rotation."""
    key, material = new_key(shard)
    material = replace(material, origin=Origin.EXTERNAL, expires_ns=expires_ns)
    every = [material]
    if waiting_ns is not None:
        waits = shard.generate_material(key.key_id, key.account, 2)
        every.append(replace(waits, origin=Origin.EXTERNAL, state=MaterialState.PENDING_ROTATION,
                             expires_ns=waiting_ns))  # fmt: skip
    with shard.writing() as transaction:
        key = transaction.keys.add(with_materials(replace(key, origin=Origin.EXTERNAL), every), material)
        for other in every[1:]:
            transaction.materials.add(other)
    return key, material


@pytest.mark.parametrize(
    ("expires", "waiting", "removed", "state", "left"),
    [
        (DUE, None, 1, KeyState.PENDING_IMPORT, [False]),
        (DUE + 1, None, 0, KeyState.ENABLED, [True]),
        (None, DUE, 1, KeyState.ENABLED, [True]),  # material pending rotation leaves no row
        (DUE, DUE, 2, KeyState.PENDING_IMPORT, [False]),
        (None, DUE + 1, 0, KeyState.ENABLED, [True, True]),
    ],
)
def test_expired_material_is_removed_once(
    start_keeper: StartKeeper, expires: int | None, waiting: int | None, removed: int, state: KeyState, left: list[bool]
) -> None:
    keepers = [start_keeper(DUE - 2 * HOUR) for _ in range(2)]
    shard = keepers[0].shard
    key, material = imported(shard, expires, waiting)
    for kept in keepers:
        kept.to(DUE - SECOND)
    assert events(shard) == []
    done = at_once(len(keepers), lambda number: keepers[number].to(DUE)["materials_expired"])
    assert sum(done) == (removed > 0)
    found_events = events(shard, "DeleteExpiredKeyMaterial")
    assert len(found_events) == removed
    assert all(event["eventType"] == "AwsServiceEvent" for event in found_events)
    found = shard.registry.keys.find(key.key_id)
    assert found is not None
    assert found.state is state
    rows = shard.registry.materials.list_after(key.key_id, -1, 9)
    assert [row.wrapped is not None for row in rows] == left
    assert rows[0].material_id == material.material_id, "its id stays, so that the same material can be imported again"


def test_material_imported_again_before_its_expiry_is_kept(start_keeper: StartKeeper) -> None:
    kept = start_keeper(DUE - 2 * HOUR)
    key, material = imported(kept.shard, DUE)
    stale = list(kept.shard.registry.keys.due(due_work.Due.EXPIRY, DUE, 9))
    with kept.shard.writing() as transaction:
        renewed = transaction.materials.change(replace(material, expires_ns=DUE + YEAR))
        transaction.keys.change(with_materials(key, [renewed]))
    assert [one.key_id for one in stale] == [key.key_id]
    assert kept.to(DUE)["materials_expired"] == 0
    assert kept.shard.registry.keys.find(key.key_id).state is KeyState.ENABLED  # type: ignore[union-attr]


# --- pairs for importing ------------------------------------------------------------------------------------------


def test_an_expired_pair_is_destroyed_within_a_minute(start_keeper: StartKeeper, folder: Path) -> None:
    """A clock that is set forward destroys no pair."""
    kept = start_keeper(NOW)
    owned_keys.provide(kept.shard, NOW)
    pair, _ = imports.make_pair(kept.shard, "RSA_2048", NOW)
    key, _ = new_key(kept.shard)
    with kept.shard.writing() as transaction:
        key = transaction.keys.add(replace(key, origin=Origin.EXTERNAL), None)
        pair = transaction.pairs.add(replace(pair, key_id=key.key_id, account=ACCOUNT, expires_ns=NOW + DAY))
    kept.to(NOW + 2 * HOUR)
    kept.jump(NOW + YEAR)
    kept.to(NOW + YEAR + HOUR - SECOND)
    kept.jump(NOW + 4 * HOUR)
    kept.to(NOW + DAY - SECOND)
    assert kept.shard.registry.pairs.find(pair.pair_id) == pair
    kept.to(NOW + DAY + 60 * SECOND)
    assert kept.shard.registry.pairs.find(pair.pair_id) is None
    kept.run_pass()
    assert found_in(folder, [pair.wrapped]) == []


def test_pairs_are_generated_until_enough_are_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair is recorded as a use of the key that wraps it, in the transaction that stores the pair."""
    monkeypatch.setattr(import_pairs, "READY", {"RSA_2048": 2})
    shards = opened(folder)
    shard, pairs = shards.default, import_pairs.ImportPairs(shards, ManualClock(NOW), folder / "regions")
    assert [pairs.make_one(shard) for _ in range(3)] == [True, True, False]
    assert shard.registry.pairs.count_ready("RSA_2048") == 2
    recorded = [(event["eventName"], event["recipientAccountId"]) for event in events(shard)]
    assert recorded == [
        (name, shard.account) for name in [*["CreateKey"] * 2, *["GenerateDataKeyPairWithoutPlaintext"] * 2]
    ]
    pairs.stop()
    shards.close()


# --- automatic rotation ------------------------------------------------------------------------------------------


def rotating(shard: Shard, next_ns: int, **changes: Any) -> Key:
    key = add_key(shard)
    with shard.writing() as transaction:
        return transaction.keys.change(replace(key, rotation_period_days=90, next_rotation_ns=next_ns, **changes))


def test_four_keepers_rotate_a_due_key_once(start_keeper: StartKeeper) -> None:
    keepers = [start_keeper(DUE - 2 * HOUR) for _ in range(4)]
    shard = keepers[0].shard
    keys = [rotating(shard, DUE) for _ in range(3)]
    for kept in keepers:
        kept.to(DUE - SECOND)
    assert events(shard) == []
    done = at_once(len(keepers), lambda number: keepers[number].to(DUE + HOUR)["keys_rotated"])
    assert sum(done) == len(events(shard, "RotateKey")) == len(keys)
    for key in keys:
        now = shard.registry.keys.find(key.key_id)
        rows = shard.registry.materials.list_after(key.key_id, -1, 9)
        assert now is not None
        assert [row.state for row in rows] == [MaterialState.NON_CURRENT, MaterialState.CURRENT]
        assert (now.current_material_id, now.next_rotation_ns) == (rows[1].material_id, DUE + 90 * DAY)


@pytest.mark.parametrize(
    ("state", "rotates", "reason"),
    [
        (KeyState.DISABLED, False, "a disabled key rotates only after it is enabled"),
        (KeyState.PENDING_DELETION, False, "a key pending deletion gets no new material"),
        (KeyState.ENABLED, True, "several overdue rotations happen once; the next is due one period from now"),
    ],
)
def test_overdue_rotations(start_keeper: StartKeeper, state: KeyState, rotates: bool, reason: str) -> None:
    begin = DUE + 200 * DAY
    kept = start_keeper(begin)
    key = rotating(kept.shard, DUE, state=state, deletion_ns=None)
    gauges = kept.to(begin + SECOND)
    now = kept.shard.registry.keys.find(key.key_id)
    assert now is not None
    assert gauges["keys_rotated"] == rotates, reason
    assert now.next_rotation_ns == (begin + SECOND + 90 * DAY if rotates else DUE)
    if state is KeyState.DISABLED:
        with kept.shard.writing() as transaction:
            transaction.keys.change(replace(now, state=KeyState.ENABLED))
        assert kept.to(begin + 2 * SECOND)["keys_rotated"] == 1, "it rotates at once when enabled"
