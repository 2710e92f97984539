"""Rows, row hashes, marks and shards that are older than what was committed are noticed."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.errors import DependencyTimeoutException, KMSInternalException
from kms_grpc.model.access_key import AccessKey
from kms_grpc.model.key import Key, KeyState, Tag
from kms_grpc.registry.comparison import compare
from kms_grpc.registry.own_row import WillNotStart
from kms_grpc.registry.rows import OutboxRow, RememberedAnswer
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.library import sqlite3
from tests.registry.damaging import damaged_rows
from tests.registry.made import (
    ACCOUNT,
    REGION,
    add_alias,
    add_key,
    external,
    grant,
    in_another_process,
    opened,
    pair,
    rotate,
    shard_file,
    start,
)

ROW_TABLES = (
    "keys",
    "key_policies",
    "materials",
    "aliases",
    "tags",
    "access_keys",
    "import_pairs",
    "remembered_answers",
    "outbox",
    "grants",
)


def write_each_kind(shard: Shard) -> Key:
    """Writes rows of all kinds, changes those that can be changed, and removes some."""
    key = add_key(shard, description="first")
    gone = add_key(shard)
    alias = add_alias(shard, "alias/a", key)
    add_alias(shard, "alias/gone", gone)
    with shard.writing() as transaction:
        transaction.keys.add(*external(shard))
        transaction.tags.set(Tag(key.key_id, "team", ACCOUNT, "one"))
        transaction.tags.set(Tag(gone.key_id, "team", ACCOUNT, "one"))
        transaction.access_keys.add(AccessKey("AKIA1", "dev", b"sealed", 1))
        transaction.access_keys.add(AccessKey("AKIA2", "dev", b"sealed", 1))
        transaction.answers.remember(RememberedAnswer(ACCOUNT, "CreateKey", "r", bytes(32), b"response", 7))
        transaction.outbox.add(OutboxRow("event-1", ACCOUNT, b"{}"))
        transaction.outbox.add(OutboxRow("event-2", ACCOUNT, b"{}"))
        transaction.grants.add(grant(key, "a1"))
        transaction.grants.add(grant(gone, "b2"))
        revoked = transaction.grants.add(grant(key, "c3"))
        transaction.pairs.add(pair(b"one"))
        transaction.pairs.add(pair(b"two", key_id=gone.key_id, account=ACCOUNT))
        transaction.latest_time.advance(5)
    with shard.writing() as transaction:
        transaction.aliases.change(alias)
        transaction.tags.set(Tag(key.key_id, "team", ACCOUNT, "two"))
        transaction.latest_time.advance(9)
        transaction.outbox.remove(["event-1"])
        transaction.access_keys.remove("AKIA2")
        transaction.answers.forget_before(5)
        transaction.pairs.change(pair(b"one"))
        transaction.grants.remove(revoked)
        transaction.keys.remove(transaction.keys.set_policy(gone, "gone"))
        key = transaction.keys.set_policy(transaction.keys.set_policy(key, "first"), "second")
    return rotate(shard, key)


def saved(path: Path, kept: Path) -> None:
    """Copies a shard with all its commits."""
    with closing(sqlite3.connect(path)) as shard, closing(sqlite3.connect(kept)) as copy:
        shard.backup(copy)


def put_back(kept: Path, path: Path, table: str) -> None:
    """Replaces the rows of a table with those of an older copy."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shard:
        shard.execute("ATTACH ? AS older", [str(kept)])
        shard.execute(f"DELETE FROM {table}")
        shard.execute(f"INSERT INTO {table} SELECT * FROM older.{table}")


def refused(folder: Path, text: str) -> None:
    with pytest.raises(WillNotStart, match=f"(?s){text}.*--accept-older"):
        start(folder)


# --- shards that nobody has changed ------------------------------------------------------------------------------


def test_no_write_disturbs_the_row_hashes(folder: Path) -> None:
    shards = opened(folder)
    write_each_kind(shards.default)
    registry: Any = shards.default.registry
    assert [bucket for bucket in range(256) if registry.differences(bucket)] == []
    found = registry.findings()
    assert (found.damaged, found.older) == ([], [])
    shards.close()
    start(folder)


