"""Data keys at hand: which may be used, for how long, for how many records and bytes.

The bounds are those of the AWS Encryption SDK's caching CMM
(https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/thresholds.html): entries, age, messages, bytes. A
bound is never passed. Ahead of it, from a share of it on that differs from key to key, the next data key is asked for:
for encryption it stands by until the first one is used up, for decryption it takes the first one's place.

No call is made here, and nothing waits: `take` gives a data key or None, and says to `refresh` which one is to be asked
for ahead. Threads may share a cache.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from kms_grpc.client import forks
from kms_grpc.crypto.record import DataKey

UNBOUNDED: Final = 1 << 63
RETRY_SECONDS: Final = 1.0
"""After a data key could not be fetched ahead, nobody tries again for so long."""

_jitter = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of a cache of data keys. ValueError where one makes no sense."""

    capacity: int = 1_000
    """Data keys in memory, those that stand by included; the one unused for longest goes first."""
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
            "capacity": (self.capacity, 1, UNBOUNDED),
            "max_messages_encrypted": (self.max_messages_encrypted, 1, 1 << 32),
            "max_bytes_encrypted": (self.max_bytes_encrypted, 1, UNBOUNDED - 1),
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


class CachedKey:
    """A data key and what is left of it. Guarded by its cache's lock."""

    __slots__ = (
        "key", "ends", "messages", "bytes",
        "soft_end", "soft_messages", "soft_bytes", "not_before", "asked", "successor",
    )  # fmt: skip

    def __init__(self, key: DataKey, asked_at: float, limits: CacheLimits, *, encrypts: bool) -> None:
        """`asked_at`: before the call that fetched it. What decrypts is bounded by age alone."""
        self.key = key
        self.ends = asked_at + limits.max_age
        self.messages = limits.max_messages_encrypted if encrypts else UNBOUNDED
        self.bytes = limits.max_bytes_encrypted if encrypts else UNBOUNDED
        share = min(1.0, limits.refresh_ahead + _jitter.uniform(-limits.jitter, limits.jitter))
        if limits.refresh_ahead == 1 or limits.capacity == 1:
            share = 1.0
        self.soft_end = asked_at + share * limits.max_age
        self.soft_messages = int(self.messages * (1 - share))
        self.soft_bytes = int(self.bytes * (1 - share))
        self.not_before = asked_at
        self.asked = share == 1
        """Whether the next one is on its way, or shall never be asked for ahead."""
        self.successor: CachedKey | None = None


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
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        """`refresh` is told, without the lock, what should be asked for ahead; `store` or `failed` follow."""
        self.limits = limits
        self.clock = clock
        self._refresh = refresh
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, CachedKey] = OrderedDict()
        self._standing_by = 0
        self._hits = self._misses = self._calls = 0
        forks.register(self)

    def forked(self) -> None:
        """The parent's keys are gone from the child's memory, and its counts are the parent's."""
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._standing_by = 0

    def counters(self) -> CacheCounters:
        with self._lock:
            return CacheCounters(self._hits, self._misses, self._calls, len(self._held) + self._standing_by)

    # --- using ----------------------------------------------------------------------------------------------------

    def take(self, wanted: Wanted, size: int) -> DataKey | None:
        """A data key for one more record of `size` bytes, or None: none is at hand."""
        now = self.clock()
        name = wanted.name
        with self._lock:
            held = self._held.get(name)
            if held is None:
                return None
            if now >= held.ends or held.messages < 1 or held.bytes < size:
                held = self._next(name, held, now, size)
                if held is None:
                    return None
            held.messages -= 1
            held.bytes -= size
            self._hits += 1
            self._held.move_to_end(name)
            due = not held.asked and self._is_due(held, now)
        if due:
            self._refresh(wanted)
        return held.key

    def take_many(self, wanted: Wanted, sizes: Sequence[int]) -> tuple[DataKey, int] | None:
        """A data key for as many of these records, from the first on, as may be under it; None: none is at hand."""
        now = self.clock()
        with self._lock:
            held = self._held.get(wanted.name)
            if held is not None and (now >= held.ends or held.messages < 1 or held.bytes < sizes[0]):
                held = self._next(wanted.name, held, now, sizes[0])
            if held is None:
                return None
            granted = _grant(held, sizes)
            self._hits += granted
            self._held.move_to_end(wanted.name)
            due = not held.asked and self._is_due(held, now)
        if due:
            self._refresh(wanted)
        return held.key, granted

    def take_from(self, held: CachedKey, sizes: Sequence[int]) -> int:
        """So many records, from the first on, after waiting for this very key; it may have left the cache by now."""
        now = self.clock()
        with self._lock:
            granted = 0 if now >= held.ends else _grant(held, sizes)
            self._misses += granted
            return granted

    def is_alone(self, wanted: Wanted, size: int) -> bool:
        """Whether a record is larger than a data key may encrypt: it waits for one of its own, which is not kept."""
        if not wanted.encrypts or size <= self.limits.max_bytes_encrypted:
            return False
        with self._lock:
            self._misses += 1
        return True

    def _next(self, name: Hashable, used_up: CachedKey, now: float, size: int) -> CachedKey | None:
        """The one that stood by, in the place of one that may not be used for this record."""
        following = used_up.successor
        if following is None or now >= following.ends or following.bytes < size:
            return None
        used_up.successor = None
        self._standing_by -= 1
        self._held[name] = following
        return following

    def _is_due(self, held: CachedKey, now: float) -> bool:
        if now < held.soft_end and held.messages > held.soft_messages and held.bytes > held.soft_bytes:
            return False
        held.asked = now >= held.not_before
        return held.asked

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
            granted = 0 if now >= fresh.ends else _grant(fresh, sizes)
            self._misses += granted
            held = self._held.get(wanted.name)
            usable = held is not None and now < held.ends and held.messages > 0
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
                held.asked = False
                held.not_before = self.clock() + RETRY_SECONDS

    def drop_oldest(self) -> bool:
        """Make room in the keyring; False where there is nothing left to drop."""
        with self._lock:
            for name in self._held:
                self._drop(name)
                return True
        return False

    def _make_room(self, now: float, kept: Hashable) -> None:
        """For one more, beside `kept`: what is over goes, then what was unused for longest."""
        for name in [name for name, held in self._held.items() if now >= held.ends and held.successor is None]:
            if name != kept:
                self._drop(name)
        while len(self._held) + self._standing_by >= self.limits.capacity:
            oldest = next((name for name in self._held if name != kept), None)
            if oldest is None:
                return
            self._drop(oldest)

    def _drop(self, name: Hashable) -> None:
        held = self._held.pop(name, None)
        if held is not None and held.successor is not None:
            self._standing_by -= 1


def _grant(held: CachedKey, sizes: Sequence[int]) -> int:
    count = min(len(sizes), held.messages)
    total = sum(sizes[:count])
    while total > held.bytes:
        count -= 1
        total -= sizes[count]
    held.messages -= count
    held.bytes -= total
    return count
