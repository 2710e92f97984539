"""Root key, region keys, key material and row MACs, against the second implementation."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kms_grpc.crypto import ciphertext_blob, envelope, key_wrapping, keyring
from kms_grpc.crypto.errors import CryptoFailure, RootKeyFileError, StaleHandle, WrappedKeyDamaged
from tests.crypto import make_vectors, second_reader
from tests.crypto.conftest import Loaded
from tests.crypto.make_vectors import REGION_SECRET, ROOT_KEY

PLACE = b"a place"


# --- the root key's file -----------------------------------------------------------------------------------------


def test_a_root_key_file_is_never_overwritten(root: int, tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    Path(f"{path}.unfinished").write_bytes(b"what a crash left behind")
    key_wrapping.create_root_key_file(path)
    content = path.read_bytes()
    assert (len(content), path.stat().st_mode & 0o7777, os.listdir(tmp_path)) == (32, 0o600, ["root.key"])
    with pytest.raises(RootKeyFileError, match="exists already"):
        key_wrapping.create_root_key_file(path)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (content, ["root.key"])
    label = "kms-grpc v1 root key fingerprint"
    fingerprint = key_wrapping.root_key_fingerprint(key_wrapping.load_root_key_file(path))
    assert fingerprint == second_reader.derive(content, label)[:8].hex()
    assert fingerprint != key_wrapping.root_key_fingerprint(root) == second_reader.derive(ROOT_KEY, label)[:8].hex()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RootKeyFileError, match="No such file or directory"):
        key_wrapping.create_root_key_file(tmp_path / "missing" / "root.key")


def wrong_owner(path: Path) -> None:
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    os.chown(path, 65534, 65534)


def with_mode(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(bytes(32))
        path.chmod(mode)

    return make


def with_size(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(bytes(size))
        path.chmod(0o600)

    return make


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda path: None, "No such file", id="missing"),
        pytest.param(Path.mkdir, "not a regular file", id="a folder"),
        pytest.param(lambda path: os.mkfifo(path, 0o600), "not a regular file", id="a pipe without a writer"),
        pytest.param(with_mode(0o640), "chmod 600", id="readable by its group"),
        pytest.param(with_mode(0o604), "chmod 600", id="readable by everybody"),
        pytest.param(with_mode(0o620), "chmod 600", id="writable by its group"),
        pytest.param(with_size(0), "32 bytes", id="empty"),
        pytest.param(with_size(31), "32 bytes", id="truncated"),
        pytest.param(with_size(33), "32 bytes", id="too long"),
    ]
    + ([pytest.param(wrong_owner, "another user", id="owned by another user")] if os.geteuid() == 0 else []),
)
def test_an_unusable_root_key_file_is_an_error(tmp_path: Path, make: Callable[[Path], None], text: str) -> None:
    path = tmp_path / "root.key"
    make(path)
    with pytest.raises(RootKeyFileError, match=text) as refused:
        key_wrapping.load_root_key_file(path)
    assert str(path) in str(refused.value)


# --- wrapped keys ------------------------------------------------------------------------------------------------


def damaged(wrapped: bytes) -> list[bytes]:
    """Yields the bytes with each bit flipped, each truncation, one byte more, and none."""
    flips = [wrapped[:i] + bytes([wrapped[i] ^ 1 << bit]) + wrapped[i + 1 :] for i in range(105) for bit in (0, 7)]
    return [*flips, *(wrapped[:size] for size in range(105)), wrapped + b"\0"]


def test_region_keys_wrap_and_load(root: int, tmp_path: Path) -> None:
    wrapped = key_wrapping.generate_region_key(root, PLACE)
    secret = second_reader.unwrap(ROOT_KEY, second_reader.REGION_KEY, wrapped, PLACE)
    assert len(secret) == 32
    loaded = key_wrapping.load_region_key(root, PLACE, wrapped)
    assert key_wrapping.mac(loaded, b"row") == row_mac(secret, b"row")
    assert key_wrapping.generate_region_key(root, PLACE) != wrapped
    for bad in damaged(wrapped):
        with pytest.raises(WrappedKeyDamaged):
            key_wrapping.load_region_key(root, PLACE, bad)
    for place in (b"", PLACE + b"\0", b"b place"):
        with pytest.raises(WrappedKeyDamaged):
            key_wrapping.load_region_key(root, place, wrapped)
    key_wrapping.create_root_key_file(tmp_path / "root.key")
    with pytest.raises(WrappedKeyDamaged):
        key_wrapping.load_region_key(key_wrapping.load_root_key_file(tmp_path / "root.key"), PLACE, wrapped)


def test_material_wraps_and_loads(region: int) -> None:
    kid, other_kid = ciphertext_blob.kid_of(make_vectors.KEY_ID), ciphertext_blob.kid_of(make_vectors.OTHER_ID)
    material_id, wrapped = key_wrapping.generate_material(region, kid, PLACE)
    material = second_reader.unwrap(REGION_SECRET, second_reader.MATERIAL, wrapped, PLACE)
    second = second_reader.Key(make_vectors.KEY_ID, "arn", material)
    assert material_id == second.material_id
    handle = key_wrapping.load_material(region, kid, material_id, PLACE, wrapped)
    prefix = ciphertext_blob.header_prefix(kid, material_id)
    assert second.open(envelope.seal(handle, prefix, second.associated({}), b"x"), {}) == b"x"
    for bad in damaged(wrapped):
        with pytest.raises(WrappedKeyDamaged):
            key_wrapping.load_material(region, kid, material_id, PLACE, bad)
    for moved in [(other_kid, material_id, PLACE), (kid, bytes(32), PLACE), (kid, material_id, PLACE + b" ")]:
        with pytest.raises(WrappedKeyDamaged):
            key_wrapping.load_material(region, *moved, wrapped)


def test_region_keys_and_material_are_not_interchangeable(root: int, region: int) -> None:
    """A key does not open as the other kind, even under the right key with the right associated data."""
    kid = ciphertext_blob.kid_of(make_vectors.KEY_ID)
    second = second_reader.Key(make_vectors.KEY_ID, "arn", bytes(32))
    as_region = second_reader.wrap(REGION_SECRET, second_reader.REGION_KEY, bytes(32), PLACE, bytes(24))
    with pytest.raises(WrappedKeyDamaged):
        key_wrapping.load_material(region, kid, second.material_id, PLACE, as_region)
    as_material = second_reader.wrap(ROOT_KEY, second_reader.MATERIAL, bytes(32), PLACE, bytes(24))
    with pytest.raises(WrappedKeyDamaged):
        key_wrapping.load_region_key(root, PLACE, as_material)


def test_every_function_rejects_handles_of_other_kinds(root: int, region: int, key: Loaded) -> None:
    kid = ciphertext_blob.kid_of(make_vectors.KEY_ID)
    for call in (
        lambda: key_wrapping.generate_region_key(region, PLACE),
        lambda: key_wrapping.root_key_fingerprint(region),
        lambda: key_wrapping.generate_material(root, kid, PLACE),
        lambda: key_wrapping.generate_material(key.handle, kid, PLACE),
        lambda: key_wrapping.mac(root, b""),
        lambda: key_wrapping.mac(key.handle, b""),
        lambda: envelope.seal(region, bytes(55), b"", b"x"),
        lambda: key_wrapping.generate_material(region, kid + b"\0", PLACE),
        lambda: key_wrapping.load_material(region, kid, bytes(31), PLACE, bytes(105)),
        lambda: ciphertext_blob.header_prefix(kid, bytes(33)),
    ):
        with pytest.raises(CryptoFailure):
            call()


# --- row MACs ----------------------------------------------------------------------------------------------------


def row_mac(secret: bytes, data: bytes) -> bytes:
    return hmac.digest(second_reader.derive(secret, "kms-grpc v1 row mac"), data, hashlib.sha256)


@pytest.mark.parametrize("data", [b"", b"row", bytes(100_000)], ids=len)
def test_row_macs_detect_changes(region: int, data: bytes) -> None:
    mac = key_wrapping.mac(region, data)
    assert mac == row_mac(REGION_SECRET, data)
    assert key_wrapping.mac_matches(region, data, mac)
    assert not key_wrapping.mac_matches(region, data + b"\0", mac)
    for wrong in [make_vectors.flipped(mac, at) for at in range(32)] + [mac[:31], mac + b"\0", b"", bytes(32)]:
        assert not key_wrapping.mac_matches(region, data, wrong)


def test_an_evicted_region_key_authenticates_nothing(root: int) -> None:
    handle = key_wrapping.load_region_key(root, PLACE, key_wrapping.generate_region_key(root, PLACE))
    mac = key_wrapping.mac(handle, b"row")
    keyring.evict(handle)
    with pytest.raises(StaleHandle):
        key_wrapping.mac_matches(handle, b"row", mac)