def test_a_write_that_is_undone_changes_neither_hashes_nor_mark(folder: Path) -> None:
    shards = opened(folder)
    registry: Any = shards.default.registry
    add_key(shards.default)
    before = registry.mark.counters()
    with pytest.raises(ZeroDivisionError), shards.default.writing() as transaction:
        transaction.outbox.add(OutboxRow("event", ACCOUNT, b"{}"))
        _ = 1 / 0
    assert (registry.mark.counters(), registry.findings().older) == (before, [])
    shards.close()


# --- rows --------------------------------------------------------------------------------------------------------


def disable(shard: Shard, key: Key) -> None:
    with shard.writing() as transaction:
        transaction.keys.change(replace(key, state=KeyState.DISABLED))


def move_alias(shard: Shard, key: Key) -> None:
    other = add_key(shard)
    with shard.writing() as transaction:
        alias = transaction.aliases.find(ACCOUNT, "alias/a")
        assert alias is not None
        transaction.aliases.change(replace(alias, target_key_id=other.key_id))


def write(act: Callable[[Any], object]) -> Callable[[Shard, Key], None]:
    def run(shard: Shard, key: Key) -> None:
        with shard.writing() as transaction:
            act(transaction)

    return run


ROLLED_BACK: list[tuple[str, str, Callable[[Shard, Key], None]]] = [
    ("a disabled key is enabled", "keys", disable),
    ("an alias is moved back", "aliases", move_alias),
    (
        "a deleted access key is revived",
        "access_keys",
        write(lambda transaction: transaction.access_keys.remove("AKIA1")),
    ),
    ("an audit record comes again", "outbox", write(lambda transaction: transaction.outbox.remove(["event-2"]))),
    ("the time goes back", "latest_time", write(lambda transaction: transaction.latest_time.advance(99))),
    ("a rotation is undone", "materials", lambda shard, key: (rotate(shard, key), None)[1]),
]


@pytest.mark.parametrize(("what", "table", "change"), ROLLED_BACK, ids=[case[0] for case in ROLLED_BACK])
def test_rows_of_an_older_copy_are_noticed(
    folder: Path, tmp_path: Path, what: str, table: str, change: Callable[[Shard, Key], None]
) -> None:
    """They are noticed at the next start, and while the shard is open by the bucket in which the row lies."""
    shards = opened(folder)
    shard = shards.default
    key = write_each_kind(shard)
    saved(shard_file(folder), tmp_path / "older")
    change(shard, key)
    put_back(tmp_path / "older", shard_file(folder), table)
    assert damaged_rows(shard.registry) == [], "each row by itself is as it was written"
    assert [bucket for bucket in range(256) if shard.registry.differences(bucket)] != []
    shards.close()
    refused(folder, "row hashes do not fit their rows")


@pytest.mark.parametrize("table", ROW_TABLES)
def test_a_removed_row_is_noticed(folder: Path, table: str) -> None:
    shards = opened(folder)
    write_each_kind(shards.default)
    with shards.default.writing() as transaction:
        transaction.answers.remember(RememberedAnswer(ACCOUNT, "CreateKey", "r2", bytes(32), b"response", 7))
    shards.close()
    with closing(sqlite3.connect(shard_file(folder))) as connection, connection:
        row = connection.execute(f"SELECT rowid FROM {table} LIMIT 1").fetchone()
        assert connection.execute(f"DELETE FROM {table} WHERE rowid = ?", row).rowcount == 1
    refused(folder, "row hashes do not fit their rows")


def test_rows_put_back_together_with_their_hashes_are_older_than_the_mark(folder: Path, tmp_path: Path) -> None:
    """A write to such a bucket is refused, so that no newer counter covers it up."""
    shards = opened(folder)
    shard = shards.default
    key = write_each_kind(shard)
    saved(shard_file(folder), tmp_path / "older")
    disable(shard, key)
    for table in ("keys", "row_hashes"):
        put_back(tmp_path / "older", shard_file(folder), table)
    with pytest.raises(KMSInternalException, match="older than what was committed"):
        disable(shard, key)
    shards.close()
    refused(folder, "mark .*knows commit")


