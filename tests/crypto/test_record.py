"""Records of the client library: the second implementation, golden records, and records that must not open."""

from __future__ import annotations

import gc
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms_grpc.crypto import keyring, record
from kms_grpc.crypto._native import lib
from kms_grpc.crypto.bytes_lists import BytesList
from kms_grpc.crypto.data_key_budget import UNBOUNDED, Counter, since_boot
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.errors import CryptoFailure, StaleHandle
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto import make_record_vectors, make_vectors, second_record_reader
from tests.crypto.conftest import VECTORS, vectors
from tests.crypto.make_record_vectors import ONE, data_key, wrapped
from tests.crypto.make_vectors import flipped
from tests.slots import slots_used
from tests.threads import at_once

CONTEXT = canonical(ONE)


@pytest.fixture(scope="module")
def key() -> record.DataKey:
    keyring.open_keyring()
    return record.DataKey(data_key("malformed"), wrapped("malformed", ONE))


@pytest.mark.parametrize("name", make_record_vectors.FILES)
def test_the_committed_vectors_come_from_the_second_implementation(name: str) -> None:
    assert (VECTORS / name).read_text() == make_record_vectors.text_of(name)


def test_the_committed_seeds_come_from_the_second_implementation() -> None:
    seeds = {file.read_bytes() for file in (VECTORS / "corpus" / "record").iterdir()}
    assert seeds == {content for _, content in make_record_vectors.seeds()}


# --- golden ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors("records_v1.json"), ids=lambda row: row["name"])
def test_golden_records_open(core: ModuleType, key: record.DataKey, row: dict[str, Any]) -> None:
    """Golden records open with the KMS key's material and with the data key alone; the test build makes the same bytes
    from the same nonce."""
    secret, blob, nonce = (bytes.fromhex(row[name]) for name in ("data_key", "wrapped", "nonce"))
    if isinstance(row["plaintext"], int):
        plaintext = make_record_vectors.plaintext_of(row["plaintext"])
        made = second_record_reader.seal(secret, blob, plaintext, row["context"], nonce)
        assert hashlib.sha256(made).hexdigest() == row["record"]
    else:
        plaintext, made = bytes.fromhex(row["plaintext"]), bytes.fromhex(row["record"])
    assert second_record_reader.open_from(make_vectors.KEYS[row["key"]], made, row["context"]) == plaintext
    assert record.wrapped_key_of(made) == blob
    assert record.open_record(record.DataKey(secret, blob), canonical(row["context"]), made) == plaintext
    assert sealed_with_nonce(core, secret, blob, canonical(row["context"]), plaintext, nonce) == made


def sealed_with_nonce(
    core: ModuleType, secret: bytes, blob: bytes, context: bytes, plaintext: bytes, nonce: bytes
) -> bytes:
    """Seals with the test build, which has a keyring of its own."""
    assert core.lib.kms_keyring_open(64) == core.lib.KMS_OK
    handle, out = core.ffi.new("uint64_t *"), core.ffi.new("uint8_t[]", len(plaintext) + record.OVERHEAD)
    assert core.lib.kms_record_key_import(handle, secret, len(secret)) == core.lib.KMS_OK
    core.lib.kms_test_plant_nonce(nonce)
    head = (handle[0], blob, len(blob), context, len(context))
    assert core.lib.kms_record_seal(out, len(out), *head, plaintext, len(plaintext)) == core.lib.KMS_OK
    assert core.lib.kms_keyring_evict(handle[0]) == core.lib.KMS_OK
    return bytes(core.ffi.buffer(out))


# --- what must not open ------------------------------------------------------------------------------------------


def refuses(key: record.DataKey, context: bytes, made: bytes) -> bool:
    """Checks that a record is rejected alone and among others, and that the others open."""
    good = record.seal(key, context, b"good")
    try:
        record.open_record(key, context, made)
    except InvalidCiphertextException as refused:
        alone = refused.text == ""
    else:
        alone = False
    if len(made) >= record.OVERHEAD:
        many = record.open_many([key] * 3, context, [good, made, good])
        assert many[0] == many[2] == b"good"
        assert (many[1] is None) == alone
    return alone


