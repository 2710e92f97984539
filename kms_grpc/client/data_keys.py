"""Data keys: how one is asked for, and how an answer becomes one in the keyring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import CachedKey, DataKeyCache, Wanted
from kms_grpc.client.failures import ClientError, DeadlineExceeded
from kms_grpc.crypto.errors import KeyringFull
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.crypto.record import DataKey, wrapped_keys_of
from kms_grpc.errors import InvalidCiphertextException


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
    open_keyring(cache.limits.capacity + 64)  # it is open, but in a child that has just been forked
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
        self._keys: list[DataKey | None] = [None] * len(records)
        for place, wrapped in enumerate(wrapped_keys_of(records)):
            if wrapped is None:
                self.errors[place] = InvalidCiphertextException()
            elif (group := self.groups.get(wrapped)) is not None:
                group.append(place)
            else:
                self.groups[wrapped] = [place]

    def under(self, key: DataKey, places: Sequence[int]) -> None:
        """This is their data key."""
        for place in places:
            self._keys[place] = key

    def refused(self, error: Exception, places: Sequence[int]) -> None:
        """Their data key cannot be had."""
        self.errors.update(dict.fromkeys(places, error))

    def ready(self) -> tuple[list[DataKey], list[bytes]]:
        """What can be opened: data keys and records."""
        pairs = [(key, one) for key, one in zip(self._keys, self.records, strict=True) if key is not None]
        return [key for key, _ in pairs], [one for _, one in pairs]

    def finished(self, opened: Sequence[bytes | None]) -> list[bytes]:
        """All plaintexts in their order; RecordsFailed where one is missing."""
        rest = iter(opened)
        plaintexts = [next(rest) if key is not None else None for key in self._keys]
        for place, plaintext in enumerate(plaintexts):
            if plaintext is None:
                self.errors.setdefault(place, InvalidCiphertextException())
        if self.errors:
            raise RecordsFailed(plaintexts, self.errors)
        return [plaintext for plaintext in plaintexts if plaintext is not None]
