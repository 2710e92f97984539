"""A cache of data keys, with bounds on age, number of records and bytes for each data key.

The bounds are those of the AWS Encryption SDK's caching CMM
(https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/thresholds.html): entries, age, messages, bytes. No
bound is ever exceeded. When a share of a bound is used up, the cache asks for the next data key ahead of time. That
share differs a little from key to key. A data key for encryption that arrives ahead is the successor of the current one
and is used after it; a data key for decryption replaces the current one at once.

The cache makes no calls and never blocks. `take` returns a data key or None, and the cache calls `refresh` with a
request that should be sent ahead of time. Threads may share a cache.

The remaining budget of a data key is counted in C (crypto/data_key_budget.py), so that a caller that encrypts many
records can use a data key without asking the cache for each record. It holds a DataKeyReference, and asks the cache
again when a bound is reached or when the next data key should be requested.
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
"""Time between a failed attempt to fetch a data key ahead and the next attempt."""

_jitter = random.SystemRandom()
_since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of a cache of data keys. Raises ValueError for a value out of range."""

    capacity: int = 1_000
    """Data keys in memory, successors included: 1 to 2^24. The least recently used one is evicted first."""
    max_age: float = 300.0
    """Seconds that a data key may be used, by a clock that includes the sleep of the machine. For up to that long, this
    process may use a data key although the KMS key was disabled or the permission was withdrawn."""
    max_messages_encrypted: int = 1_000_000
    """Records encrypted under one data key: 1 to 2^32."""
    max_bytes_encrypted: int = 1 << 40
    """Bytes of plaintext encrypted under one data key: 1 to 2^63 - 1. A larger plaintext gets its own data key."""
    refresh_ahead: float = 0.8
    """Share of a bound at which the next data key is requested. 1: never ahead of time."""
    jitter: float = 0.1
    """Largest random deviation from that share, so that data keys of the same age do not expire together."""

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
    """Counts since the cache was made. hits + misses is the number of records that were given a data key."""

    hits: int
    """Records that used a cached data key."""
    misses: int
    """Records that waited for a call."""
    calls: int
    """Calls to the service, those ahead of time included."""
    entries: int
    """Data keys in the cache now."""


class DataKeyReference:
    """A reference to a cached data key, which needs no lock to read. `key` becomes None when the cache evicts it."""

    __slots__ = ("key",)

    def __init__(self, key: DataKey | None = None) -> None:
        self.key = key


NO_KEY: Final = DataKeyReference()


class CachedKey:
    """A data key, its bounds, and when to request its successor. Guarded by the lock of its cache."""

    __slots__ = (
        "key", "reference", "ends", "soft_end", "soft_messages", "soft_bytes", "not_before", "requested", "successor",
    )  # fmt: skip

    def __init__(
        self, key: DataKey, requested_at: float, limits: CacheLimits, counter: Counter, *, encrypts: bool
    ) -> None:
        """`requested_at`: time before the call that fetched the key; its age counts from then. A data key for
        decryption is bounded by age alone."""
        self.key = key
        self.reference = DataKeyReference(key)
        self.ends = requested_at + limits.max_age
        messages = limits.max_messages_encrypted if encrypts else UNBOUNDED
        size = limits.max_bytes_encrypted if encrypts else UNBOUNDED
        share = min(1.0, limits.refresh_ahead + _jitter.uniform(-limits.jitter, limits.jitter))
        if limits.refresh_ahead == 1 or limits.capacity == 1:
            share = 1.0
        self.soft_end = requested_at + share * limits.max_age
        self.soft_messages = int(messages * (1 - share))
        self.soft_bytes = int(size * (1 - share))
        self.not_before = requested_at
        self.requested = share == 1
        """True while the successor is being fetched, and always if none is fetched ahead of time."""
        self.successor: CachedKey | None = None
        key.budget.begin(counter, self.ends, messages, size)

    def is_due(self, now: float) -> bool:
        """Returns whether the successor should be requested."""
        left = self.key.budget
        return now >= self.soft_end or left.messages <= self.soft_messages or left.bytes <= self.soft_bytes

    def allow_direct_use(self, now: float) -> None:
        """Sets how much of the budget holders of `reference` may use before they must ask the cache again: up to the
        bounds, or only up to the point at which the successor should be requested."""
        if self.requested:
            self.key.budget.allow(self.ends)
        elif self.is_due(now):
            self.key.budget.allow(self.not_before)
        else:
            self.key.budget.allow(self.soft_end, self.soft_messages + 1, self.soft_bytes + 1)


class DataKeyRequest(NamedTuple):
    """A request for a data key: a new one under a KMS key, or the one that `wrapped` holds encrypted."""

    name: Hashable
    """Identifies the entry in the cache."""
    key_id: str | None
    wrapped: bytes | None
    context: dict[str, str]

    @property
    def encrypts(self) -> bool:
        """True for a new data key, which may encrypt; False for one that only decrypts."""
        return self.wrapped is None


