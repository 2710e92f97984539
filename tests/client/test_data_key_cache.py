"""The cache of data keys and its bounds: examples on a clock that the test advances, and a comparison with a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kms_grpc.client import data_key_cache
from kms_grpc.client.data_key_cache import CachedKey, CacheLimits, DataKeyCache, DataKeyRequest
from kms_grpc.client.data_key_requests import decryption_request, encryption_request
from kms_grpc.crypto import keyring
from kms_grpc.crypto.record import DataKey, seal_within
from tests.slots import slots_used

EXACT = {"refresh_ahead": 0.5, "jitter": 0.0}


class Harness:
    """A cache, a clock that the test advances, and the requests that the cache wants sent ahead of time."""

    def __init__(self, **limits: Any) -> None:
        keyring.open_keyring()
        self.now = 1000.0
        self.limits = CacheLimits(**limits)
        self.requests: list[DataKeyRequest] = []
        self.cache = DataKeyCache(self.limits, self.requests.append, lambda: self.now)

    def new_entry(self, request: DataKeyRequest) -> CachedKey:
        return self.cache.new_entry(DataKey(bytes(32), bytes(159)), self.now, encrypts=request.encrypts)

    def store(self, request: DataKeyRequest, *, ahead: bool = False, sizes: Sequence[int] = ()) -> CachedKey:
        entry = self.new_entry(request)
        self.cache.store(request, entry, ahead=ahead, sizes=sizes)
        return entry


A, B, C = (encryption_request(name, {}, b"") for name in "abc")
OLD = decryption_request(bytes(159), {}, b"")


@pytest.mark.parametrize(
    "limits",
    [
        {"capacity": 0},
        {"capacity": 2**24 + 1},  # more than a gigabyte of locked memory
        {"max_age": 0},
        {"max_age": float("nan")},
        {"max_messages_encrypted": 0},
        {"max_messages_encrypted": 2**32 + 1},  # the bound of the AWS Encryption SDK
        {"max_bytes_encrypted": 0},
        {"max_bytes_encrypted": 2**63},
        {"refresh_ahead": 0},
        {"refresh_ahead": 1.1},
        {"jitter": 0.8},  # the next key could be requested with the first record
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        CacheLimits(**limits)


@pytest.mark.parametrize(
    ("limits", "needed", "records", "step", "most"),
    [
        ({"max_messages_encrypted": 3}, A, [1] * 9, 0, 3),
        ({"max_messages_encrypted": 1}, A, [1] * 9, 0, 1),
        ({"max_bytes_encrypted": 100}, A, [40] * 9, 0, 2),  # the third would exceed it
        ({"max_bytes_encrypted": 100}, A, [50] * 9, 0, 2),  # exactly up to the bound
        ({"max_bytes_encrypted": 100}, A, [0] * 9, 0, 9),  # empty records have no bytes
        ({"max_age": 10}, A, [1] * 30, 1, 10),  # expired at 10 s
        ({"max_age": 10}, OLD, [0] * 30, 1, 10),  # for decryption, too
        ({"max_messages_encrypted": 3, "max_bytes_encrypted": 1}, OLD, [0] * 50, 0, 50),  # only age bounds decryption
    ],
)
def test_no_bound_is_exceeded(
    limits: dict[str, Any], needed: DataKeyRequest, records: list[int], step: float, most: int
) -> None:
    harness = Harness(refresh_ahead=1, jitter=0, **limits)
    harness.store(needed)
    taken = 0
    for size in records:
        taken += harness.cache.take(needed, size) is not None
        harness.now += step
    assert taken == most
    assert harness.requests == []


@pytest.mark.parametrize(
    ("limits", "sizes", "granted"),
    [
        ({"max_messages_encrypted": 5}, [1] * 9, [5]),
        ({"max_bytes_encrypted": 100}, [30, 30, 30, 30], [3]),
        ({"max_bytes_encrypted": 100}, [30, 70, 0, 0], [4]),
        ({"max_bytes_encrypted": 100}, [101, 1], []),  # the first record exceeds the bound by itself
        ({"max_bytes_encrypted": 100, "max_messages_encrypted": 2}, [99, 2, 1], [1]),
    ],
)
def test_as_many_records_as_fit_are_granted(limits: dict[str, Any], sizes: list[int], granted: list[int]) -> None:
    harness = Harness(refresh_ahead=1, jitter=0, **limits)
    harness.store(A)
    took = harness.cache.take_many(A, sizes)
    assert ([] if took is None else [took[1]]) == granted
    assert harness.cache.store(B, harness.new_entry(B), ahead=False, sizes=sizes) == sum(granted)


def test_a_key_that_expires_before_it_arrives_is_not_used() -> None:
    harness = Harness(max_age=10)
    late = harness.new_entry(A)
    harness.now += 10
    assert harness.cache.store(A, late, ahead=False, sizes=[1]) == 0
    assert harness.cache.take_from(late, [1]) == 0
    assert harness.cache.take(A, 1) is None


# --- requests ahead of time------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "size", "step", "asked_at"),
    [
        ({"max_messages_encrypted": 10}, 1, 0, 5),
        ({"max_bytes_encrypted": 1000}, 100, 0, 5),
        ({"max_age": 10}, 1, 1, 6),  # records 1 to 6 are encrypted at 0 to 5 s
    ],
)
def test_the_next_key_is_requested_once_and_used_after_the_first(
    limits: dict[str, Any], size: int, step: float, asked_at: int
) -> None:
    harness = Harness(**EXACT, **limits)
    first = harness.store(A).key
    seen = []
    for record in range(1, 11):
        assert harness.cache.take(A, size) is first
        seen.append(len(harness.requests))
        harness.now += step
        if record == 8:
            harness.store(A, ahead=True)
    assert seen == [int(record >= asked_at) for record in range(1, 11)]
    successor = harness.cache.take(A, size)
    assert successor is not None and successor is not first


def test_a_new_key_for_decryption_replaces_the_old_one_at_once() -> None:
    harness = Harness(max_age=10, **EXACT)
    first = harness.store(OLD).key
    harness.now += 5
    assert harness.cache.take(OLD, 0) is first and harness.requests == [OLD]
    entry = harness.store(OLD, ahead=True).key
    assert harness.cache.take(OLD, 0) is entry
    assert harness.cache.counters().entries == 1


def test_a_failed_request_is_repeated_after_a_pause() -> None:
    harness = Harness(max_age=100, **EXACT)
    harness.store(A)
    harness.now += 60
    for seconds, asked in ((0, 1), (0.5, 1), (0.5, 2), (0, 2), (data_key_cache.RETRY_SECONDS, 3)):
        harness.now += seconds
        harness.cache.take(A, 1)
        assert len(harness.requests) == asked
        if seconds != 0.5:
            harness.cache.failed(A)


def test_keys_of_the_same_age_are_replaced_at_different_times() -> None:
    harness = Harness(capacity=2000, max_age=100)
    ends = sorted(harness.new_entry(A).soft_end - harness.now for _ in range(1000))
    assert 70 <= ends[0] < 73 and 87 < ends[-1] <= 90
    assert all(later - earlier < 3 for earlier, later in pairwise(ends))


# --- capacity ----------------------------------------------------------------------------------------------------


def test_the_least_recently_used_key_is_evicted_and_frees_its_slot() -> None:
    harness = Harness(capacity=2)
    used = slots_used()
    harness.store(A)
    harness.store(B)
    assert harness.cache.take(A, 1) is not None
    harness.store(C)
    assert [harness.cache.take(one, 1) is None for one in (A, B, C)] == [False, True, False]
    assert slots_used() == used + 2
    harness.cache.clear()
    assert slots_used() == used


def test_expired_keys_are_evicted_before_unused_ones() -> None:
    harness = Harness(capacity=2, max_age=10)
    harness.store(A)
    harness.now += 5
    harness.store(B)
    harness.cache.take(A, 1)
    harness.now += 5
    harness.store(C)
    assert [harness.cache.take(one, 1) is None for one in (A, B, C)] == [True, False, False]


def test_a_successor_counts_towards_the_capacity() -> None:
    harness = Harness(capacity=2, **EXACT)
    harness.store(B)
    harness.store(A)
    harness.store(A, ahead=True)
    assert harness.cache.counters().entries == 2
    assert harness.cache.take(B, 1) is None


def test_a_cache_for_one_key_requests_no_successor() -> None:
    harness = Harness(capacity=1, max_messages_encrypted=4, **EXACT)
    harness.store(A)
    assert [harness.cache.take(A, 1) is None for _ in range(5)] == [False] * 4 + [True]
    assert harness.requests == []


# --- references to data keys -------------------------------------------------------------------------------------


def encrypts_by_reference(harness: Harness, key: DataKey | None, size: int = 1) -> bool:
    assert key is not None
    return isinstance(seal_within(key.address, harness.now, b"\0\0\0\0", bytes(size)), bytes)


@pytest.mark.parametrize(
    ("limits", "size", "step", "without"),
    [
        ({"max_messages_encrypted": 10}, 1, 0, 4),  # the fifth record requests the next key
        ({"max_bytes_encrypted": 1000}, 100, 0, 4),
        ({"max_age": 10}, 1, 1, 5),  # at 0 to 4 s
        ({"max_messages_encrypted": 10, "refresh_ahead": 1}, 1, 0, 10),  # nothing is requested ahead of time
        ({"max_age": 10, "refresh_ahead": 1}, 1, 1, 10),
    ],
)
def test_a_reference_can_be_used_until_a_request_is_due(
    limits: dict[str, Any], size: int, step: float, without: int
) -> None:
    harness = Harness(**{**EXACT, **limits})
    harness.store(A)
    made = 0
    while encrypts_by_reference(harness, harness.cache.reference(A).key, size):
        made, harness.now = made + 1, harness.now + step
    assert made == without
    asks = limits.get("refresh_ahead") != 1
    assert (harness.cache.take(A, size) is not None) == asks == (harness.requests == [A])
    assert encrypts_by_reference(harness, harness.cache.reference(A).key, size) == asks, (
        "after the request, the key can be used up to its bound"
    )
    assert harness.cache.counters()[:2] == (made + 2 * asks, 0)


def test_after_a_failed_request_a_reference_can_be_used_until_the_next_attempt() -> None:
    harness = Harness(max_age=100, **EXACT)
    reference = harness.store(A).reference
    harness.now += 60
    assert not encrypts_by_reference(harness, reference.key) and harness.cache.take(A, 1) is not None
    assert encrypts_by_reference(harness, reference.key)
    harness.cache.failed(A)
    assert encrypts_by_reference(harness, reference.key)
    harness.now += data_key_cache.RETRY_SECONDS
    assert not encrypts_by_reference(harness, reference.key)
    assert harness.cache.take(A, 1) is not None and harness.requests == [A, A]


@pytest.mark.parametrize("how", ["evicted", "cleared", "forked", "replaced", "used up", "full keyring"])
def test_a_reference_loses_a_key_that_leaves_the_cache(how: str) -> None:
    """The key's slot in the keyring is freed although the reference still exists."""
    harness = Harness(capacity=1 if how == "evicted" else 9, max_messages_encrypted=2, **EXACT)
    used = slots_used()
    harness.store(A)
    reference = harness.cache.reference(A)
    assert reference.key is not None
    if how == "evicted":
        harness.store(B)
    elif how == "cleared":
        harness.cache.clear()
    elif how == "forked":
        harness.cache.forked()
    elif how == "replaced":
        harness.store(A)
    elif how == "used up":
        harness.cache.take(A, 1)
        harness.store(A, ahead=True)
        harness.cache.take(A, 1)
        harness.cache.take(A, 1)
    else:
        harness.cache.evict_oldest()
    assert reference.key is None
    assert slots_used() == used + len(harness.cache._entries)
    assert harness.cache.reference(C).key is None


