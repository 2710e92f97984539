"""Row hashes and marks have the bytes that a second implementation makes and the vectors of version 1 have; the
versions of SQLite that lose commits are known."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path

import pytest

from kms_grpc.crypto.framing import frame
from kms_grpc.crypto.key_wrapping import mac
from kms_grpc.registry.mark import Mark, largest_counter
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.sql.library import loses_commits, sqlite_advice, sqlite_version
from kms_grpc.registry.sql.row_hashes import element, sealed_total
from kms_grpc.registry.sql.rows import Place, RowKind, RowMac

VECTORS = Path(__file__).parents[1] / "vectors" / "row_hashes_v1.json"
PLACE = Place("aws", "eu-west-1")
KEY = bytes(range(32))


class KnownMac(RowMac):
    """MACs under a key that the test knows."""

    def __init__(self) -> None:
        super().__init__(PLACE, 0)

    def derive(self, label: bytes, *parts: bytes) -> bytes:
        return second(label, *parts)

    def seal(self, kind: RowKind, values: object) -> dict[str, object]:
        assert isinstance(values, dict)
        return {**values, "mac": bytes(32)}


def second(label: bytes, *parts: bytes) -> bytes:
    fields = (label, b"aws", b"eu-west-1", *parts)
    data = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return hmac.new(KEY, data, hashlib.sha256).digest()


def test_a_total_is_what_the_format_says() -> None:
    macs = [hashlib.sha256(bytes([number])).digest() for number in range(9)]
    total = sum(int.from_bytes(second(b"element", each), "big") for each in macs)
    row = sealed_total(KnownMac(), 7, 70_000, len(macs), sum(element(KnownMac(), each) for each in macs))
    assert row["total"] == (total % 2**256).to_bytes(32, "big")
    assert (row["bucket"], row["counter"], row["row_count"]) == (7, 70_000, 9)
    assert row["total"].hex() == json.loads(VECTORS.read_text())["total"]


def test_a_mark_is_what_the_format_says(tmp_path: Path) -> None:
    mark = Mark(tmp_path / "marks" / "eu-west-1.mark", KnownMac())
    mark.create()
    assert set(mark.counters().values()) == {0}
    mark.advance({0: 1, 255: 2**40})
    mark.advance({0: 3, 255: 5})
    content = mark.path.read_bytes()
    assert content[:64] == b"KMSMARK1" + bytes(56)
    assert len(content) == 64 * 257
    for bucket, counter in ((0, 3), (1, 0), (255, 2**40)):
        entry = content[64 + 64 * bucket :][:64]
        made = second(b"mark", struct.pack(">Q", bucket), struct.pack(">Q", counter))
        assert entry == struct.pack(">Q", counter) + bytes(24) + made
    assert hashlib.sha256(content).hexdigest() == json.loads(VECTORS.read_text())["markSha256"]
    assert (mark.counters([0, 255]), largest_counter(mark.path)) == ({0: 3, 255: 2**40}, 2**40)
    assert mark.path.stat().st_mode & 0o777 == 0o600


def test_the_key_is_that_of_the_rows_macs(shard: Shard) -> None:
    macs = RowMac(PLACE, shard.region_key)
    assert macs.derive(b"mark", b"1") == mac(shard.region_key, frame(b"mark", b"aws", b"eu-west-1", b"1"))


@pytest.mark.parametrize(
    ("version", "loses"),
    [
        ("3.40.1", True), ("3.46.1", True), ("3.51.2", True), ("3.50.6", True), ("3.44.5", True), ("3.45.0", True),
        ("3.44.6", False), ("3.50.7", False), ("3.51.3", False), ("3.53.4", False), ("4.0.0", False),
    ],
)  # fmt: skip
def test_versions_of_sqlite_that_lose_commits(version: str, loses: bool) -> None:
    """Source: https://www.sqlite.org/wal.html, "The WAL-Reset Bug"."""
    assert loses_commits(version) == loses
    assert (sqlite_advice(version) is not None) == loses


def test_the_registry_uses_a_library_that_loses_none(shard: Shard) -> None:
    """Where pysqlite3 has a wheel, on x86-64, it is installed with the program."""
    pytest.importorskip("pysqlite3", reason="pysqlite3 has no wheel for this processor")
    assert not loses_commits(sqlite_version())
    registry = shard.registry
    with registry._store.reading() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("SELECT sqlite_version()").scalar() == sqlite_version()
