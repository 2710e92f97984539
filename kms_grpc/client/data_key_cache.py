"""Data keys at hand: which may be used, for how long, for how many records and bytes.

The bounds are those of the AWS Encryption SDK's caching CMM
(https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/thresholds.html): entries, age, messages, bytes. A
bound is never passed. Ahead of it, from a share of it on that differs from key to key, the next data key is asked for:
for encryption it stands by until the first one is used up, for decryption it takes the first one's place.

No call is made here, and nothing waits: `take` gives a data key or None, and says to `refresh` which one is to be asked
for ahead. Threads may share a cache.

What is left of a data key is counted in C (crypto/data_key_budget.py), so that who encrypts one record after the other
under it need not come here each time: it is `lent` to them, and they come when a bound is reached or the next is due.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from kms_grpc.client import forks
from kms_grpc.crypto.data_key_budget import UNBOUNDED, Counter
from kms_grpc.crypto.record import DataKey

RETRY_SECONDS: Final = 1.0
"""After a data key could not be fetched ahead, nobody tries again for so long."""

_jitter = random.SystemRandom()
_since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of a cache of data keys. ValueError where one makes no sense."""

    capacity: int = 1_000
    """Data keys in memory, 1 to 2^24, those that stand by included; the one unused for longest goes first."""
    max_age: float = 300.0
    """Seconds, by a clock that goes on while the machine sleeps. So long may a key go on being used by this process
    after it was disabled or a right was taken away."""
    max_messages_encrypted: int = 1_000_000
    """Records under one data key, 1 to 2^32."""
    max_bytes_encrypted: int = 1 << 40
    """Bytes of plaintext under one data key, 1 to 2^63 - 1. A larger plaintext gets a data key of its own."""
    refresh_ahead: float = 0.8
    """Share of a bound from which on the next data key is asked for; 1: never ahead."""
    jitter: float = 0.1
    """By so much that share differs at most, so that keys that came together do not end together."""

    def __post_init__(self) -> None:
        whole = {
            "capacity": (self.capacity, 1, 1 << 24),
            "max_messages_encrypted": (self.max_messages_encrypted, 1, 1 << 32),
            "max_bytes_encrypted": (self.max_bytes_encrypted, 1, UNBOUNDED),
        }
        for name, (value, least, most) in whole.items():
            if not least <= value <= most:
                raise ValueError(f"{name}: {least} to {most}, not {value}")
        if not self.max_age > 0:
            raise ValueError(f"max_age: more than 0 seconds, not {self.max_age}")
        if not (0 < self.refresh_ahead <= 1 and 0 <= self.jitter < self.refresh_ahead):
            raise ValueError("refresh_ahead: more than 0, at most 1; jitter: at least 0, less than refresh_ahead")


class CacheCounters(NamedTuple):
    """What a cache has done so far. hits + misses = records that were granted a data key."""

    hits: int
    """Records under a data key that was at hand."""
    misses: int
    """Records that waited for a call."""
    calls: int
    """Calls to the service, those ahead of time included."""
    entries: int
    """Data keys at hand now."""


class Lent:
    """Where those who encrypt find a data key without asking the cache; None once it has left the cache."""

    __slots__ = ("key",)

    def __init__(self, key: DataKey | None = None) -> None:
        self.key = key


NOTHING: Final = Lent()


class CachedKey:
    """A data key, and when the next one is to be asked for. Guarded by its cache's lock."""

    __slots__ = (
        "key", "lent", "ends", "soft_end", "soft_messages", "soft_bytes", "not_before", "asked", "successor",
    )  # fmt: skip

    def __init__(self, key: DataKey, asked_at: float, limits: CacheLimits, counter: Counter, *, encrypts: bool) -> None:
        """`asked_at`: before the call that fetched it. What decrypts is bounded by age alone."""
        self.key = key
        self.lent = Lent(key)
        self.ends = asked_at + limits.max_age
        messages = limits.max_messages_encrypted if encrypts else UNBOUNDED
        size = limits.max_bytes_encrypted if encrypts else UNBOUNDED
        share = min(1.0, limits.refresh_ahead + _jitter.uniform(-limits.jitter, limits.jitter))
        if limits.refresh_ahead == 1 or limits.capacity == 1:
            share = 1.0
        self.soft_end = asked_at + share * limits.max_age
        self.soft_messages = int(messages * (1 - share))
        self.soft_bytes = int(size * (1 - share))
        self.not_before = asked_at
        self.asked = share == 1
        """Whether the next one is on its way, or shall never be asked for ahead."""
        self.successor: CachedKey | None = None
        key.budget.begin(counter, self.ends, messages, size)

    def is_due(self, now: float) -> bool:
        """Whether the next one should be asked for."""
        left = self.key.budget
        return now >= self.soft_end or left.messages <= self.soft_messages or left.bytes <= self.soft_bytes

    def lend(self, now: float) -> None:
        """Who has it lent comes back at the latest when the next one is to be asked for."""
        if self.asked:
            self.key.budget.allow(self.ends)
        elif self.is_due(now):
            self.key.budget.allow(self.not_before)
        else:
            self.key.budget.allow(self.soft_end, self.soft_messages + 1, self.soft_bytes + 1)


class Wanted(NamedTuple):
    """Which data key: a new one under a KMS key, or the one that a blob wraps. Both for an encryption context."""

    name: Hashable
    """What it is found by."""
    key_id: str | None
    wrapped: bytes | None
    context: dict[str, str]

    @property
    def encrypts(self) -> bool:
        return self.wrapped is None


