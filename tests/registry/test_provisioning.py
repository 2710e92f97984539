"""The start: the files that it makes, its refusals with their reasons, and restarts after a crash at any point."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kms_grpc.registry.own_row import WillNotStart
from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.registry.words import create_words
from tests.registry.made import REGION, add_key, in_another_process, opened, shard_file, start
from tests.slots import slots_used

SECOND = "us-east-1"
REGIONS = (REGION, SECOND)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- made files --------------------------------------------------------------------------------------------------


def test_a_first_start_makes_the_root_key_and_a_shard_for_each_region(tmp_path: Path) -> None:
    start(tmp_path, REGIONS)
    made = {"root.key", f"regions/{REGION}.sqlite", f"regions/{SECOND}.sqlite"}
    marks = {f"marks/{REGION}.mark", f"marks/{SECOND}.mark"}
    assert names(tmp_path) == made | marks | {"run/words"}
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in made} == {0o600}


def test_a_second_start_changes_nothing_and_a_new_region_is_added(tmp_path: Path) -> None:
    start(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in ("root.key", f"regions/{REGION}.sqlite")}
    start(tmp_path, REGIONS)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    shards = opened(tmp_path, (SECOND, REGION))
    assert (shards.default.region, shards.regions) == (SECOND, (SECOND, REGION))
    assert shards.get("eu-north-1") is None
    key = add_key(shards.default)
    other = shards.get(REGION)
    assert other is not None
    assert other.find_key(key.key_id) is None, "nothing of one region is seen in another"
    shards.close()


def test_closed_shards_leave_no_key_in_the_keyring(tmp_path: Path) -> None:
    start(tmp_path, REGIONS)
    before = slots_used()
    shards = opened(tmp_path, REGIONS)
    assert slots_used() == before + len(REGIONS), "the regions' keys; the root key is used at start only"
    shards.close()
    assert slots_used() == before


# --- refusals ----------------------------------------------------------------------------------------------------


def _other_root_key(folder: Path) -> None:
    (folder / "root.key").unlink()
    start(folder.with_name("elsewhere"))
    shutil.copy2(folder.with_name("elsewhere") / "root.key", folder / "root.key")


def _swapped(folder: Path) -> None:
    shard_file(folder).rename(folder / "kept")
    shard_file(folder, SECOND).rename(shard_file(folder))
    (folder / "kept").rename(shard_file(folder, SECOND))


def _folder_in_its_place(folder: Path) -> None:
    shard_file(folder).unlink()
    shard_file(folder).mkdir()


def _newer(folder: Path) -> None:
    with closing(sqlite3.connect(shard_file(folder))) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


FINGERPRINT = "[0-9a-f]{16}"
REFUSED: list[tuple[str, Callable[[Path], object], dict[str, str], str]] = [
    ("another root key", _other_root_key, {}, f"under the root key {FINGERPRINT}, but the one here is {FINGERPRINT}"),
    (
        "no root key",
        lambda folder: (folder / "root.key").unlink(),
        {},
        f"root.key is missing.*made under root key {FINGERPRINT}.*backup",
    ),
    ("root key cut short", lambda folder: (folder / "root.key").write_bytes(bytes(31)), {}, "restore it"),
    ("root key open to others", lambda folder: (folder / "root.key").chmod(0o644), {}, "chmod 600"),
    ("shards swapped", _swapped, {}, f"{REGION}.sqlite is the shard of region {SECOND}.*swapped"),
    (
        "a shard copied to another name",
        lambda folder: shutil.copy2(shard_file(folder, SECOND), shard_file(folder)),
        {},
        f"{REGION}.sqlite is the shard of region {SECOND}",
    ),
    ("another account", lambda folder: None, {"account": "111111111111"}, "000000000000.*says 111111111111"),
    ("another partition", lambda folder: None, {"partition": "aws-cn"}, "partition aws, but.*aws-cn"),
    ("a shard of a newer program", _newer, {}, "newer version of kms-grpc"),
    ("an emptied shard", lambda folder: shard_file(folder).write_bytes(b""), {}, "own row was changed on disk"),
    ("a file of something else", lambda folder: shard_file(folder).write_bytes(b"?" * 9_000), {}, "not a database"),
    ("a folder in its place", _folder_in_its_place, {}, "cannot be used"),
]


@pytest.mark.parametrize(("why", "spoil", "other", "text"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_start_is_refused_with_a_reason(
    tmp_path: Path, why: str, spoil: Callable[[Path], object], other: dict[str, str], text: str
) -> None:
    folder = tmp_path / "data"
    start(folder, REGIONS)
    spoil(folder)
    files = names(folder)
    with pytest.raises(WillNotStart, match=f"(?s){text}"):
        start(folder, REGIONS, **other)
    assert names(folder) - {"regions/eu-west-1.sqlite-shm", "regions/eu-west-1.sqlite-wal"} <= files, "nothing is made"


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WillNotStart, match="file/regions cannot be used"):
        start(tmp_path / "file")


def test_a_refused_start_leaves_no_key_loaded(tmp_path: Path) -> None:
    start(tmp_path)
    before = slots_used()
    with pytest.raises(WillNotStart):
        start(tmp_path, account="111111111111")
    assert slots_used() == before


@pytest.mark.parametrize(
    ("why", "spoil", "text"),
    [
        ("not made yet", lambda folder: shard_file(folder).unlink(), "is missing. Start the server"),
        (
            "another set of regions",
            lambda folder: create_words(folder / "run" / "words", 2),
            "made for 2 regions, not 1",
        ),
        (
            "a file of an older version",
            lambda folder: (folder / "run" / "words").write_bytes(bytes(16)),
            "is not a words file, or is damaged. Restart the server",
        ),
        ("not migrated", _newer, "is not migrated"),
    ],
)
def test_opening_shards_makes_no_file(tmp_path: Path, why: str, spoil: Callable[[Path], object], text: str) -> None:
    start(tmp_path)
    spoil(tmp_path)
    before = names(tmp_path)
    with pytest.raises(WillNotStart, match=text):
        opened(tmp_path)
    assert names(tmp_path) == before


# --- crashes -----------------------------------------------------------------------------------------------------

CRASHES = [
    ("start.root_key.before", set()),
    ("start.root_key.after", {"root.key"}),
    ("start.shard.before", {"root.key"}),
    ("migration.before", {"root.key"}),
    ("migration.between", {"root.key"}),
    ("migration.after", {"root.key"}),
    ("start.shard.after", {"root.key", f"regions/{REGION}.sqlite"}),
    ("start.shard.before:2", {"root.key", f"regions/{REGION}.sqlite"}),
    ("migration.between:2", {"root.key"}),
    ("migration.between:3", {"root.key"}),
    ("migration.between:4", {"root.key"}),
    ("migration.between:5", {"root.key"}),
    ("migration.between:6", {"root.key"}),
    ("migration.between:7", {"root.key", f"regions/{REGION}.sqlite"}),
    ("start.hash.before", {"root.key"}),
    ("start.hash.after", {"root.key"}),
    ("start.shard.marked", {"root.key"}),
    ("start.shard.marked:2", {"root.key", f"regions/{REGION}.sqlite"}),
    ("start.shard.after:2", {"root.key", f"regions/{REGION}.sqlite", f"regions/{SECOND}.sqlite"}),
]
"""The fault point at which the start is killed, and the complete files at that time."""


@pytest.mark.parametrize(("fault", "finished"), CRASHES, ids=[fault for fault, _ in CRASHES])
def test_a_start_completes_one_that_was_killed(tmp_path: Path, fault: str, finished: set[str]) -> None:
    dead = in_another_process(f"start(Path(argv[0]), {REGIONS})", tmp_path, fault=fault)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    whole = {"root.key", f"regions/{REGION}.sqlite", f"regions/{SECOND}.sqlite"}
    assert names(tmp_path) & whole == finished
    kept = {name: (tmp_path / name).read_bytes() for name in finished}
    start(tmp_path, REGIONS)
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept, "what was finished is kept"
    marks = {f"marks/{REGION}.mark", f"marks/{SECOND}.mark"}
    assert names(tmp_path) == whole | marks | {"run/words"}, "and nothing half-made is left"
    shards = opened(tmp_path, REGIONS)
    for shard in shards:
        assert shard.find_key(add_key(shard).key_id) is not None
    shards.close()


@pytest.mark.parametrize("fault", ["migration.before", "migration.between", "migration.after"])
def test_a_killed_migration_has_done_all_or_nothing(tmp_path: Path, fault: str) -> None:
    """The first revision runs over an empty file that already has its final name."""
    file = tmp_path / "shard.sqlite"
    sqlite3.connect(file).close()
    file.touch()
    code = "from kms_grpc.registry.migrate import migrate; migrate(Path(argv[0]))"
    assert in_another_process(code, file, fault=fault).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert ("keys" in tables) == ("alembic_version" in tables) == (fault == "migration.after")
    assert in_another_process(code, file).returncode == 0
