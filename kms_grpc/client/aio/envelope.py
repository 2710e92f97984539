"""AsyncEnvelopeClient: the EnvelopeClient for the tasks of one event loop.

A call waits only if a data key has to be fetched. Encryption itself blocks the loop while the core works: less than a
millisecond for 1 MiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from kms_grpc.client import forks
from kms_grpc.client.aio.key_management import AsyncKeyManagementClient
from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import NO_KEY, CacheCounters, CachedKey, CacheLimits, DataKeyCache, DataKeyRequest
from kms_grpc.client.data_key_requests import decryption_request, encryption_request, import_data_key, send
from kms_grpc.client.record_decryption import RecordDecryption
from kms_grpc.crypto.bytes_lists import BytesList
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.record import (
    DataKey,
    open_record,
    open_within,
    opener_of,
    seal,
    seal_many,
    seal_within,
    why_not,
    wrapped_key_of,
)


class AsyncEnvelopeClient:
    """A client that encrypts records under cached data keys. Tasks of one event loop may share it."""

    def __init__(
        self,
        kms: AsyncKeyManagementClient | None = None,
        limits: CacheLimits | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Without `kms`, makes an AsyncKeyManagementClient with its default arguments, and closes it in `close`.
        `clock`: returns seconds; given by tests."""
        self.kms = kms or AsyncKeyManagementClient()
        self._closes_kms = kms is None
        clocked = () if clock is None else (clock,)
        self.cache = DataKeyCache(limits or CacheLimits(), self._refresh, *clocked)
        self.forked()
        forks.register(self)

    def forked(self) -> None:
        """Forgets, in a forked child, the calls of the parent's event loop."""
        self._flights: dict[object, asyncio.Task[CachedKey]] = {}

    async def close(self) -> None:
        """Removes all data keys from memory."""
        under_way = list(self._flights.values())
        for flight in under_way:
            flight.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self.cache.clear()
        if self._closes_kms:
            await self.kms.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def counters(self) -> CacheCounters:
        """The counts of the cache so far."""
        return self.cache.counters()

    def bind(self, key_id: str, context: Context | None = None) -> AsyncBoundEnvelope:
        """Returns the faster AsyncBoundEnvelope for many records under one KMS key and encryption context."""
        return AsyncBoundEnvelope(self, key_id, context or {})

    async def encrypt(self, key_id: str, plaintext: bytes, context: Context | None = None) -> bytes:
        """Returns the encrypted record. Decryption needs the same encryption context."""
        return await self.bind(key_id, context).encrypt(plaintext)

    async def encrypt_many(
        self, key_id: str, plaintexts: Sequence[bytes], context: Context | None = None
    ) -> list[bytes]:
        """Returns the encrypted records in the order of the plaintexts. Makes one C call for each data key."""
        return await self.bind(key_id, context).encrypt_many(plaintexts)

    async def decrypt(self, record: bytes, context: Context | None = None) -> bytes:
        """Returns the plaintext. Raises InvalidCiphertextException if the record was changed or the context differs."""
        given, cache = context or {}, self.cache
        form = canonical(given)
        plaintext = open_within(cache.decryption_keys, cache.clock(), form, record)
        if type(plaintext) is bytes:
            return plaintext
        return await self._decrypt_after(plaintext, record, given, form)  # type: ignore[arg-type]

    async def _decrypt_after(self, status: int, record: bytes, context: Context, form: bytes) -> bytes:
        """Decrypts with a data key from the cache or the service, after the core returned `status`."""
        try:
            why_not(status)
            request = decryption_request(wrapped_key_of(record), context, form)
            key = self.cache.take(request, 0) or (await self._wait_for_key(request, [0]))[0]
            return open_record(key, form, record)
        except forks.LOST:
            forks.after_fork_in_child()
            return await self.decrypt(record, context)

    async def decrypt_many(self, records: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """Returns the plaintexts in the order of the records. Fetches each data key once, 64 at a time, and makes one C
        call for their records. Raises RecordsFailed, which has the other plaintexts, if a record fails."""
        form = canonical(context or {})
        while True:
            decryption = RecordDecryption(records)
            try:
                for part in decryption.parts():
                    request = [(decryption_request(wrapped, context or {}, form), indexes) for wrapped, indexes in part]
                    await asyncio.gather(*(self._find_key(decryption, one, indexes) for one, indexes in request))
                    decryption.decrypt(form)
            except forks.LOST:
                forks.after_fork_in_child()
            else:
                return decryption.plaintexts()

    # --- data keys that are not in the cache ---------------------------------------------------------------------

    async def _find_key(self, decryption: RecordDecryption, request: DataKeyRequest, indexes: Sequence[int]) -> None:
        sizes = [0] * len(indexes)
        try:
            key, _ = self.cache.take_many(request, sizes) or await self._wait_for_key(request, sizes)
        except Exception as error:
            decryption.fail(error, indexes)
        else:
            decryption.set_key(key, indexes)

    async def _wait_for_key(self, request: DataKeyRequest, sizes: Sequence[int]) -> tuple[DataKey, int]:
        """Returns a data key and how many of the records, at least one, may use it. A caller that is cancelled does not
        cancel the fetch, because other tasks may wait for it."""
        if self.cache.needs_own_key(request, sizes[0]):
            return (await self._fetch(request)).key, 1
        while True:
            entry = await asyncio.shield(self._flight(request, ahead=False))
            granted = self.cache.take_from(entry, sizes)
            if granted:
                return entry.key, granted

    def _flight(self, request: DataKeyRequest, *, ahead: bool) -> asyncio.Task[CachedKey]:
        flight = self._flights.get(request.name)
        if flight is None:
            flight = self._flights[request.name] = asyncio.create_task(self._fetch_and_store(request, ahead))
            flight.add_done_callback(_retrieve_error)
        return flight

    async def _fetch_and_store(self, request: DataKeyRequest, ahead: bool) -> CachedKey:
        try:
            entry = await self._fetch(request)
            self.cache.store(request, entry, ahead=ahead)
            return entry
        except BaseException:
            self.cache.failed(request)
            raise
        finally:
            self._flights.pop(request.name, None)

    async def _fetch(self, request: DataKeyRequest) -> CachedKey:
        requested_at = self.cache.clock()
        self.cache.count_call()
        return import_data_key(self.cache, request, await send(self.kms, request), requested_at)

    def _refresh(self, request: DataKeyRequest) -> None:
        """Fetches a data key ahead of time. Ignores errors: a caller that needs the data key fetches it again."""
        self._flight(request, ahead=True)


def _retrieve_error(flight: asyncio.Task[CachedKey]) -> None:
    """Retrieves the error of a finished task, so that asyncio does not log it."""
    if not flight.cancelled():
        flight.exception()


class AsyncBoundEnvelope:
    """Encrypts and decrypts records under one KMS key and one encryption context."""

    __slots__ = ("_client", "_context", "_form", "_request", "_reference", "_clock", "_open")

    def __init__(self, client: AsyncEnvelopeClient, key_id: str, context: Context) -> None:
        self._client = client
        self._context = context
        self._form = canonical(context)
        self._request = encryption_request(key_id, context, self._form)
        self._reference = NO_KEY
        self._clock = client.cache.clock
        self._open = opener_of(client.cache.decryption_keys, self._form, self._clock)

    async def encrypt(self, plaintext: bytes) -> bytes:
        """Returns the encrypted record."""
        key = self._reference.key
        if key is None:
            return await self._encrypt_through_cache(plaintext)
        record = seal_within(key.address, self._clock(), self._form, plaintext)
        if isinstance(record, bytes):
            return record
        try:
            why_not(record)
        except forks.LOST:
            forks.after_fork_in_child()
        return await self._encrypt_through_cache(plaintext)

    async def _encrypt_through_cache(self, plaintext: bytes) -> bytes:
        client, request, size = self._client, self._request, len(plaintext)
        while True:
            key = client.cache.take(request, size) or (await client._wait_for_key(request, [size]))[0]
            self._reference = client.cache.reference(request)
            try:
                return seal(key, self._form, plaintext)
            except forks.LOST:
                forks.after_fork_in_child()

    async def encrypt_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """Returns the encrypted records in the order of the plaintexts."""
        client, given, records = self._client, BytesList(plaintexts), list[bytes]()
        while len(records) < len(given):
            left = memoryview(given.lengths)[len(records) :]
            key, count = client.cache.take_many(self._request, left) or await client._wait_for_key(self._request, left)
            try:
                records += seal_many(key, self._form, given.part(len(records), count))
            except forks.LOST:
                forks.after_fork_in_child()
        return records

    async def decrypt(self, record: bytes) -> bytes:
        """Returns the plaintext of a record that has this encryption context, under any KMS key."""
        plaintext = self._open(record)
        if type(plaintext) is bytes:
            return plaintext
        return await self._client._decrypt_after(plaintext, record, self._context, self._form)  # type: ignore[arg-type]

    async def decrypt_many(self, records: Sequence[bytes]) -> list[bytes]:
        """Returns the plaintexts of records that have this encryption context; see AsyncEnvelopeClient.decrypt_many."""
        return await self._client.decrypt_many(records, self._context)