# --- a model -----------------------------------------------------------------------------------------------------


class CacheAndModel(RuleBasedStateMachine):
    """The cache, and a model that counts for each data key what was granted under it."""

    @staticmethod
    def limits() -> dict[str, Any]:
        return {"capacity": 3, "max_age": 10.0, "max_messages_encrypted": 6, "max_bytes_encrypted": 100} | EXACT

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(**self.limits())
        self.keys: dict[int, tuple[DataKey, float, DataKeyRequest]] = {}
        self.messages: dict[int, int] = {}
        self.bytes: dict[int, int] = {}
        self.granted = 0

    def remember(self, entry: CachedKey, request: DataKeyRequest) -> None:
        self.keys[id(entry.key)] = (entry.key, self.harness.now, request)

    def count(self, key: DataKey, request: DataKeyRequest, sizes: Sequence[int]) -> None:
        kept, stored_at, of = self.keys[id(key)]
        assert kept is key and of.name == request.name
        assert self.harness.now < stored_at + self.harness.limits.max_age
        self.granted += len(sizes)
        if not request.encrypts:
            return
        self.messages[id(key)] = self.messages.get(id(key), 0) + len(sizes)
        self.bytes[id(key)] = self.bytes.get(id(key), 0) + sum(sizes)
        assert self.messages[id(key)] <= self.harness.limits.max_messages_encrypted
        assert self.bytes[id(key)] <= self.harness.limits.max_bytes_encrypted

    REQUESTS = st.sampled_from([A, B, C, OLD])

    @rule(request=REQUESTS, size=st.integers(0, 60))
    def one(self, request: DataKeyRequest, size: int) -> None:
        size = size if request.encrypts else 0
        key = self.harness.cache.take(request, size)
        if key is None:
            entry = self.harness.new_entry(request)
            self.remember(entry, request)
            assert self.harness.cache.store(request, entry, ahead=False, sizes=[size]) == 1
            key = entry.key
        self.count(key, request, [size])

    @precondition(lambda self: self.harness.cache.reference(A).key is not None)
    @rule(size=st.integers(0, 60))
    def by_reference(self, size: int) -> None:
        key = self.harness.cache.reference(A).key
        if encrypts_by_reference(self.harness, key, size):
            assert key is not None
            self.count(key, A, [size])

    @rule(request=REQUESTS, sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12))
    def many(self, request: DataKeyRequest, sizes: list[int]) -> None:
        sizes = sizes if request.encrypts else [0] * len(sizes)
        took = self.harness.cache.take_many(request, sizes)
        if took is not None:
            key, granted = took
            assert granted >= 1
            self.count(key, request, sizes[:granted])
            if granted < len(sizes):  # the next record would have exceeded a bound
                limits, next_bytes = self.harness.limits, self.bytes[id(key)] + sizes[granted]
                full = self.messages[id(key)] == limits.max_messages_encrypted
                assert full or next_bytes > limits.max_bytes_encrypted

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 11.0]))
    def later(self, seconds: float) -> None:
        self.harness.now += seconds

    @precondition(lambda self: self.harness.requests)
    @rule(arrives=st.booleans())
    def ahead(self, arrives: bool) -> None:
        request = self.harness.requests.pop()
        if not arrives:
            self.harness.cache.failed(request)
            return
        entry = self.harness.new_entry(request)
        self.remember(entry, request)
        assert self.harness.cache.store(request, entry, ahead=True) == 0

    @invariant()
    def holds(self) -> None:
        counters = self.harness.cache.counters()
        assert counters.entries <= self.harness.limits.capacity
        assert counters.hits + counters.misses == self.granted
        standing_by = sum(entry.successor is not None for entry in self.harness.cache._entries.values())
        assert self.harness.cache._successors == standing_by
        for_decryption = {name: one.key for name, one in self.harness.cache._entries.items() if name == OLD.name}
        assert {name: key for name, (_, key) in self.harness.cache.decryption_keys.items()} == for_decryption


class CacheOfOneAndModel(CacheAndModel):
    """A cache for one data key."""

    @staticmethod
    def limits() -> dict[str, Any]:
        return {"capacity": 1, "max_age": 10.0, "max_messages_encrypted": 2, "max_bytes_encrypted": 60}


TestCacheAndModel = CacheAndModel.TestCase
TestCacheOfOneAndModel = CacheOfOneAndModel.TestCase
TestCacheAndModel.settings = TestCacheOfOneAndModel.settings = settings(max_examples=150, stateful_step_count=40)
