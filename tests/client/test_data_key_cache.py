"""The bounds of the cache of data keys, on a clock that the test moves: by a table, and against a model."""

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

EXACT = {"refresh_ahead": 0.5, "jitter": 0.0}


class Scene:
    """A cache, its clock, and what it was told to ask for ahead."""

    def __init__(self, **limits: Any) -> None:
        keyring.open_keyring()
        self.now = 1000.0
        self.limits = CacheLimits(**limits)
        self.asked: list[DataKeyRequest] = []
        self.cache = DataKeyCache(self.limits, self.asked.append, lambda: self.now)

    def fresh(self, request: DataKeyRequest) -> CachedKey:
        return self.cache.new_entry(DataKey(bytes(32), bytes(159)), self.now, encrypts=request.encrypts)

    def stored(self, request: DataKeyRequest, *, ahead: bool = False, sizes: Sequence[int] = ()) -> CachedKey:
        fresh = self.fresh(request)
        self.cache.store(request, fresh, ahead=ahead, sizes=sizes)
        return fresh


A, B, C = (encryption_request(name, {}, b"") for name in "abc")
OLD = decryption_request(bytes(159), {}, b"")


@pytest.mark.parametrize(
    "limits",
    [
        {"capacity": 0},
        {"capacity": 2**24 + 1},  # a gigabyte of locked memory
        {"max_age": 0},
        {"max_age": float("nan")},
        {"max_messages_encrypted": 0},
        {"max_messages_encrypted": 2**32 + 1},  # the AWS Encryption SDK's own bound
        {"max_bytes_encrypted": 0},
        {"max_bytes_encrypted": 2**63},
        {"refresh_ahead": 0},
        {"refresh_ahead": 1.1},
        {"jitter": 0.8},  # it could ask for the next key from the first record on
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        CacheLimits(**limits)


@pytest.mark.parametrize(
    ("limits", "needed", "records", "step", "most"),
    [
        ({"max_messages_encrypted": 3}, A, [1] * 9, 0, 3),
        ({"max_messages_encrypted": 1}, A, [1] * 9, 0, 1),
        ({"max_bytes_encrypted": 100}, A, [40] * 9, 0, 2),  # the third would pass it
        ({"max_bytes_encrypted": 100}, A, [50] * 9, 0, 2),  # to the very byte
        ({"max_bytes_encrypted": 100}, A, [0] * 9, 0, 9),  # what is empty has no bytes
        ({"max_age": 10}, A, [1] * 30, 1, 10),  # at 10 s it is over
        ({"max_age": 10}, OLD, [0] * 30, 1, 10),  # for decryption as well
        ({"max_messages_encrypted": 3, "max_bytes_encrypted": 1}, OLD, [0] * 50, 0, 50),  # decryption knows age alone
    ],
)
def test_no_bound_is_passed(
    limits: dict[str, Any], needed: DataKeyRequest, records: list[int], step: float, most: int
) -> None:
    scene = Scene(refresh_ahead=1, jitter=0, **limits)
    scene.stored(needed)
    taken = 0
    for size in records:
        taken += scene.cache.take(needed, size) is not None
        scene.now += step
    assert taken == most
    assert scene.asked == []


@pytest.mark.parametrize(
    ("limits", "sizes", "granted"),
    [
        ({"max_messages_encrypted": 5}, [1] * 9, [5]),
        ({"max_bytes_encrypted": 100}, [30, 30, 30, 30], [3]),
        ({"max_bytes_encrypted": 100}, [30, 70, 0, 0], [4]),
        ({"max_bytes_encrypted": 100}, [101, 1], []),  # the first one fits under no data key
        ({"max_bytes_encrypted": 100, "max_messages_encrypted": 2}, [99, 2, 1], [1]),
    ],
)
def test_of_many_records_as_many_as_fit(limits: dict[str, Any], sizes: list[int], granted: list[int]) -> None:
    scene = Scene(refresh_ahead=1, jitter=0, **limits)
    scene.stored(A)
    took = scene.cache.take_many(A, sizes)
    assert ([] if took is None else [took[1]]) == granted
    assert scene.cache.store(B, scene.fresh(B), ahead=False, sizes=sizes) == sum(granted)


def test_a_key_that_took_its_age_to_arrive_is_not_used() -> None:
    scene = Scene(max_age=10)
    late = scene.fresh(A)
    scene.now += 10
    assert scene.cache.store(A, late, ahead=False, sizes=[1]) == 0
    assert scene.cache.take_from(late, [1]) == 0
    assert scene.cache.take(A, 1) is None


# --- ahead of a bound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "size", "step", "asked_at"),
    [
        ({"max_messages_encrypted": 10}, 1, 0, 5),
        ({"max_bytes_encrypted": 1000}, 100, 0, 5),
        ({"max_age": 10}, 1, 1, 6),  # records 1 to 6 are taken at 0 to 5 s
    ],
)
def test_the_next_key_is_asked_for_once_and_the_first_used_up(
    limits: dict[str, Any], size: int, step: float, asked_at: int
) -> None:
    scene = Scene(**EXACT, **limits)
    first = scene.stored(A).key
    seen = []
    for record in range(1, 11):
        assert scene.cache.take(A, size) is first
        seen.append(len(scene.asked))
        scene.now += step
        if record == 8:
            scene.stored(A, ahead=True)
    assert seen == [int(record >= asked_at) for record in range(1, 11)]
    following = scene.cache.take(A, size)
    assert following is not None and following is not first


def test_what_decrypts_gives_way_at_once() -> None:
    scene = Scene(max_age=10, **EXACT)
    first = scene.stored(OLD).key
    scene.now += 5
    assert scene.cache.take(OLD, 0) is first and scene.asked == [OLD]
    fresh = scene.stored(OLD, ahead=True).key
    assert scene.cache.take(OLD, 0) is fresh
    assert scene.cache.counters().entries == 1


def test_after_a_failure_it_is_asked_for_again_a_while_later() -> None:
    scene = Scene(max_age=100, **EXACT)
    scene.stored(A)
    scene.now += 60
    for seconds, asked in ((0, 1), (0.5, 1), (0.5, 2), (0, 2), (data_key_cache.RETRY_SECONDS, 3)):
        scene.now += seconds
        scene.cache.take(A, 1)
        assert len(scene.asked) == asked
        if seconds != 0.5:
            scene.cache.failed(A)


def test_keys_that_came_together_do_not_end_together() -> None:
    scene = Scene(capacity=2000, max_age=100)
    ends = sorted(scene.fresh(A).soft_end - scene.now for _ in range(1000))
    assert 70 <= ends[0] < 73 and 87 < ends[-1] <= 90
    assert all(later - earlier < 3 for earlier, later in pairwise(ends))


# --- capacity ------------------------------------------------------------------------------------------------------


def test_what_was_unused_for_longest_goes_first_and_gives_its_slot_back() -> None:
    scene = Scene(capacity=2)
    used = keyring.keyring_facts().used
    scene.stored(A)
    scene.stored(B)
    assert scene.cache.take(A, 1) is not None
    scene.stored(C)
    assert [scene.cache.take(one, 1) is None for one in (A, B, C)] == [False, True, False]
    assert keyring.keyring_facts().used == used + 2
    scene.cache.clear()
    assert keyring.keyring_facts().used == used


def test_what_is_over_goes_before_what_is_unused() -> None:
    scene = Scene(capacity=2, max_age=10)
    scene.stored(A)
    scene.now += 5
    scene.stored(B)
    scene.cache.take(A, 1)
    scene.now += 5
    scene.stored(C)
    assert [scene.cache.take(one, 1) is None for one in (A, B, C)] == [True, False, False]


def test_one_that_stands_by_counts() -> None:
    scene = Scene(capacity=2, **EXACT)
    scene.stored(B)
    scene.stored(A)
    scene.stored(A, ahead=True)
    assert scene.cache.counters().entries == 2
    assert scene.cache.take(B, 1) is None


def test_with_room_for_one_none_stands_by() -> None:
    scene = Scene(capacity=1, max_messages_encrypted=4, **EXACT)
    scene.stored(A)
    assert [scene.cache.take(A, 1) is None for _ in range(5)] == [False] * 4 + [True]
    assert scene.asked == []


# --- lent to those who encrypt -------------------------------------------------------------------------------------


def without_asking(scene: Scene, key: DataKey | None, size: int = 1) -> bool:
    assert key is not None
    return isinstance(seal_within(key.address, scene.now, b"\0\0\0\0", bytes(size)), bytes)


@pytest.mark.parametrize(
    ("limits", "size", "step", "without"),
    [
        ({"max_messages_encrypted": 10}, 1, 0, 4),  # the fifth is the one that asks for the next key
        ({"max_bytes_encrypted": 1000}, 100, 0, 4),
        ({"max_age": 10}, 1, 1, 5),  # at 0 to 4 s
        ({"max_messages_encrypted": 10, "refresh_ahead": 1}, 1, 0, 10),  # nothing is to be asked for
        ({"max_age": 10, "refresh_ahead": 1}, 1, 1, 10),
    ],
)
def test_who_has_a_key_lent_comes_back_in_time(limits: dict[str, Any], size: int, step: float, without: int) -> None:
    scene = Scene(**{**EXACT, **limits})
    scene.stored(A)
    made = 0
    while without_asking(scene, scene.cache.reference(A).key, size):
        made, scene.now = made + 1, scene.now + step
    assert made == without
    asks = limits.get("refresh_ahead") != 1
    assert (scene.cache.take(A, size) is not None) == asks == (scene.asked == [A])
    assert without_asking(scene, scene.cache.reference(A).key, size) == asks, (
        "once it is asked for, to the end of the bound"
    )
    assert scene.cache.counters()[:2] == (made + 2 * asks, 0)


def test_while_the_next_key_cannot_be_had_they_come_back_a_while_later() -> None:
    scene = Scene(max_age=100, **EXACT)
    lent = scene.stored(A).reference
    scene.now += 60
    assert not without_asking(scene, lent.key) and scene.cache.take(A, 1) is not None
    assert without_asking(scene, lent.key)
    scene.cache.failed(A)
    assert without_asking(scene, lent.key)
    scene.now += data_key_cache.RETRY_SECONDS
    assert not without_asking(scene, lent.key)
    assert scene.cache.take(A, 1) is not None and scene.asked == [A, A]


@pytest.mark.parametrize("how", ["pushed out", "cleared", "a fork", "replaced", "used up", "room in the keyring"])
def test_what_has_left_the_cache_is_lent_no_more(how: str) -> None:
    """And its slot is given back, however long they wait who had it lent."""
    scene = Scene(capacity=1 if how == "pushed out" else 9, max_messages_encrypted=2, **EXACT)
    used = keyring.keyring_facts().used
    scene.stored(A)
    lent = scene.cache.reference(A)
    assert lent.key is not None
    if how == "pushed out":
        scene.stored(B)
    elif how == "cleared":
        scene.cache.clear()
    elif how == "a fork":
        scene.cache.forked()
    elif how == "replaced":
        scene.stored(A)
    elif how == "used up":
        scene.cache.take(A, 1)
        scene.stored(A, ahead=True)
        scene.cache.take(A, 1)
        scene.cache.take(A, 1)
    else:
        scene.cache.evict_oldest()
    assert lent.key is None
    assert keyring.keyring_facts().used == used + len(scene.cache._entries)
    assert scene.cache.reference(C).key is None


# --- a model -------------------------------------------------------------------------------------------------------


class Against(RuleBasedStateMachine):
    """Each data key with what was granted under it, by an account of the model's own."""

    @staticmethod
    def limits() -> dict[str, Any]:
        return {"capacity": 3, "max_age": 10.0, "max_messages_encrypted": 6, "max_bytes_encrypted": 100} | EXACT

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(**self.limits())
        self.born: dict[int, tuple[DataKey, float, DataKeyRequest]] = {}
        self.messages: dict[int, int] = {}
        self.bytes: dict[int, int] = {}
        self.granted = 0

    def remember(self, held: CachedKey, request: DataKeyRequest) -> None:
        self.born[id(held.key)] = (held.key, self.scene.now, request)

    def count(self, key: DataKey, request: DataKeyRequest, sizes: Sequence[int]) -> None:
        kept, born, of = self.born[id(key)]
        assert kept is key and of.name == request.name
        assert self.scene.now < born + self.scene.limits.max_age
        self.granted += len(sizes)
        if not request.encrypts:
            return
        self.messages[id(key)] = self.messages.get(id(key), 0) + len(sizes)
        self.bytes[id(key)] = self.bytes.get(id(key), 0) + sum(sizes)
        assert self.messages[id(key)] <= self.scene.limits.max_messages_encrypted
        assert self.bytes[id(key)] <= self.scene.limits.max_bytes_encrypted

    WANTED = st.sampled_from([A, B, C, OLD])

    @rule(request=WANTED, size=st.integers(0, 60))
    def one(self, request: DataKeyRequest, size: int) -> None:
        size = size if request.encrypts else 0
        key = self.scene.cache.take(request, size)
        if key is None:
            held = self.scene.fresh(request)
            self.remember(held, request)
            assert self.scene.cache.store(request, held, ahead=False, sizes=[size]) == 1
            key = held.key
        self.count(key, request, [size])

    @precondition(lambda self: self.scene.cache.reference(A).key is not None)
    @rule(size=st.integers(0, 60))
    def unasked(self, size: int) -> None:
        key = self.scene.cache.reference(A).key
        if without_asking(self.scene, key, size):
            assert key is not None
            self.count(key, A, [size])

    @rule(request=WANTED, sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12))
    def many(self, request: DataKeyRequest, sizes: list[int]) -> None:
        sizes = sizes if request.encrypts else [0] * len(sizes)
        took = self.scene.cache.take_many(request, sizes)
        if took is not None:
            key, granted = took
            assert granted >= 1
            self.count(key, request, sizes[:granted])
            if granted < len(sizes):  # the next one would have passed a bound
                limits, next_bytes = self.scene.limits, self.bytes[id(key)] + sizes[granted]
                full = self.messages[id(key)] == limits.max_messages_encrypted
                assert full or next_bytes > limits.max_bytes_encrypted

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 11.0]))
    def later(self, seconds: float) -> None:
        self.scene.now += seconds

    @precondition(lambda self: self.scene.asked)
    @rule(arrives=st.booleans())
    def ahead(self, arrives: bool) -> None:
        request = self.scene.asked.pop()
        if not arrives:
            self.scene.cache.failed(request)
            return
        held = self.scene.fresh(request)
        self.remember(held, request)
        assert self.scene.cache.store(request, held, ahead=True) == 0

    @invariant()
    def holds(self) -> None:
        counters = self.scene.cache.counters()
        assert counters.entries <= self.scene.limits.capacity
        assert counters.hits + counters.misses == self.granted
        standing_by = sum(held.successor is not None for held in self.scene.cache._entries.values())
        assert self.scene.cache._successors == standing_by


class AgainstOfOne(Against):
    """Room for one data key."""

    @staticmethod
    def limits() -> dict[str, Any]:
        return {"capacity": 1, "max_age": 10.0, "max_messages_encrypted": 2, "max_bytes_encrypted": 60}


TestAgainstAModel = Against.TestCase
TestAgainstAModelOfOne = AgainstOfOne.TestCase
TestAgainstAModel.settings = TestAgainstAModelOfOne.settings = settings(max_examples=150, stateful_step_count=40)
