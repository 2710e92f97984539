"""What the keeper does to keys by the clock: each thing once, not before its time, and only by clocks that agree."""

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
from tests.processes.by_hand import DAY, HOUR, SECOND, HandClock, Kept, events
from tests.processes.served import ROOT
from tests.registry.made import ACCOUNT, add_alias, add_key, new_key, opened, start
from tests.threads import at_once

NOW = 1_800_000_000 * SECOND
DUE = NOW + 7 * DAY
YEAR = 365 * DAY
Keep = Callable[[int], Kept]


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("life") / "data"
    start(folder)
    return folder


@pytest.fixture
def folder(_started: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_started, tmp_path / "data"))


@pytest.fixture
def keep(folder: Path) -> Iterator[Keep]:
    """Starts a keeper at a time."""
    made: list[Kept] = []

    def begin(wall_ns: int) -> Kept:
        made.append(Kept(folder, wall_ns))
        return made[-1]

    yield begin
    for kept in made:
        kept.close()


def doomed(shard: Shard, deletion_ns: int = DUE) -> tuple[Key, list[bytes]]:
    """A key pending deletion with three materials, two aliases and a tag; and its wrapped materials."""
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
    """All of it, or nothing of it."""
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
        (DUE - 2 * HOUR, DUE, False, "at the date, the clocks having agreed for long"),
        (DUE - SECOND, DUE + HOUR - 2 * SECOND, True, "a start begins the hour anew"),
        (DUE - SECOND, DUE + HOUR - SECOND, False, "within an hour of the date"),
        (DUE + 31 * DAY, DUE + 31 * DAY + HOUR - SECOND, True, "down for a month: not at once"),
        (DUE + 31 * DAY, DUE + 31 * DAY + HOUR, False, "down for a month: an hour after the start"),
        (DUE - 31 * DAY, DUE - 31 * DAY + 2 * HOUR, True, "long before"),
    ],
)
def test_when_a_key_is_deleted(keep: Keep, begin: int, until: int, there: bool, reason: str) -> None:
    kept = keep(begin)
    key, _ = doomed(kept.shard)
    other, late = add_key(kept.shard), doomed(kept.shard, DUE + YEAR)[0]
    gauges = kept.to(until)
    assert is_there(kept.shard, key) is there, reason
    assert gauges["keys_deleted"] == len(events(kept.shard, "DeleteKey")) == (not there)
    assert kept.shard.registry.keys.find(other.key_id) is not None
    assert is_there(kept.shard, late)


