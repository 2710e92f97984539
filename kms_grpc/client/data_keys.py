"""Data keys: how one is asked for, and how an answer becomes one in the keyring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import CachedKey, DataKeyCache, Wanted
from kms_grpc.client.failures import ClientError, DeadlineExceeded
from kms_grpc.crypto.errors import KeyringFull
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.crypto.record import DataKey, open_many, wrapped_keys_of
from kms_grpc.errors import InvalidCiphertextException

AT_ONCE: Final = 64
"""Data keys that a call for many records holds at once: so long they are in the keyring, though the cache lets go."""
BESIDE_THE_CACHE: Final = 16 * AT_ONCE


class Asks(Protocol):
    """The two operations, of the client or of its asyncio twin."""

    def generate_data_key(self, key_id: str, encryption_context: Context | None = None) -> Any: ...
    def decrypt(self, ciphertext_blob: bytes, encryption_context: Context | None = None) -> Any: ...


class RecordsFailed(ClientError):
    """Some of many records do not open. `plaintexts` has None in their places, `errors` says why, by place."""

    def __init__(self, plaintexts: Sequence[bytes | None], errors: dict[int, Exception]) -> None:
        some = ", ".join(f"{place}: {type(errors[place]).__name__}" for place in sorted(errors)[:5])
        super().__init__(f"{len(errors)} of {len(plaintexts)} records do not open ({some})")
        self.plaintexts = list(plaintexts)
        self.errors = errors


def new_one(key_id: str, context: Context, canonical: bytes) -> Wanted:
    """To encrypt with."""
    return Wanted((key_id, canonical), key_id, None, dict(context))


def known_one(wrapped: bytes, context: Context, canonical: bytes) -> Wanted:
    """To decrypt what it has encrypted."""
    return Wanted((wrapped, canonical, None), None, wrapped, dict(context))


def ask(kms: Asks, wanted: Wanted) -> Any:
    """The call for it: its answer, or an awaitable of it."""
    if wanted.wrapped is not None:
        return kms.decrypt(wanted.wrapped, wanted.context)
    assert wanted.key_id is not None
    return kms.generate_data_key(wanted.key_id, wanted.context)


def imported(cache: DataKeyCache, wanted: Wanted, answer: Any, asked_at: float) -> CachedKey:
    """The answer's data key, in the keyring and nowhere else. The answer's message is the caller's to forget.
    DeadlineExceeded where it is over before it has come: to ask again would not help."""
    if cache.clock() >= asked_at + cache.limits.max_age:
        raise DeadlineExceeded(f"the data key took longer than it may be used, {cache.limits.max_age} s (max_age)")
    wrapped = wanted.wrapped if wanted.wrapped is not None else answer.ciphertext_blob
    open_keyring(cache.limits.capacity + BESIDE_THE_CACHE)  # it is open, but in a child that has just been forked
    while True:
        try:
            key = DataKey(answer.plaintext, wrapped)
        except KeyringFull:
            if not cache.drop_oldest():
                raise
        else:
            return cache.cached(key, asked_at, encrypts=wanted.encrypts)


class Opening:
    """Many records on their way to plaintexts: grouped by their data keys, so that each is asked for once."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = records
        self.errors: dict[int, Exception] = {}
        self.groups: dict[bytes, list[int]] = {}
        self._keys: dict[int, DataKey] = {}
        self._plaintexts: list[bytes | None] = [None] * len(records)
        for place, wrapped in enumerate(wrapped_keys_of(records)):
            if wrapped is None:
                self.errors[place] = InvalidCiphertextException()
            elif (group := self.groups.get(wrapped)) is not None:
                group.append(place)
            else:
                self.groups[wrapped] = [place]

    def parts(self) -> Iterator[Sequence[tuple[bytes, list[int]]]]:
        """Wrapped data keys with the places of their records, AT_ONCE at a time: get the data keys, then `open`."""
        groups = iter(self.groups.items())
        while part := list(islice(groups, AT_ONCE)):
            yield part

    def under(self, key: DataKey, places: Sequence[int]) -> None:
        """This is their data key."""
        self._keys.update(dict.fromkeys(places, key))

    def refused(self, error: Exception, places: Sequence[int]) -> None:
        """Their data key cannot be had."""
        self.errors.update(dict.fromkeys(places, error))

    def open(self, canonical: bytes) -> None:
        """Those whose data keys are here, in one C call; then they let go of them."""
        records = [self.records[place] for place in self._keys]
        opened = open_many(list(self._keys.values()), canonical, records)
        for place, plaintext in zip(self._keys, opened, strict=True):
            self._plaintexts[place] = plaintext
        self._keys.clear()

    def finished(self) -> list[bytes]:
        """All plaintexts in their order; RecordsFailed where one is missing."""
        for place, plaintext in enumerate(self._plaintexts):
            if plaintext is None:
                self.errors.setdefault(place, InvalidCiphertextException())
        if self.errors:
            raise RecordsFailed(self._plaintexts, self.errors)
        return [plaintext for plaintext in self._plaintexts if plaintext is not None]
