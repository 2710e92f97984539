"""The budget of a data key: exact to the record and the byte, in any order of concurrent threads."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from kms_grpc.crypto import keyring, record
from kms_grpc.crypto.bytes_lists import BytesList, numbers
from kms_grpc.crypto.data_key_budget import UNBOUNDED, Counter
from kms_grpc.crypto.errors import CryptoFailure, StaleHandle
from kms_grpc.crypto.record import DataKey
from tests.threads import at_once

CONTEXT = b"\0\0\0\0"
THREADS = 8
FORKS = 20 if "KMS_GRPC_SANITIZED" in os.environ else 200  # a fork under AddressSanitizer copies its shadow memory


def data_key(
    counter: Counter | None = None, ends: float = 10.0, messages: int = UNBOUNDED, size: int = UNBOUNDED
) -> DataKey:
    keyring.open_keyring()
    key = DataKey(bytes(32), bytes(159))
    key.budget.begin(counter or Counter(), ends, messages, size)
    return key


def sealed(key: DataKey, size: int = 1, now: float = 0.0) -> bool:
    answer = record.seal_within(key.address, now, CONTEXT, bytes(size))
    if isinstance(answer, int):
        record.why_not(answer)
        return False
    assert record.open_record(key, CONTEXT, answer) == bytes(size)
    return True


@pytest.mark.parametrize(
    ("messages", "size", "records", "made"),
    [
        (3, UNBOUNDED, [0] * 5, [1, 1, 1, 0, 0]),
        (
            UNBOUNDED,
            100,
            [60, 60, 40, 1, 0],
            [1, 0, 1, 0, 1],
        ),  # a record that does not fit takes nothing; exact to the byte
        (2, 100, [101, 100, 0, 0], [0, 1, 1, 0]),
        (0, 0, [0], [0]),
        (1, UNBOUNDED, [100_000, 0], [1, 0]),
    ],
)
def test_no_bound_is_exceeded(messages: int, size: int, records: list[int], made: list[int]) -> None:
    """Holds for all three functions: `seal_within`, `take` and `grant`."""
    counter = Counter()
    one, other, third = (data_key(counter, 10.0, messages, size) for _ in range(3))
    assert [sealed(one, length) for length in records] == made
    assert [other.budget.take(0.0, length) for length in records] == made
    assert [third.budget.grant(0.0, [length]) for length in records] == made
    assert counter.value == 3 * sum(made)
    assert one.budget.messages == messages - sum(made) == other.budget.messages == third.budget.messages
    spent = sum(length for length, was in zip(records, made, strict=True) if was)
    assert one.budget.bytes == size - spent == other.budget.bytes == third.budget.bytes


@pytest.mark.parametrize(
    ("sizes", "granted"),
    [
        ([40, 40, 40], 2),
        ([100], 1),
        ([101], 0),
        ([0] * 9, 5),
        ([50, 50, 0, 1], 3),
        ([], 0),
        ([1 << 63], 0),
        ([1, UNBOUNDED], 1),
    ],
)
def test_grant_takes_as_many_records_as_fit(sizes: list[int], granted: int) -> None:
    assert data_key(messages=5, size=100).budget.grant(0.0, sizes) == granted
    assert data_key(messages=5, size=100).budget.grant(0.0, memoryview(numbers(sizes))) == granted


@pytest.mark.parametrize("now", [10.0, 11.0, float("nan"), float("inf")])
def test_a_budget_grants_nothing_after_its_end(now: float) -> None:
    key = data_key()
    assert not sealed(key, now=now) and not key.budget.take(now, 1) and not key.budget.grant(now, [1])
    assert sealed(key, now=9.999)


@pytest.mark.parametrize(
    ("until", "messages", "size", "now", "may"),
    [
        (5.0, 0, 0, 4.9, True),
        (5.0, 0, 0, 5.0, False),
        (99.0, 0, 0, 10.0, False),  # never longer than the budget itself
        (5.0, 9, 0, 0.0, True),  # nine of ten remain
        (5.0, 10, 0, 0.0, False),
        (5.0, 0, 99, 0.0, True),
        (5.0, 0, 100, 0.0, False),
        (5.0, -5, -5, 0.0, True),
    ],
)
def test_seal_within_obeys_the_bounds_of_allow(until: float, messages: int, size: int, now: float, may: bool) -> None:
    key = data_key(messages=10, size=100)
    key.budget.allow(until, messages, size)
    assert sealed(key, now=now) == may
    assert key.budget.messages == 10 - may
    assert key.budget.take(0.0, 100 - may), "`take` ignores the bounds of `allow`"


def test_allow_never_extends_the_budget() -> None:
    key = data_key(messages=2)
    key.budget.allow(1e9, -(1 << 62), -(1 << 62))
    assert [sealed(key) for _ in range(3)] == [True, True, False]


def test_a_budget_grants_nothing_before_begin() -> None:
    keyring.open_keyring()
    key = DataKey(bytes(32), bytes(159))
    assert not sealed(key, 0) and not key.budget.take(-1.0, 0) and not key.budget.grant(-1.0, [0])


@pytest.mark.parametrize(("messages", "size"), [(5_000, UNBOUNDED), (UNBOUNDED, 5_000 * 3), (5_000, 5_000 * 3), (7, 7)])
def test_concurrent_threads_use_up_the_budget_exactly(messages: int, size: int) -> None:
    """Half of the threads seal single records, the others take several at once. In the end the budget is used up."""
    counter = Counter()
    key = data_key(counter, 10.0, messages, size)
    bytes_taken = [0] * THREADS

    def work(number: int) -> int:
        taken, length = 0, 3 if size > 7 else 1
        while True:
            got = sealed(key, length) if number % 2 else key.budget.grant(0.0, [length] * 5)
            if not got:
                return taken
            taken += got
            bytes_taken[number] += got * length

    total = sum(at_once(THREADS, work))
    assert counter.value == total == min(messages, size // (3 if size > 7 else 1))
    assert sum(bytes_taken) <= size
    assert key.budget.messages == messages - total and key.budget.bytes == size - sum(bytes_taken)


def test_the_counter_at_the_last_record_is_known() -> None:
    counter = Counter()
    one, other = data_key(counter), data_key(counter)
    sealed(one), other.budget.grant(0.0, [1, 1]), sealed(one)
    assert (one.budget.last, other.budget.last, counter.value) == (4, 3, 4)
    assert data_key(counter).budget.last == 4


def test_a_forked_child_cannot_exceed_the_budget(core: ModuleType) -> None:
    """Forks by libc, without Python's hooks, while two threads seal. Each child fails to use the parent's key, also
    after it opened the keyring again. The parent's threads continue, and each of their records is counted."""
    ffi, lib, forks = core.ffi, core.lib, FORKS
    assert lib.kms_keyring_open(64) == lib.KMS_OK
    handle, key, granted = ffi.new("uint64_t *"), ffi.new("kms_data_key_t *"), ffi.new("uint64_t *")
    refused, made = ffi.new("size_t *"), ffi.new("uint64_t *")
    assert lib.kms_record_key_import(handle, bytes(32), 32) == lib.KMS_OK
    key.key = handle[0]
    lib.kms_budget_begin(ffi.addressof(key, "budget"), granted, UNBOUNDED, UNBOUNDED, 10.0)
    assert lib.kms_test_forks_while_sealing(refused, made, key, forks) == lib.KMS_OK
    assert refused[0] == forks and made[0] > 0
    assert granted[0] == made[0] == UNBOUNDED - key.budget.messages == UNBOUNDED - key.budget.bytes
    assert lib.kms_keyring_evict(handle[0]) == lib.KMS_OK