# --- shards and marks --------------------------------------------------------------------------------------------


def test_an_older_copy_of_the_whole_shard_is_refused_and_can_be_accepted(folder: Path, tmp_path: Path) -> None:
    shards = opened(folder)
    kept_key = add_key(shards.default)
    saved(shard_file(folder), tmp_path / "older")
    add_key(shards.default)
    shards.close()
    shutil.copy(tmp_path / "older", shard_file(folder))
    refused(folder, "commits are missing: the mark .* knows commit 2, and the shard has 1 as its last")
    with pytest.raises(WillNotStart, match="is not what was committed"):
        opened(folder)
    start(folder, accept_older=True)
    shards = opened(folder)
    assert shards.default.find_key(kept_key.key_id) == kept_key
    (record,) = (json.loads(row.record) for row in shards.default.registry.outbox.oldest(9))
    assert record["eventName"] == "AcceptOlderShard"
    assert "commits are missing" in record["serviceEventDetails"]["differences"][0]
    add_key(shards.default)
    shards.close()
    start(folder)


SPOILED_MARKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda mark: mark.unlink(), "mark is missing"),
    ("cut short", lambda mark: mark.write_bytes(mark.read_bytes()[:-64]), "mark was changed on disk"),
    ("one bit", lambda mark: mark.write_bytes(mark.read_bytes()[:-1] + b"?"), "mark was changed on disk"),
    ("empty", lambda mark: mark.write_bytes(b""), "mark was changed on disk"),
]


@pytest.mark.parametrize(("what", "spoil", "text"), SPOILED_MARKS, ids=[case[0] for case in SPOILED_MARKS])
def test_a_mark_that_is_missing_or_changed_stops_the_start(
    folder: Path, what: str, spoil: Callable[[Path], object], text: str
) -> None:
    shards = opened(folder)
    add_key(shards.default)
    spoil(folder / "marks" / f"{REGION}.mark")
    if what in ("missing", "empty"):  # a write reads the entries of its own buckets only
        with pytest.raises(DependencyTimeoutException, match=r"its mark .*cannot be used"):
            add_key(shards.default)
    shards.close()
    refused(folder, text)
    start(folder, accept_older=True)
    start(folder)


def test_an_older_mark_trails_the_shard_and_does_not_stop_the_start(folder: Path, tmp_path: Path) -> None:
    """A power cut leaves such a mark: the writes to it of the last 100 ms are lost."""
    mark = folder / "marks" / f"{REGION}.mark"
    older = mark.read_bytes()
    shards = opened(folder)
    add_key(shards.default)
    shards.close()
    mark.write_bytes(older)
    start(folder)


def test_a_lost_log_is_noticed(folder: Path, tmp_path: Path) -> None:
    """Acknowledged keys that are only in the write-ahead log vanish with it."""
    shards = opened(folder)
    for _ in range(3):
        add_key(shards.default)
    for name in (f"{REGION}.sqlite", f"{REGION}.sqlite-wal"):
        shutil.copy(folder / "regions" / name, tmp_path / name)
    shards.close()
    for file in (folder / "regions").iterdir():
        file.unlink()
    shutil.copy(tmp_path / f"{REGION}.sqlite", shard_file(folder))
    refused(folder, "commits are missing")
    garbled = bytearray((tmp_path / f"{REGION}.sqlite-wal").read_bytes())
    middle = len(garbled) // 2
    garbled[middle : middle + 64] = bytes(byte ^ 0x55 for byte in garbled[middle : middle + 64])
    for file in (folder / "regions").iterdir():
        file.unlink()
    shutil.copy(tmp_path / f"{REGION}.sqlite", shard_file(folder))
    (folder / "regions" / f"{REGION}.sqlite-wal").write_bytes(garbled)
    refused(folder, "commits are missing|row hashes")


# --- missing shards ----------------------------------------------------------------------------------------------


