"""Ciphertext blobs: the second implementation, golden blobs, and blobs that must not open."""

from __future__ import annotations

import hashlib
import secrets
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kms_grpc.crypto import ciphertext_blob, envelope
from kms_grpc.crypto.errors import CryptoFailure
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto import make_vectors
from tests.crypto.conftest import VECTORS, Loaded, vectors

ONE = make_vectors.CONTEXTS["one"]
NOT_OURS = b"not ours"


@pytest.mark.parametrize("name", make_vectors.FILES)
def test_the_committed_vectors_come_from_the_second_implementation(name: str) -> None:
    assert (VECTORS / name).read_text() == make_vectors.text_of(name)


def open_as_the_service_does(keys: dict[str, Loaded], blob: bytes, context: dict[str, str]) -> bytes:
    """Reads the header, then opens with the key that it names. Returns NOT_OURS for an unknown key."""
    prefix = ciphertext_blob.read_header(blob).prefix
    found = [key for key in keys.values() if key.prefix == prefix]
    return envelope.open_blob(found[0].handle, found[0].associated(context), blob) if found else NOT_OURS


# --- golden ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors("blobs_v1.json"), ids=lambda row: f"{row['key']}, {row['nonce'][:8]}")
def test_golden_blobs_open(core: ModuleType, keys: dict[str, Loaded], row: dict[str, Any]) -> None:
    """Golden blobs open, and the test build makes the same bytes from the same nonce."""
    key, nonce = keys[row["key"]], bytes.fromhex(row["nonce"])
    if isinstance(row["plaintext"], int):
        plaintext = make_vectors.drawn(f"plaintext of {row['plaintext']}", row["plaintext"])
        blob = key.second.seal(plaintext, row["context"], nonce)
        assert hashlib.sha256(blob).hexdigest() == row["blob"]
    else:
        plaintext, blob = bytes.fromhex(row["plaintext"]), bytes.fromhex(row["blob"])
    assert open_as_the_service_does(keys, blob, row["context"]) == plaintext
    assert sealed_with_nonce(core, key, row["context"], plaintext, nonce) == blob


def sealed_with_nonce(core: ModuleType, key: Loaded, context: dict[str, str], plaintext: bytes, nonce: bytes) -> bytes:
    """Seals with the test build, which has a keyring of its own and loads the key from bare material."""
    handle, associated = handle_in(core, key), key.associated(context)
    size = len(plaintext) + 127
    out = core.ffi.new("uint8_t[]", size)
    core.lib.kms_test_plant_nonce(nonce)
    arguments = (key.prefix, len(key.prefix), associated, len(associated), plaintext, len(plaintext))
    assert core.lib.kms_seal(out, size, handle, *arguments) == core.lib.KMS_OK
    return bytes(core.ffi.buffer(out))


def handle_in(core: ModuleType, key: Loaded) -> int:
    assert core.lib.kms_keyring_open(64) == core.lib.KMS_OK
    handle = core.ffi.new("uint64_t *")
    assert core.lib.kms_test_load_material(handle, key.second.material, key.kid) == core.lib.KMS_OK
    return int(handle[0])


# --- what must not open ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors("malformed_blobs_v1.json"), ids=lambda row: row["reason"])
def test_malformed_blobs_are_rejected(keys: dict[str, Loaded], row: dict[str, str]) -> None:
    """A damaged header is rejected before the key is looked up; an intact one names an unknown key or a wrong one."""
    blob = bytes.fromhex(row["blob"])
    if row["header"] == "nobody's":
        assert open_as_the_service_does(keys, blob, ONE) == NOT_OURS
        return
    with pytest.raises(InvalidCiphertextException) as refused:
        open_as_the_service_does(keys, blob, ONE)
    assert refused.value.text == ""
    if row["header"] == "damaged":
        with pytest.raises(InvalidCiphertextException):
            ciphertext_blob.read_header(blob)
    else:
        assert ciphertext_blob.read_header(blob).prefix in {key.prefix for key in keys.values()}


def refuses(handle: int, associated: bytes, blob: bytes) -> bool:
    try:
        envelope.open_blob(handle, associated, blob)
    except InvalidCiphertextException as refused:
        return refused.text == ""
    return False