@pytest.mark.parametrize("row", vectors("malformed_records_v1.json"), ids=lambda row: row["reason"])
def test_malformed_records_are_rejected(key: record.DataKey, row: dict[str, str]) -> None:
    made = bytes.fromhex(row["record"])
    assert refuses(key, CONTEXT, made)
    if row["told"] == "form":
        with pytest.raises(InvalidCiphertextException):
            record.wrapped_key_of(made)
    else:
        assert len(record.wrapped_key_of(made)) == 159


def test_no_record_opens_with_any_bit_flipped(key: record.DataKey) -> None:
    made = record.seal(key, CONTEXT, b"thirty-two bytes of plaintext ..")
    assert not refuses(key, CONTEXT, made)
    for at in range(len(made)):
        for bit in range(8):
            changed = made[:at] + bytes([made[at] ^ 1 << bit]) + made[at + 1 :]
            with pytest.raises(InvalidCiphertextException):
                record.open_record(key, CONTEXT, changed)


def test_no_record_opens_truncated_or_extended(key: record.DataKey) -> None:
    made = record.seal(key, CONTEXT, b"plaintext")
    assert all(refuses(key, CONTEXT, made[:size]) for size in range(len(made)))
    assert all(refuses(key, CONTEXT, made[size:]) for size in range(1, len(made)))
    assert all(refuses(key, CONTEXT, made + bytes([byte])) for byte in range(256))
    assert refuses(key, CONTEXT, made + made)


@pytest.mark.parametrize("context", [{}, {"purpose": "test2"}, ONE | {"a": "b"}])
def test_no_record_opens_with_another_context(key: record.DataKey, context: dict[str, str]) -> None:
    assert refuses(key, canonical(context), record.seal(key, CONTEXT, b"plaintext"))


@pytest.mark.parametrize(
    ("reason", "secret", "blob"),
    [
        ("another data key", data_key("another"), wrapped("malformed", ONE)),
        ("the blob itself as the key", wrapped("malformed", ONE)[:32], wrapped("malformed", ONE)),
        ("zeros, as a wiped page reads", bytes(32), wrapped("malformed", ONE)),
    ],
)
def test_no_record_opens_under_another_key(key: record.DataKey, reason: str, secret: bytes, blob: bytes) -> None:
    assert refuses(record.DataKey(secret, blob), CONTEXT, record.seal(key, CONTEXT, b"plaintext")), reason


# --- what must open ----------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.binary(max_size=3000), st.dictionaries(TEXTS, TEXTS, max_size=6), st.binary(min_size=32, max_size=32))
def test_each_implementation_opens_records_of_the_other(
    plaintext: bytes, context: dict[str, str], secret: bytes
) -> None:
    keyring.open_keyring()
    blob = wrapped("any", ONE)
    key = record.DataKey(secret, blob)
    ours = record.seal(key, canonical(context), plaintext)
    assert second_record_reader.open_under(secret, ours, context) == plaintext
    theirs = second_record_reader.seal(secret, blob, plaintext, context, secrets.token_bytes(24))
    assert record.open_record(key, canonical(context), theirs) == plaintext


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
def test_many_records_in_one_call(key: record.DataKey, count: int) -> None:
    """Counts around the size of a chunk, with different lengths, empty plaintexts and alternating keys; no two
    nonces are equal."""
    other = record.DataKey(data_key("another"), wrapped("another", ONE))
    plaintexts = [secrets.token_bytes(i * 7 % 50) for i in range(count)]
    made = record.seal_many(key, CONTEXT, BytesList(plaintexts))
    assert [second_record_reader.open_under(data_key("malformed"), one, ONE) for one in made] == plaintexts
    assert len({one[163:187] for one in made}) == count
    keys = [key] * count
    for at in range(0, count, 5):
        keys[at], made[at] = other, record.seal(other, CONTEXT, plaintexts[at])
    assert record.open_many(keys, CONTEXT, made) == plaintexts
    damaged = {1: flipped(made[1], 190), 40: b"\1" + made[40][1:], 51: made[51][:-1]} if count > 60 else {}
    opened = record.open_many(keys, CONTEXT, [damaged.get(i, one) for i, one in enumerate(made)])
    assert opened == [None if i in damaged else plaintext for i, plaintext in enumerate(plaintexts)]


