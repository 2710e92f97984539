"""A full disk: writes are refused with the reason, stored rows stay readable, and writes succeed again with room."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.model.key import KeyState
from kms_grpc.registry.own_row import WillNotStart
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.wal_reserve import KEPT_BYTES, WalReserve
from tests.registry.damaging import damaged_rows
from tests.registry.made import ACCOUNT, REGION, add_alias, add_key, opened, start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT PROVEN HERE: mounting a small tmpfs needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Fills the file system to the last byte."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def add_until_refused(shard: Shard) -> None:
    for _ in range(100_000):
        try:
            add_key(shard, description="x" * 500)
        except DependencyTimeoutException as error:
            assert f"region {REGION} cannot be written: no space left on its disk" in error.text, error.text
            return
    raise AssertionError("the disk is never full")


def read_all(shard: Shard, names: list[str]) -> None:
    assert [key.key_id for key in shard.registry.keys.list_after(ACCOUNT, 0, 10_000)] == names
    for name in names:
        assert shard.registry.keys.find(name) is not None
        found = shard.find_key(name)
        assert found is not None
        shard.current_material(found)


def test_a_full_disk_refuses_writes_and_serves_reads(disk: Path) -> None:
    start(disk / "data")
    shards = opened(disk / "data")
    shard = shards.default
    alias = add_alias(shard, "alias/a", add_key(shard))
    filler = fill(disk)
    add_until_refused(shard)
    fill(disk)
    names = [key.key_id for key in shard.registry.keys.list_after(ACCOUNT, 0, 10_000)]
    with pytest.raises(DependencyTimeoutException, match="no space left"), shard.writing() as transaction:
        for n in range(100):
            transaction.outbox.add(OutboxRow(f"event-{n}", ACCOUNT, bytes(10_000)))
    readers = [
        threading.Thread(target=read_all, args=(shard, names)) for _ in range(12)
    ]  # more than SqliteStore keeps open
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    late = opened(disk / "data").default
    read_all(late, names)
    late.close()
    assert shard.find_alias(ACCOUNT, "alias/a") == alias
    filler.unlink()
    with shard.writing() as transaction:
        transaction.aliases.change(replace(alias, updated_ns=2))
    names.append(add_key(shard).key_id)
    read_all(shard, names)
    assert (damaged_rows(shard.registry), list(shard.registry.outbox.oldest(10))) == ([], [])
    assert shard.registry.keys.count(ACCOUNT) == len(names)
    shards.close()


@pytest.mark.parametrize("prepared", [False, True], ids=["first start", "later start"])
def test_a_start_on_a_full_disk_is_refused_and_the_next_one_is_whole(disk: Path, prepared: bool) -> None:
    data = disk / "data"
    data.mkdir()
    if prepared:
        start(data)
        shards = opened(data)
        name = add_key(shards.default).key_id
        shards.close()
    filler = fill(disk)
    with pytest.raises(WillNotStart, match=r"room on its disk|No space left|no space left"):
        start(data)
    filler.unlink()
    start(data)
    shards = opened(data)
    if prepared:
        read_all(shards.default, [name])
    add_key(shards.default)
    shards.close()


def test_writes_that_take_rights_away_commit_on_a_full_disk(disk: Path) -> None:
    start(disk / "data")
    shards = opened(disk / "data")
    shard = shards.default
    keys = [add_key(shard) for _ in range(12)]
    fill(disk)
    with pytest.raises(DependencyTimeoutException, match="no space left"):
        add_key(shard)
    for key in keys:
        with shard.writing(spends_reserve=True) as transaction:
            transaction.keys.change(replace(key, state=KeyState.DISABLED))
            transaction.outbox.add(OutboxRow(f"event-{key.key_id}", ACCOUNT, bytes(2_000)))
        with pytest.raises(DependencyTimeoutException, match="no space left"):
            add_key(shard)
    for key in keys:
        stored = shard.registry.keys.find(key.key_id)
        assert stored is not None and stored.state is KeyState.DISABLED
    (disk / "filler").unlink()
    add_key(shard)
    assert WalReserve(disk / "data" / "regions" / f"{REGION}.sqlite").fill()
    shards.close()


def test_the_reserve_is_made_before_the_disk_is_full(disk: Path) -> None:
    start(disk / "data")
    shards = opened(disk / "data")
    shard = shards.default
    log = disk / "data" / "regions" / f"{REGION}.sqlite-wal"
    shard.registry.keep_reserve()
    facts = log.stat()
    assert facts.st_blocks * 512 - facts.st_size >= KEPT_BYTES
    shards.close()