def test_no_blob_opens_with_any_bit_flipped(key: Loaded) -> None:
    associated = key.associated(ONE)
    blob = envelope.seal(key.handle, key.prefix, associated, b"thirty-two bytes of plaintext ..")
    assert not refuses(key.handle, associated, blob)
    for at in range(len(blob)):
        for bit in range(8):
            changed = blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]
            assert refuses(key.handle, associated, changed), (at, bit)


def test_no_blob_opens_truncated_or_extended(key: Loaded) -> None:
    associated = key.associated(ONE)
    blob = envelope.seal(key.handle, key.prefix, associated, b"plaintext")
    assert all(refuses(key.handle, associated, blob[:size]) for size in range(len(blob)))
    assert all(refuses(key.handle, associated, blob[size:]) for size in range(1, len(blob)))
    assert all(refuses(key.handle, associated, blob + bytes([byte])) for byte in range(256))
    assert refuses(key.handle, associated, blob + blob)


def test_the_check_detects_header_flips_except_in_the_nonce(key: Loaded) -> None:
    """The check covers bytes 0-50, and not the nonce."""
    blob = envelope.seal(key.handle, key.prefix, key.associated(ONE), b"plaintext")
    damaged = set()
    for at in range(len(blob)):
        try:
            ciphertext_blob.read_header(make_vectors.flipped(blob, at))
        except InvalidCiphertextException:
            damaged.add(at)
    assert damaged == set(range(55))


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no context", lambda key: key.associated({})),
        ("another value", lambda key: key.associated({"purpose": "test2"})),
        ("a pair more", lambda key: key.associated(ONE | {"a": "b"})),
        ("another ARN", lambda key: key.associated(ONE).replace(b"eu-west-1", b"eu-west-2")),
        ("a byte appended", lambda key: key.associated(ONE) + b"\0"),
        ("nothing", lambda key: b""),
    ],
)
def test_no_blob_opens_with_other_associated_data(key: Loaded, reason: str, change: Any) -> None:
    blob = envelope.seal(key.handle, key.prefix, key.associated(ONE), b"plaintext")
    assert refuses(key.handle, change(key), blob), reason


@pytest.mark.parametrize("other", ["first, rotated", "other", "other, same material", "multi-Region"])
def test_no_blob_opens_under_another_key(keys: dict[str, Loaded], key: Loaded, other: str) -> None:
    """Other keys do not open it, with either associated data, even if an import gave both keys the same material."""
    blob = envelope.seal(key.handle, key.prefix, key.associated(ONE), b"plaintext")
    for associated in (key.associated(ONE), keys[other].associated(ONE)):
        assert refuses(keys[other].handle, associated, blob)


# --- what must open ----------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=3000), st.dictionaries(TEXTS, TEXTS, max_size=6))
def test_each_implementation_opens_blobs_of_the_other(key: Loaded, plaintext: bytes, context: dict[str, str]) -> None:
    associated = key.associated(context)
    assert associated == key.second.associated(context)
    ours = envelope.seal(key.handle, key.prefix, associated, plaintext)
    assert key.second.open(ours, context) == plaintext
    theirs = key.second.seal(plaintext, context, secrets.token_bytes(24))
    assert envelope.open_blob(key.handle, associated, theirs) == plaintext


@pytest.mark.parametrize("size", [1, 15, 16, 17, 64, 4096, 4097, 65535, 65536])
def test_blobs_of_all_sizes_open(key: Loaded, size: int) -> None:
    plaintext = secrets.token_bytes(size)
    blob = envelope.seal(key.handle, key.prefix, b"", plaintext)
    assert len(blob) == size + 127
    assert envelope.open_blob(key.handle, b"", blob) == plaintext


@pytest.mark.parametrize("size", [0, 65537, 200_000])
def test_sizes_beyond_the_limits_are_errors(key: Loaded, size: int) -> None:
    with pytest.raises(CryptoFailure):
        envelope.seal(key.handle, key.prefix, b"", bytes(size))
    assert refuses(key.handle, b"", key.prefix + bytes(72 + size))


@pytest.mark.parametrize("size", [-1, 0, 65537])
def test_sizes_of_data_keys_and_random_bytes_beyond_the_limits_are_errors(key: Loaded, size: int) -> None:
    for call in (envelope.data_key, envelope.data_key_without_plaintext):
        with pytest.raises(CryptoFailure):
            call(key.handle, key.prefix, b"", size)
    with pytest.raises(CryptoFailure):
        envelope.random_bytes(size)