# --- a cached data key -----------------------------------------------------------------------------------------------


Opens = Callable[[Mapping[bytes, tuple[int, record.DataKey]], float, bytes, bytes], bytes | int]


def by_opener(
    cached: Mapping[bytes, tuple[int, record.DataKey]], now: float, context: bytes, made: bytes
) -> bytes | int:
    return record.opener_of(cached, context, lambda: now)(made)


both_ways = pytest.mark.parametrize("opens", [record.open_within, by_opener])


def cached(key: record.DataKey, context: bytes = CONTEXT) -> dict[bytes, tuple[int, record.DataKey]]:
    return {key.wrapped + context: (key.address, key)}


def begun(ends: float = 10.0, messages: int = UNBOUNDED) -> tuple[record.DataKey, Counter]:
    key, counter = record.DataKey(data_key("malformed"), wrapped("malformed", ONE)), Counter()
    key.budget.begin(counter, ends, messages)
    key.budget.allow(ends)
    return key, counter


@both_ways
@pytest.mark.parametrize("size", [0, 1, 1024, 100_000])
def test_a_record_opens_under_its_cached_key(size: int, opens: Opens) -> None:
    key, counter = begun()
    plaintext = secrets.token_bytes(size)
    made = record.seal(key, CONTEXT, plaintext)
    others = cached(key, b"another context") | {b"x": (0, key)}
    assert opens(cached(key) | others, 9.9, CONTEXT, made) == plaintext
    assert counter.value == key.budget.last == 1


@both_ways
def test_a_record_without_a_cached_key_takes_nothing(opens: Opens) -> None:
    key, counter = begun()
    made = record.seal(key, CONTEXT, b"x")
    other = record.DataKey(data_key("another"), wrapped("another", ONE))
    for now, keys in ((0.0, {}), (0.0, cached(key, b"")), (0.0, cached(other)), (10.0, cached(key))):
        assert opens(keys, now, CONTEXT, made) == lib.KMS_USED_UP
    key.budget.allow(5.0)
    assert opens(cached(key), 5.0, CONTEXT, made) == lib.KMS_USED_UP
    assert opens(cached(key), 4.9, CONTEXT, made) == b"x"
    assert counter.value == 1


@both_ways
def test_no_record_opens_under_a_cached_key_with_any_bit_flipped(opens: Opens) -> None:
    """A change in the wrapped data key names another key, one in the first four bytes makes it no record."""
    key, counter = begun()
    made = record.seal(key, CONTEXT, b"plaintext")
    for at in range(len(made)):
        status = opens(cached(key), 0.0, CONTEXT, flipped(made, at))
        assert status == (lib.KMS_USED_UP if 4 <= at < 163 else lib.KMS_INVALID_CIPHERTEXT)
    assert all(opens(cached(key), 0.0, CONTEXT, made[:size]) == lib.KMS_INVALID_CIPHERTEXT for size in range(len(made)))
    assert counter.value == len(made) - 163 + 9  # those that were tried, also the truncated ones


@both_ways
def test_a_cached_key_outlives_its_eviction_during_the_call(opens: Opens) -> None:
    """One thread opens a megabyte, with the GIL released, while another empties the cache."""
    key, _ = begun()
    plaintext = bytes(1 << 20)
    made, keys = record.seal(key, CONTEXT, plaintext), cached(key)
    wrapped_key = key.wrapped + CONTEXT
    del key

    def empty(number: int) -> object:
        return opens(keys, 0.0, CONTEXT, made) if number else keys.pop(wrapped_key, None) and None

    assert set(at_once(4, empty)) <= {plaintext, None, lib.KMS_USED_UP}
    assert keys == {}