class DataKeyCache:
    """The data keys of one client."""

    def __init__(
        self,
        limits: CacheLimits,
        refresh: Callable[[Wanted], None],
        clock: Callable[[], float] = _since_boot,
    ) -> None:
        """`refresh` is told, without the lock, what should be asked for ahead; `store` or `failed` follow."""
        self.limits = limits
        self.clock = clock
        self._refresh = refresh
        self._lock = threading.Lock()
        self._held: dict[Hashable, CachedKey] = {}
        self._standing_by = 0
        self._granted = Counter()
        self._waited = self._alone = self._calls = 0
        forks.register(self)

    def forked(self) -> None:
        """The parent's keys are gone from the child's memory, and its counts are the parent's."""
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            for name in list(self._held):
                self._drop(name)

    def counters(self) -> CacheCounters:
        with self._lock:
            hits = self._granted.value - self._waited
            return CacheCounters(hits, self._waited + self._alone, self._calls, len(self._held) + self._standing_by)

    def cached(self, key: DataKey, asked_at: float, *, encrypts: bool) -> CachedKey:
        """One for `store`. `asked_at`: before the call that fetched it."""
        return CachedKey(key, asked_at, self.limits, self._granted, encrypts=encrypts)

    # --- using ----------------------------------------------------------------------------------------------------

    def take(self, wanted: Wanted, size: int) -> DataKey | None:
        """A data key for one more record of `size` bytes, or None: none is at hand."""
        taken = self.take_many(wanted, (size,))
        return None if taken is None else taken[0]

    def take_many(self, wanted: Wanted, sizes: Sequence[int]) -> tuple[DataKey, int] | None:
        """A data key for as many of these records, from the first on, as may be under it; None: none is at hand."""
        now = self.clock()
        with self._lock:
            held = self._held.get(wanted.name)
            if held is None:
                return None
            granted = held.key.budget.grant(now, sizes)
            if not granted:
                held, granted = self._next(wanted.name, held, now, sizes)
                if held is None:
                    return None
            due = not held.asked and held.is_due(now)
            if due:
                held.asked = due = now >= held.not_before
            held.lend(now)
        if due:
            self._refresh(wanted)
        return held.key, granted

    def take_from(self, held: CachedKey, sizes: Sequence[int]) -> int:
        """So many records, from the first on, after waiting for this very key; it may have left the cache by now."""
        with self._lock:
            granted = held.key.budget.grant(self.clock(), sizes)
            self._waited += granted
            return granted

    def lent(self, wanted: Wanted) -> Lent:
        """The data key at hand, for records that are encrypted without asking here first."""
        with self._lock:
            held = self._held.get(wanted.name)
            return NOTHING if held is None else held.lent

    def is_alone(self, wanted: Wanted, size: int) -> bool:
        """Whether a record is larger than a data key may encrypt: it waits for one of its own, which is not kept."""
        if not wanted.encrypts or size <= self.limits.max_bytes_encrypted:
            return False
        with self._lock:
            self._alone += 1
        return True

    def _next(
        self, name: Hashable, used_up: CachedKey, now: float, sizes: Sequence[int]
    ) -> tuple[CachedKey | None, int]:
        """The one that stood by, in the place of one that may not be used for this record."""
        following = used_up.successor
        granted = following.key.budget.grant(now, sizes) if following else 0
        if following is None or not granted:
            return None, 0
        used_up.successor = None
        self._standing_by -= 1
        used_up.lent.key = None
        self._held[name] = following
        return following, granted

    # --- filling --------------------------------------------------------------------------------------------------

    def called(self) -> None:
        """A call goes out for a data key."""
        with self._lock:
            self._calls += 1

    def store(self, wanted: Wanted, fresh: CachedKey, *, ahead: bool, sizes: Sequence[int] = ()) -> int:
        """Take in what a call fetched; so many of `sizes`, of who waited for it, are granted at once. `ahead`: what is
        at hand goes on being used, if it still can."""
        now = self.clock()
        with self._lock:
            granted = fresh.key.budget.grant(now, sizes)
            self._waited += granted
            fresh.lend(now)
            held = self._held.get(wanted.name)
            usable = held is not None and now < held.ends and held.key.budget.messages > 0
            if held is not None and ahead and wanted.encrypts and usable:
                self._make_room(now, wanted.name)
                self._standing_by += held.successor is None
                held.successor = fresh
            else:
                self._drop(wanted.name)
                self._make_room(now, wanted.name)
                self._held[wanted.name] = fresh
            return granted

    def failed(self, wanted: Wanted) -> None:
        """A call ahead of time failed: what is at hand goes on being used, and another call is made after a while."""
        with self._lock:
            held = self._held.get(wanted.name)
            if held is not None and held.successor is None:
                now = self.clock()
                held.asked = False
                held.not_before = now + RETRY_SECONDS
                held.lend(now)

    def drop_oldest(self) -> bool:
        """Make room in the keyring; False where there is nothing left to drop."""
        with self._lock:
            oldest = self._oldest()
            if oldest is None:
                return False
            self._drop(oldest)
            return True

    def _oldest(self, kept: Hashable = None) -> Hashable:
        """What was unused for longest, beside `kept`; of those that were never used, what came first."""
        return min((name for name in self._held if name != kept), key=self._last_used, default=None)

    def _last_used(self, name: Hashable) -> int:
        return self._held[name].key.budget.last

    def _make_room(self, now: float, kept: Hashable) -> None:
        """For one more, beside `kept`: what is over goes, then what was unused for longest."""
        for name in [name for name, held in self._held.items() if now >= held.ends and held.successor is None]:
            if name != kept:
                self._drop(name)
        while len(self._held) + self._standing_by >= self.limits.capacity:
            oldest = self._oldest(kept)
            if oldest is None:
                return
            self._drop(oldest)

    def _drop(self, name: Hashable) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            held.lent.key = None
            self._standing_by -= held.successor is not None