class DataKeyCache:
    """The data keys of one client, by request."""

    def __init__(
        self,
        limits: CacheLimits,
        refresh: Callable[[DataKeyRequest], None],
        clock: Callable[[], float] = _since_boot,
    ) -> None:
        """`refresh` is called, outside the lock, with a request to send ahead of time. When the call has finished, the
        client calls `store` or `failed`."""
        self.limits = limits
        self.clock = clock
        self._refresh = refresh
        self._lock = threading.Lock()
        self._entries: dict[Hashable, CachedKey] = {}
        self._successors = 0
        self._granted = Counter()
        self._waited = self._own_keys = self._calls = 0
        forks.register(self)

    def forked(self) -> None:
        """Empties the cache in a forked child, whose memory no longer has the parent's data keys."""
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Evicts all data keys."""
        with self._lock:
            for name in list(self._entries):
                self._evict(name)

    def counters(self) -> CacheCounters:
        """Returns the counts so far."""
        with self._lock:
            hits = self._granted.value - self._waited
            return CacheCounters(
                hits, self._waited + self._own_keys, self._calls, len(self._entries) + self._successors
            )

    def new_entry(self, key: DataKey, requested_at: float, *, encrypts: bool) -> CachedKey:
        """Returns an entry to `store`. `requested_at`: time before the call that fetched the data key."""
        return CachedKey(key, requested_at, self.limits, self._granted, encrypts=encrypts)

    # --- use -----------------------------------------------------------------------------------------------------

    def take(self, request: DataKeyRequest, size: int) -> DataKey | None:
        """Returns a data key for one record of `size` bytes, or None if the cache has none."""
        taken = self.take_many(request, (size,))
        return None if taken is None else taken[0]

    def take_many(self, request: DataKeyRequest, sizes: Sequence[int]) -> tuple[DataKey, int] | None:
        """Returns a data key and how many of the records, counted from the first, may use it. None if there is none."""
        now = self.clock()
        with self._lock:
            entry = self._entries.get(request.name)
            if entry is None:
                return None
            granted = entry.key.budget.grant(now, sizes)
            if not granted:
                entry, granted = self._next(request.name, entry, now, sizes)
                if entry is None:
                    return None
            due = not entry.requested and entry.is_due(now)
            if due:
                entry.requested = due = now >= entry.not_before
            entry.allow_direct_use(now)
        if due:
            self._refresh(request)
        return entry.key, granted

    def take_from(self, entry: CachedKey, sizes: Sequence[int]) -> int:
        """Returns how many of the records, counted from the first, may use a data key that a caller has waited for. The
        cache may have evicted it meanwhile."""
        with self._lock:
            granted = entry.key.budget.grant(self.clock(), sizes)
            self._waited += granted
            return granted

    def reference(self, request: DataKeyRequest) -> DataKeyReference:
        """Returns a reference to the current data key, for records that are encrypted without asking the cache."""
        with self._lock:
            entry = self._entries.get(request.name)
            return NO_KEY if entry is None else entry.reference

    def needs_own_key(self, request: DataKeyRequest, size: int) -> bool:
        """Returns, and counts, whether a record is larger than a data key may encrypt. Such a record gets its own data
        key, which is not cached."""
        if not request.encrypts or size <= self.limits.max_bytes_encrypted:
            return False
        with self._lock:
            self._own_keys += 1
        return True

    def _next(
        self, name: Hashable, used_up: CachedKey, now: float, sizes: Sequence[int]
    ) -> tuple[CachedKey | None, int]:
        """Replaces a data key that cannot take the first record by its successor, if that can."""
        successor = used_up.successor
        granted = successor.key.budget.grant(now, sizes) if successor else 0
        if successor is None or not granted:
            return None, 0
        used_up.successor = None
        self._successors -= 1
        used_up.reference.key = None
        self._entries[name] = successor
        return successor, granted

    # --- storage -------------------------------------------------------------------------------------------------

    def count_call(self) -> None:
        """Counts a call to the service."""
        with self._lock:
            self._calls += 1

    def store(self, request: DataKeyRequest, new: CachedKey, *, ahead: bool, sizes: Sequence[int] = ()) -> int:
        """Stores a data key that a call fetched, and returns how many of `sizes` may use it: the records that waited.

        ahead: the call was made ahead of time, so the current data key is used up first if it still can be.
        """
        now = self.clock()
        with self._lock:
            granted = new.key.budget.grant(now, sizes)
            self._waited += granted
            new.allow_direct_use(now)
            entry = self._entries.get(request.name)
            usable = entry is not None and now < entry.ends and entry.key.budget.messages > 0
            if entry is not None and ahead and request.encrypts and usable:
                self._make_room(now, request.name)
                self._successors += entry.successor is None
                entry.successor = new
            else:
                self._evict(request.name)
                self._make_room(now, request.name)
                self._entries[request.name] = new
            return granted

    def failed(self, request: DataKeyRequest) -> None:
        """Notes that a call failed. The current data key stays in use; the next attempt is RETRY_SECONDS later."""
        with self._lock:
            entry = self._entries.get(request.name)
            if entry is not None and entry.successor is None:
                now = self.clock()
                entry.requested = False
                entry.not_before = now + RETRY_SECONDS
                entry.allow_direct_use(now)

    def evict_oldest(self) -> bool:
        """Evicts the least recently used data key. Returns False if the cache is empty."""
        with self._lock:
            oldest = self._oldest()
            if oldest is None:
                return False
            self._evict(oldest)
            return True

    def _oldest(self, kept: Hashable = None) -> Hashable:
        """Returns the name of the least recently used entry other than `kept`; of unused entries, the first stored."""
        return min((name for name in self._entries if name != kept), key=self._last_used, default=None)

    def _last_used(self, name: Hashable) -> int:
        return self._entries[name].key.budget.last

    def _make_room(self, now: float, kept: Hashable) -> None:
        """Makes room for one entry beside `kept`: evicts expired entries, then the least recently used ones."""
        for name in [name for name, entry in self._entries.items() if now >= entry.ends and entry.successor is None]:
            if name != kept:
                self._evict(name)
        while len(self._entries) + self._successors >= self.limits.capacity:
            oldest = self._oldest(kept)
            if oldest is None:
                return
            self._evict(oldest)

    def _evict(self, name: Hashable) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            entry.reference.key = None
            self._successors -= entry.successor is not None