def test_an_opener_finds_the_key_of_each_record_anew() -> None:
    """It remembers the name of the last data key, never the key: one that was evicted or has expired is not used."""
    key, counter = begun()
    other = record.DataKey(data_key("another"), wrapped("another", ONE))
    other.budget.begin(counter, 10.0, UNBOUNDED)
    other.budget.allow(10.0)
    keys, times = cached(key) | cached(other), [0.0]
    opens = record.opener_of(keys, CONTEXT, lambda: times[0])
    one, another = record.seal(key, CONTEXT, b"one"), record.seal(other, CONTEXT, b"another")
    assert [opens(made) for made in (one, another, another, one, one)] == [
        b"one",
        b"another",
        b"another",
        b"one",
        b"one",
    ]
    assert counter.value == 5
    evicted = keys.pop(key.wrapped + CONTEXT)
    assert opens(one) == opens(one) == lib.KMS_USED_UP
    keys[key.wrapped + CONTEXT] = evicted
    assert opens(one) == b"one"
    times[0] = 10.0
    assert opens(one) == lib.KMS_USED_UP
    assert counter.value == 6


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (({}, CONTEXT), b""),
        (({}, CONTEXT, lambda: "now"), b""),
        (({}, "context", lambda: 0.0), b""),
        (({}, CONTEXT, lambda: 0.0), bytearray(300)),
        (({}, CONTEXT, lambda: 0.0), "record"),
        (({}, CONTEXT, 0.0), b""),
    ],
)
def test_an_opener_refuses_other_types(arguments: tuple[Any, ...], made: Any) -> None:
    with pytest.raises(TypeError):
        record.opener_of(*arguments)(made)


@pytest.mark.parametrize(
    "arguments",
    [
        ({}, 0.0, CONTEXT),
        ({}, "now", CONTEXT, b""),
        ({}, 0.0, "context", b""),
        ({}, 0.0, CONTEXT, bytearray(300)),
        ({}, 0.0, CONTEXT, "record"),
    ],
)
def test_other_types_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        record.open_within(*arguments)
    with pytest.raises(TypeError):
        record.seal_within(*arguments)


def test_a_context_that_is_too_long_has_the_wrong_length() -> None:
    key, _ = begun()
    made = record.seal(key, CONTEXT, b"x")
    assert record.open_within(cached(key), 0.0, bytes(8193), made) == lib.KMS_WRONG_LENGTH


def test_the_clock_counts_the_seconds_since_the_start_of_the_machine() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before - 1e-6 <= since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1e-6


# --- more ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_nonces_differ_from_call_to_call(key: record.DataKey, count: int) -> None:
    made = [one for _ in range(500) for one in record.seal_many(key, CONTEXT, BytesList([b""] * count))]
    made += [record.seal(key, CONTEXT, b"") for _ in range(500)]
    assert len({one[163:187] for one in made}) == 500 * count + 500


@pytest.mark.parametrize(
    ("secret", "blob"), [(bytes(31), 159), (bytes(33), 159), (b"", 159), (bytes(32), 158), (bytes(32), 160)]
)
def test_a_data_key_has_32_bytes_and_its_blob_159(secret: bytes, blob: int) -> None:
    keyring.open_keyring()
    used = slots_used()
    with pytest.raises(CryptoFailure):
        record.DataKey(secret, bytes(blob))
    gc.collect()
    assert slots_used() <= used


def test_the_last_reference_frees_the_slot(key: record.DataKey) -> None:
    used = slots_used()
    mine = record.DataKey(bytes(32), wrapped("malformed", ONE))
    handle, other = mine.handle, mine
    del mine
    assert slots_used() == used + 1
    del other
    assert slots_used() == used
    with pytest.raises(StaleHandle):
        stale = record.DataKey(bytes(32), wrapped("malformed", ONE))
        keyring.evict(stale.handle)
        assert stale.handle != handle
        record.seal(stale, CONTEXT, b"x")