def test_a_missing_shard_that_the_mark_knows_stops_the_start(folder: Path) -> None:
    shards = opened(folder)
    add_key(shards.default)
    shards.close()
    shard_file(folder).unlink()
    (folder / "root.key").unlink()
    for accept in (False, True):
        with pytest.raises(WillNotStart, match=f"{REGION}.sqlite is missing, but its mark .*knows commit 1"):
            start(folder, accept_older=accept)
    assert not (folder / "root.key").exists(), "nothing is made"
    assert not shard_file(folder).exists()


def test_a_missing_shard_that_the_audit_log_knows_stops_the_start(folder: Path) -> None:
    (folder / "audit").mkdir()
    (folder / "audit" / "keeper.jsonl.1").write_text(f'{{"eventName":"CreateKey","awsRegion":"{REGION}"}}\n')
    shard_file(folder).unlink()
    with pytest.raises(WillNotStart, match=r"is missing, but the audit log .*keeper.jsonl.1 has records of its writes"):
        start(folder)


def test_a_region_that_neither_mark_nor_audit_log_knows_is_made(folder: Path) -> None:
    (folder / "audit").mkdir()
    (folder / "audit" / "keeper.jsonl").write_text(f'{{"awsRegion":"{REGION}"}}\n')
    start(folder, (REGION, "eu-north-1"))
    assert shard_file(folder, "eu-north-1").exists()


# --- a restore over a running server -----------------------------------------------------------------------------


def test_a_shard_that_was_replaced_is_no_longer_served(folder: Path, tmp_path: Path) -> None:
    shards = opened(folder)
    shard = shards.default
    key = add_key(shard)
    saved(shard_file(folder), tmp_path / "older")
    assert shard.is_served()
    assert shard.find_key(key.key_id) == key
    (tmp_path / "older").replace(shard_file(folder))
    assert not shard.is_served()
    for use in (shard.catch_up, lambda: add_key(shard), lambda: shard.registry.keys.find(key.key_id)):
        with pytest.raises(DependencyTimeoutException, match="was replaced or moved while the server runs"):
            use()
    shards.close()


# --- crashes -----------------------------------------------------------------------------------------------------

OLD_SHARD = Path(__file__).parents[1] / "vectors" / "shard_0001.zip"


@pytest.mark.parametrize("fault", ["commit.before", "commit.after", "mark.before", "mark.after"])
def test_a_killed_writer_leaves_no_difference(folder: Path, fault: str) -> None:
    """The mark trails the shard by a commit that was never answered."""
    code = "start(Path(argv[0])); shards = opened(Path(argv[0])); [add_key(shards.default) for _ in range(3)]"
    dead = in_another_process(code, folder, fault=f"{fault}:3")
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    start(folder)
    shards = opened(folder)
    add_key(shards.default)
    assert len(shards.default.registry.keys.list_after(ACCOUNT, 0, 9)) == (3 if fault == "commit.before" else 4)
    shards.close()
    start(folder)


def old_shard(folder: Path) -> None:
    with zipfile.ZipFile(OLD_SHARD) as archive:
        archive.extractall(folder)
    (folder / "root.key").chmod(0o600)