@pytest.mark.parametrize("prefix", [b"", bytes(54), bytes(56)])
def test_a_prefix_has_55_bytes(key: Loaded, prefix: bytes) -> None:
    with pytest.raises(CryptoFailure):
        envelope.seal(key.handle, prefix, b"", b"x")


def test_reseal_moves_a_plaintext_to_another_key_and_context(keys: dict[str, Loaded], key: Loaded) -> None:
    other, here = keys["multi-Region"], key.associated(ONE)
    there = other.associated({"moved": "yes"})
    blob = envelope.seal(key.handle, key.prefix, here, b"plaintext")
    moved = envelope.reseal(key.handle, here, blob, other.handle, other.prefix, there)
    assert other.second.open(moved, {"moved": "yes"}) == b"plaintext"
    for source_associated, damaged in [(there, blob), (here, make_vectors.flipped(blob, 80)), (here, blob[:100])]:
        with pytest.raises(InvalidCiphertextException):
            envelope.reseal(key.handle, source_associated, damaged, other.handle, other.prefix, there)


@pytest.mark.parametrize("size", [1, 32, 64, 1024])
def test_data_keys_open_from_their_blobs(key: Loaded, size: int) -> None:
    associated = key.associated(ONE)
    plaintext, blob = envelope.data_key(key.handle, key.prefix, associated, size)
    assert key.second.open(blob, ONE) == plaintext
    hidden = envelope.open_blob(
        key.handle, associated, envelope.data_key_without_plaintext(key.handle, key.prefix, associated, size)
    )
    assert len(plaintext) == len(hidden) == size
    assert size < 8 or plaintext != hidden


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
def test_many_blobs_in_one_call(key: Loaded, count: int) -> None:
    """Counts around the size of a chunk, with different lengths; no two nonces are equal."""
    associated = key.associated(ONE)
    plaintexts = [secrets.token_bytes(1 + i * 7 % 50) for i in range(count)]
    blobs = envelope.seal_many(key.handle, key.prefix, associated, plaintexts)
    assert [key.second.open(blob, ONE) for blob in blobs] == plaintexts
    assert len({blob[55:79] for blob in blobs}) == count
    damaged = (
        {1: make_vectors.flipped(blobs[1], 127), 40: blobs[40][:99], 50: b"\2" + blobs[50][1:]} if count > 60 else {}
    )
    opened = envelope.open_many(key.handle, associated, [damaged.get(i, blob) for i, blob in enumerate(blobs)])
    assert opened == [None if i in damaged else plaintext for i, plaintext in enumerate(plaintexts)]


def test_nonces_and_random_bytes_differ(key: Loaded) -> None:
    blobs = {envelope.seal(key.handle, key.prefix, b"", b"x")[55:79] for _ in range(2000)}
    assert len(blobs) == 2000
    assert len({envelope.random_bytes(16) for _ in range(2000)}) == 2000
    assert [len(envelope.random_bytes(n)) for n in (1, 1024, 65536)] == [1, 1024, 65536]


# --- header ------------------------------------------------------------------------------------------------------


def test_a_header_names_kid_and_material(keys: dict[str, Loaded]) -> None:
    for key in keys.values():
        blob = key.second.seal(b"x", {}, bytes(24))
        assert key.prefix == key.second.prefix
        assert ciphertext_blob.read_header(blob) == (key.prefix, key.kid, key.material_id)


@pytest.mark.parametrize("key_id", [make_vectors.KEY_ID, make_vectors.MRK])
def test_a_kid_and_its_key_id_convert_both_ways(key_id: str) -> None:
    assert ciphertext_blob.key_id_of(ciphertext_blob.kid_of(key_id)) == key_id


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        make_vectors.KEY_ID.upper(),
        make_vectors.KEY_ID.replace("-", ""),
        "mrk-" + make_vectors.KEY_ID,
        make_vectors.MRK + "0",
        make_vectors.KEY_ID + "\n",
    ],
)
def test_an_invalid_kid_is_an_error(key_id: str) -> None:
    with pytest.raises(ValueError, match="not a key id"):
        ciphertext_blob.kid_of(key_id)


@pytest.mark.parametrize("kid", [b"", bytes(16), bytes(18), b"\2" + bytes(16)])
def test_an_invalid_key_id_is_an_error(kid: bytes) -> None:
    with pytest.raises(ValueError, match="not a kid"):
        ciphertext_blob.key_id_of(kid)