def test_its_record(keep: Keep) -> None:
    kept = keep(DUE)
    key, _ = doomed(kept.shard)
    kept.to(DUE + HOUR)
    (event,) = events(kept.shard)
    assert (event["eventName"], event["eventType"]) == ("DeleteKey", "AwsServiceEvent")
    assert event["serviceEventDetails"] == {"keyId": key.key_id}
    assert event["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key.arn}]


def test_a_cancelled_deletion_happens_never(keep: Keep) -> None:
    kept = keep(DUE)
    key, _ = doomed(kept.shard)
    with kept.shard.writing() as transaction:
        transaction.keys.change(replace(key, state=KeyState.DISABLED, deletion_ns=None))
    kept.to(DUE + 2 * HOUR)
    assert is_there(kept.shard, key)
    assert due_work.delete_due(kept.shard, DUE + YEAR) == 0


def test_once_with_four_workers_and_four_keepers(folder: Path, keep: Keep) -> None:
    """Workers that have the key at hand hear of it; who looks for it, whoever else does, deletes it once."""
    keepers = [keep(DUE) for _ in range(4)]
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
    ("point", "there"), [("commit.before:2", True), ("commit.after:2", False), ("epoch.after:1", False)]
)
def test_killed_while_it_deletes(folder: Path, keep: Keep, point: str, there: bool) -> None:
    """The first commit records the time, the second one deletes. Whole or not at all, and once in the end."""
    shards = opened(folder)
    key, wrapped = doomed(shards.default)
    command = [sys.executable, "-m", "tests.processes.by_hand", str(folder), str(DUE // SECOND)]
    environment = os.environ | {"KMS_GRPC_FAULT": point}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL
    assert is_there(shards.default, key) is there
    assert len(events(shards.default, "DeleteKey")) == (not there)
    shards.close()
    kept = keep(DUE + HOUR)
    kept.to(DUE + 3 * HOUR)
    assert not is_there(kept.shard, key)
    assert len(events(kept.shard, "DeleteKey")) == 1
    assert found_in(folder, wrapped) == []


def found_in(folder: Path, secrets: list[bytes]) -> list[str]:
    """Files, write-ahead logs among them, that hold any of these bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_nothing_of_its_material_stays_in_any_file(folder: Path, keep: Keep) -> None:
    kept = keep(DUE)
    _, wrapped = doomed(kept.shard)
    assert found_in(folder, wrapped), "else this test would show nothing"
    kept.to(DUE + HOUR)
    assert found_in(folder, wrapped) == []


def test_what_workers_removed_is_erased_within_a_minute(folder: Path, keep: Keep) -> None:
    """Deleted imported material and used pairs: nobody tells the keeper of them."""
    kept = keep(NOW)
    kept.to(NOW + 2 * HOUR)
    _, material = imported(kept.shard, None)
    with kept.shard.writing() as transaction:
        transaction.materials.change(replace(material, wrapped=None))
    assert material.wrapped is not None
    assert found_in(folder, [material.wrapped])
    kept.to(NOW + 2 * HOUR + 60 * SECOND)
    assert found_in(folder, [material.wrapped]) == []


def test_a_clock_that_is_set_within_a_turn(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the keeper has found certain is the reading it looked at: not one that comes later in the same turn, when
    somebody has set the clock a year forward."""
    kept = keep(NOW - 2 * HOUR)
    key, _ = doomed(kept.shard, NOW + YEAR // 2)
    kept.to(NOW)
    looked_at = iter([NOW + 20 * SECOND])
    kept.clock.boot += 20 * SECOND
    monkeypatch.setattr(kept.clock, "wall_ns", lambda: next(looked_at, NOW + YEAR))
    kept.turn()
    assert is_there(kept.shard, key)
    assert kept.shard.registry.latest_time.read_ns() == NOW + 20 * SECOND


# --- clocks that are set -----------------------------------------------------------------------------------------


def test_a_clock_set_a_year_forward_destroys_nothing(keep: Keep) -> None:
    """Neither then, nor for an hour, nor ever after it is set right again; the alarm counts both jumps."""
    kept = keep(NOW)
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


def test_a_clock_set_back_prolongs_nothing_that_was_over(keep: Keep) -> None:
    kept = keep(DUE - 2 * HOUR)
    kept.to(DUE)
    assert kept.shard.registry.latest_time.read_ns() == DUE
    key, _ = doomed(kept.shard, DUE - SECOND)
    lost, _ = imported(kept.shard, DUE - SECOND)
    assert kept.jump(DUE - 31 * DAY)["clock_jumps"] == 1
    worker = JudgedClock(HandClock(DUE - 31 * DAY))
    worker.raise_floor(kept.shard.registry.latest_time.read_ns())
    assert as_of(lost, worker.wall_ns()).state is KeyState.PENDING_IMPORT, "expired stays expired"
    kept.to(DUE - 31 * DAY + HOUR - SECOND)
    assert is_there(kept.shard, key)
    kept.to(DUE - 31 * DAY + 2 * HOUR)
    assert not is_there(kept.shard, key)
    assert len(events(kept.shard, "DeleteExpiredKeyMaterial")) == 1
    assert kept.shard.registry.latest_time.read_ns() == DUE


# --- expiry ------------------------------------------------------------------------------------------------------


def imported(shard: Shard, expires_ns: int | None, waiting_ns: int | None = None) -> tuple[Key, Material]:
    """An external key with its material, and perhaps another that waits for its rotation."""
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
    ("expires", "waiting", "swept", "state", "left"),
    [
        (DUE, None, 1, KeyState.PENDING_IMPORT, [False]),
        (DUE + 1, None, 0, KeyState.ENABLED, [True]),
        (None, DUE, 1, KeyState.ENABLED, [True]),  # what only waited leaves no row, and harms nothing
        (DUE, DUE, 2, KeyState.PENDING_IMPORT, [False]),
        (None, DUE + 1, 0, KeyState.ENABLED, [True, True]),
    ],
)
def test_expired_material_is_swept_once(
    keep: Keep, expires: int | None, waiting: int | None, swept: int, state: KeyState, left: list[bool]
) -> None:
    keepers = [keep(DUE - 2 * HOUR) for _ in range(2)]
    shard = keepers[0].shard
    key, material = imported(shard, expires, waiting)
    for kept in keepers:
        kept.to(DUE - SECOND)
    assert events(shard) == []
    done = at_once(len(keepers), lambda number: keepers[number].to(DUE)["materials_expired"])
    assert sum(done) == (swept > 0)
    told = events(shard, "DeleteExpiredKeyMaterial")
    assert len(told) == swept
    assert all(event["eventType"] == "AwsServiceEvent" for event in told)
    found = shard.registry.keys.find(key.key_id)
    assert found is not None
    assert found.state is state
    rows = shard.registry.materials.list_after(key.key_id, -1, 9)
    assert [row.wrapped is not None for row in rows] == left
    assert rows[0].material_id == material.material_id, "it stays known, for the same bytes to come back to"


def test_a_material_imported_again_in_time_is_not_swept(keep: Keep) -> None:
    kept = keep(DUE - 2 * HOUR)
    key, material = imported(kept.shard, DUE)
    stale = list(kept.shard.registry.keys.due(due_work.Due.EXPIRY, DUE, 9))
    with kept.shard.writing() as transaction:
        renewed = transaction.materials.change(replace(material, expires_ns=DUE + YEAR))
        transaction.keys.change(with_materials(key, [renewed]))
    assert [one.key_id for one in stale] == [key.key_id]
    assert kept.to(DUE)["materials_expired"] == 0
    assert kept.shard.registry.keys.find(key.key_id).state is KeyState.ENABLED  # type: ignore[union-attr]


# --- pairs for importing ------------------------------------------------------------------------------------------


def test_an_expired_pair_is_destroyed_within_a_minute(keep: Keep, folder: Path) -> None:
    """By clocks that agree alone: one that is set forward destroys none."""
    kept = keep(NOW)
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
    kept.turn()
    assert found_in(folder, [pair.wrapped]) == []


def test_pairs_are_made_until_enough_lie_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is recorded as a use of the key that wraps it, in the transaction that stores it."""
    monkeypatch.setattr(import_pairs, "READY", {"RSA_2048": 2})
    shards = opened(folder)
    shard, pairs = shards.default, import_pairs.ImportPairs(shards, HandClock(NOW))
    assert [pairs.turn(shard) for _ in range(3)] == [True, True, False]
    assert shard.registry.pairs.count_ready("RSA_2048") == 2
    told = [(event["eventName"], event["recipientAccountId"]) for event in events(shard)]
    assert told == [
        (name, shard.account) for name in [*["CreateKey"] * 2, *["GenerateDataKeyPairWithoutPlaintext"] * 2]
    ]
    shards.close()


# --- automatic rotation ------------------------------------------------------------------------------------------


def rotating(shard: Shard, next_ns: int, **changes: Any) -> Key:
    key = add_key(shard)
    with shard.writing() as transaction:
        return transaction.keys.change(replace(key, rotation_period_days=90, next_rotation_ns=next_ns, **changes))


def test_a_due_rotation_happens_once_whoever_looks(keep: Keep) -> None:
    keepers = [keep(DUE - 2 * HOUR) for _ in range(4)]
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
        (KeyState.DISABLED, False, "a disabled key waits until it is enabled"),
        (KeyState.PENDING_DELETION, False, "one to be deleted gets no more material"),
        (KeyState.ENABLED, True, "overdue since the server was down: once, and the next one a period from now"),
    ],
)
def test_overdue(keep: Keep, state: KeyState, rotates: bool, reason: str) -> None:
    begin = DUE + 200 * DAY
    kept = keep(begin)
    key = rotating(kept.shard, DUE, state=state, deletion_ns=None)
    gauges = kept.to(begin + SECOND)
    now = kept.shard.registry.keys.find(key.key_id)
    assert now is not None
    assert gauges["keys_rotated"] == rotates, reason
    assert now.next_rotation_ns == (begin + SECOND + 90 * DAY if rotates else DUE)
    if state is KeyState.DISABLED:
        with kept.shard.writing() as transaction:
            transaction.keys.change(replace(now, state=KeyState.ENABLED))
        assert kept.to(begin + 2 * SECOND)["keys_rotated"] == 1, "enabled, it is made up for at once"