# --- the built-in function, and lists ---------------------------------------------------------------------------------


def test_why_not_raises_the_error_of_a_failed_call() -> None:
    key = data_key()
    with pytest.raises(CryptoFailure):
        answer = record.seal_within(key.address, 0.0, bytes(9000), b"")
        assert isinstance(answer, int)
        record.why_not(answer)
    keyring.evict(key.handle)
    with pytest.raises(StaleHandle):
        sealed(key)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((0, 0.0, b"", b""), ValueError),
        (("x", 0.0, b"", b""), TypeError),
        ((1 << 80, 0.0, b"", b""), OverflowError),
        ((1, "x", b"", b""), TypeError),
        ((1, 0.0, "x", b""), TypeError),
        ((1, 0.0, b"", bytearray(b"x")), TypeError),
        ((1, 0.0, b"", b"", b""), TypeError),
    ],
)
def test_invalid_arguments_raise(arguments: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        record.seal_within(*arguments)  # type: ignore[arg-type]


def test_an_invalid_list_of_bytes_raises() -> None:
    for wrong in ([b"x", "y"], [bytearray(b"x")], [None], 5):
        with pytest.raises(TypeError):
            BytesList(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shorter than nothing"):
        BytesList([b"four", b"x"]).new(-2)


def test_a_bytes_list_keeps_its_elements() -> None:
    given = [bytes([n]) * 3000 for n in range(50)]
    kept, key = BytesList(given), data_key()
    given.clear()
    assert record.open_many([key] * 50, CONTEXT, record.seal_many(key, CONTEXT, kept)) == [
        bytes([n]) * 3000 for n in range(50)
    ]
    part = kept.part(10, 5)
    assert record.open_many([key] * 5, CONTEXT, record.seal_many(key, CONTEXT, part)) == [
        bytes([n]) * 3000 for n in range(10, 15)
    ]