@pytest.mark.parametrize("fault", ["start.hash.before", "start.hash.after"])
def test_first_row_hashes_are_made_again_after_a_kill(tmp_path: Path, fault: str) -> None:
    old_shard(tmp_path)
    dead = in_another_process("start(Path(argv[0]))", tmp_path, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    start(tmp_path)
    shards = opened(tmp_path)
    found = [json.loads(row.record) for row in shards.default.registry.outbox.oldest(99)]
    assert [each["eventName"] for each in found].count("FirstRowHashes") == 1
    shards.close()
    start(tmp_path)


@pytest.mark.parametrize("fault", ["start.hash.before", "start.hash.after"])
def test_an_acceptance_is_made_again_after_a_kill(folder: Path, tmp_path: Path, fault: str) -> None:
    shards = opened(folder)
    saved(shard_file(folder), tmp_path / "older")
    add_key(shards.default)
    shards.close()
    shutil.copy(tmp_path / "older", shard_file(folder))
    dead = in_another_process("start(Path(argv[0]), accept_older=True)", folder, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    start(folder, accept_older=True)
    start(folder)


def test_an_old_shard_gets_no_row_hashes_over_a_damaged_row(tmp_path: Path) -> None:
    old_shard(tmp_path)
    with closing(sqlite3.connect(shard_file(tmp_path))) as connection, connection:
        connection.execute("UPDATE keys SET description = 'changed' WHERE rowid = 1")
    with pytest.raises(WillNotStart, match=r"was changed on disk: key arn:.*--accept-older"):
        start(tmp_path)
    start(tmp_path, accept_older=True)
    shards = opened(tmp_path)
    assert len(damaged_rows(shards.default.registry)) == 1
    shards.close()
    start(tmp_path)


def test_a_copy_from_before_the_row_hashes_is_older_than_the_mark(tmp_path: Path) -> None:
    old_shard(tmp_path)
    kept = shard_file(tmp_path).read_bytes()
    start(tmp_path)
    for file in (tmp_path / "regions").iterdir():
        file.unlink()
    shard_file(tmp_path).write_bytes(kept)
    refused(tmp_path, "is older than its mark")
    start(tmp_path, accept_older=True)
    start(tmp_path)


def test_writes_stop_while_the_mark_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit that was under way is answered; the next write waits for its mark."""
    shards = opened(folder)
    registry: Any = shards.default.registry
    real = registry.mark.advance

    def fails(counters: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(registry.mark, "advance", fails)
    add_key(shards.default)
    with pytest.raises(DependencyTimeoutException, match=r"Nothing is written .*mark .*Input/output error"):
        add_key(shards.default)
    monkeypatch.setattr(registry.mark, "advance", real)
    add_key(shards.default)
    assert max(registry.mark.counters().values()) == 2
    shards.close()
    start(folder)


def test_a_shard_that_is_written_to_never_differs(folder: Path) -> None:
    """Two processes write while this one compares, as `kms-grpc check` and the keeper do beside a server."""
    code = "shards = opened(Path(argv[0])); [add_key(shards.default) for _ in range(60)]"
    shards = opened(folder)
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(in_another_process, code, folder) for _ in range(2)]
        compared = 0
        while not all(writer.done() for writer in writers):
            registry: Any = shards.default.registry
            assert compare(registry)[1] == []
            assert registry.differences(compared % 256) == []
            compared += 1
    assert [writer.result().stderr for writer in writers] == ["", ""]
    assert compared > 10
    assert len(shards.default.registry.keys.list_after(ACCOUNT, 0, 999)) == 120
    shards.close()
    start(folder)


def created(key: Key, name: str = "CreateKey") -> bytes:
    record = {"eventName": name, "awsRegion": REGION, "resources": [{"ARN": key.arn}]}
    return json.dumps(record).encode() + b"\n"


def test_a_shard_and_mark_that_know_less_than_the_audit_log_are_refused(folder: Path, tmp_path: Path) -> None:
    """Deleted keys are no difference, even if the record of the deletion still waits in the outbox."""
    shutil.copytree(folder, tmp_path / "older")
    shards = opened(folder)
    kept, deleted, waits = (add_key(shards.default) for _ in range(3))
    with shards.default.writing() as transaction:
        transaction.keys.remove(deleted)
        transaction.keys.remove(waits)
        transaction.outbox.add(OutboxRow("e", ACCOUNT, created(waits, "DeleteKey")))
    shards.close()
    log = folder / "audit" / "keeper.jsonl"
    log.parent.mkdir()
    log.write_bytes(
        b"".join((created(kept), created(deleted), created(waits), created(deleted, "DeleteKey"))) + b"{cut"
    )
    start(folder)
    for part in ("regions", "marks"):
        shutil.rmtree(folder / part)
        shutil.copytree(tmp_path / "older" / part, folder / part)
    refused(folder, f"keys are missing that the audit log .* knows .*{kept.key_id}")
    start(folder, accept_older=True)
    start(folder)
