"""Refused starts: wrong root key, wrong place, damaged rows, a second server. Each says what a person can do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.service import REGION, Service

SECOND = "eu-west-1"
TEXT = b"kept through it all"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    """A data directory of two regions without a running server, and a ciphertext of the first region."""
    place = tmp_path_factory.mktemp("refused")
    service = Service(place / "data", (REGION, SECOND))
    try:
        service.start()
        caller = service.caller()
        key = caller.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id
        blob = caller.call("Encrypt", pb.EncryptRequest(key_id=key, plaintext=TEXT)).ciphertext_blob
        caller.close()
        assert service.stop() == 0
        yield service.data_dir, blob
    finally:
        service.close()


@pytest.fixture(scope="module")
def foreign_root_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Puts the root key of another installation in place."""
    service = Service(tmp_path_factory.mktemp("foreign") / "data")
    try:
        service.start()
        assert service.stop() == 0
    finally:
        service.close()
    return service.data_dir / "root.key"


def shard(data_dir: Path, region: str = REGION) -> Path:
    return data_dir / "regions" / f"{region}.sqlite"


def fingerprint_wanted(data_dir: Path) -> str:
    with sqlite3.connect(shard(data_dir)) as database:
        (fingerprint,) = database.execute("SELECT root_fingerprint FROM shard").fetchone()
    return str(fingerprint)


def flip_root_key(data_dir: Path) -> None:
    path = data_dir / "root.key"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def flip_shard_row(data_dir: Path) -> None:
    with sqlite3.connect(shard(data_dir)) as database:
        database.execute("UPDATE shard SET created_ns = created_ns + 1")


def exchange_shards(data_dir: Path) -> None:
    shutil.copy(shard(data_dir, SECOND), shard(data_dir))


ROOT_KEY: list[tuple[str, Callable[[Path, Path], object], list[str]]] = [
    ("missing", lambda data, foreign: (data / "root.key").unlink(), ["root.key"]),
    ("of another installation", lambda data, foreign: shutil.copy(foreign, data / "root.key"), ["root key"]),
    ("one bit flipped", lambda data, foreign: flip_root_key(data), ["root key"]),
]
OTHER: list[tuple[str, Callable[[Path], object], str, list[str]]] = [
    ("another account", lambda data: None, 'service_account = "999999999999"', ["999999999999", "000000000000"]),
    ("another partition", lambda data: None, 'partition = "aws-cn"', ["aws-cn", "aws"]),
    ("a key file that others may read", lambda data: (data / "root.key").chmod(0o644), "", ["root.key", "600"]),
    ("a key file cut short", lambda data: (data / "root.key").write_bytes(b"short"), "", ["root.key"]),
    ("the shard's own row changed", flip_shard_row, "", [REGION]),
    ("the shard of another region", exchange_shards, "", [REGION, SECOND]),
    ("no database at all", lambda data: shard(data).write_bytes(b"not a database" * 500), "", [REGION]),
]


def copy_of(data_dir: Path, place: Path) -> Path:
    return Path(shutil.copytree(data_dir, place / "data"))


def assert_does_not_start(service: Service, wanted: list[str]) -> None:
    service.exec()
    assert not service.becomes_ready(), "it serves"
    said = service.log_text()
    assert service.wait_for_death() not in (0, None), said
    assert [word for word in wanted if word not in said] == [], said
    assert "Traceback" not in said


@pytest.mark.xdist_group("refused")
@pytest.mark.parametrize(("what", "damage", "words"), ROOT_KEY)
def test_a_wrong_or_missing_root_key_is_refused(
    made: tuple[Path, bytes],
    foreign_root_key: Path,
    tmp_path: Path,
    what: str,
    damage: Callable[[Path, Path], object],
    words: list[str],
) -> None:
    """The refusal names the fingerprint of the right root key, and makes no new one. With the right one back, the
    service serves."""
    data_dir = copy_of(made[0], tmp_path)
    damage(data_dir, foreign_root_key)
    present = (data_dir / "root.key").exists()
    service = Service(data_dir, (REGION, SECOND))
    try:
        assert_does_not_start(service, [fingerprint_wanted(data_dir), *words])
        assert (data_dir / "root.key").exists() == present, "a root key was made where shards exist"
        shutil.copy(made[0] / "root.key", data_dir / "root.key")
        (data_dir / "root.key").chmod(0o600)
        service.start()
        opened = service.caller().call("Decrypt", pb.DecryptRequest(ciphertext_blob=made[1]))
        assert opened.plaintext == TEXT
    finally:
        service.close()


@pytest.mark.xdist_group("refused")
@pytest.mark.parametrize(("what", "damage", "setting", "words"), OTHER)
def test_a_start_is_refused(
    made: tuple[Path, bytes],
    tmp_path: Path,
    what: str,
    damage: Callable[[Path], object],
    setting: str,
    words: list[str],
) -> None:
    data_dir = copy_of(made[0], tmp_path)
    damage(data_dir)
    config = tmp_path / "kms.toml"
    config.write_text(setting + "\n")
    service = Service(data_dir, (REGION, SECOND), ["--config", str(config)])
    try:
        assert_does_not_start(service, words)
    finally:
        service.close()


@pytest.mark.xdist_group("refused")
@pytest.mark.parametrize("same", ["data directory", "port"])
def test_a_second_service_on_the_same_resource_is_refused(made: tuple[Path, bytes], tmp_path: Path, same: str) -> None:
    """With SO_REUSEPORT alone, the second service would start and receive half of the calls."""
    first = Service(copy_of(made[0], tmp_path), (REGION, SECOND))
    second = Service(first.data_dir if same == "data directory" else tmp_path / "other", (REGION, SECOND))
    second.log = tmp_path / "second.log"
    second.address = first.address if same == "port" else second.address
    try:
        first.start()
        process = second.exec()
        assert process.wait(60) not in (0, None)
        said = second.log_text()
        assert (str(second.data_dir) if same == "data directory" else second.address.rpartition(":")[2]) in said
        assert "Traceback" not in said
        opened = first.caller().call("Decrypt", pb.DecryptRequest(ciphertext_blob=made[1]))
        assert opened.plaintext == TEXT
    finally:
        first.close()
        second.close()
