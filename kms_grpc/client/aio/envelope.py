"""AsyncEnvelopeClient: EnvelopeClient for one event loop.

What is at hand is encrypted and decrypted without a wait; only a data key that is to be fetched is awaited. A large
record holds up the loop as long as the core works on it: 1 MiB for less than a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from kms_grpc.client import forks
from kms_grpc.client.aio.key_management import AsyncKeyManagementClient
from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import NOTHING, CacheCounters, CachedKey, CacheLimits, DataKeyCache, Wanted
from kms_grpc.client.data_keys import Opening, ask, imported, known_one, new_one
from kms_grpc.crypto.bytes_lists import BytesList
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.record import (
    DataKey,
    open_record,
    seal,
    seal_many,
    seal_within,
    why_not,
    wrapped_key_of,
)


class AsyncEnvelopeClient:
    """Records under cached data keys. The tasks of one loop may share it."""

    def __init__(
        self,
        kms: AsyncKeyManagementClient | None = None,
        limits: CacheLimits | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Without `kms`, one is made from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN and KMS_GRPC_REGION, and closed with this.
        `clock`: seconds, for tests."""
        self.kms = kms or AsyncKeyManagementClient()
        self._closes_kms = kms is None
        clocked = () if clock is None else (clock,)
        self.cache = DataKeyCache(limits or CacheLimits(), self._refresh, *clocked)
        self.forked()
        forks.register(self)

    def forked(self) -> None:
        """The parent's loop does not run in the child."""
        self._flights: dict[object, asyncio.Task[CachedKey]] = {}

    async def close(self) -> None:
        """Forget all data keys."""
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
        """What the cache has done so far."""
        return self.cache.counters()

    def bind(self, key_id: str, context: Context | None = None) -> AsyncBoundEnvelope:
        """For many records under one KMS key and one encryption context."""
        return AsyncBoundEnvelope(self, key_id, context or {})

    async def encrypt(self, key_id: str, plaintext: bytes, context: Context | None = None) -> bytes:
        """A record. Whoever decrypts must give the same encryption context."""
        return await self.bind(key_id, context).encrypt(plaintext)

    async def encrypt_many(
        self, key_id: str, plaintexts: Sequence[bytes], context: Context | None = None
    ) -> list[bytes]:
        """A record of each, in their order; one C call for all under the same data key."""
        return await self.bind(key_id, context).encrypt_many(plaintexts)

    async def decrypt(self, record: bytes, context: Context | None = None) -> bytes:
        """The plaintext. InvalidCiphertextException for a record that was changed, or of another context."""
        form = canonical(context or {})
        wanted = known_one(wrapped_key_of(record), context or {}, form)
        while True:
            key = self.cache.take(wanted, 0) or (await self._wait(wanted, [0]))[0]
            try:
                return open_record(key, form, record)
            except forks.LOST:
                forks.happened()

    async def decrypt_many(self, records: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """The plaintexts, in their order; one C call for those of up to 64 data keys, which are asked for at the same
        time, each once. RecordsFailed, with the plaintexts of the others, where one does not open."""
        form = canonical(context or {})
        while True:
            opening = Opening(records)
            try:
                for part in opening.parts():
                    wanted = [(known_one(wrapped, context or {}, form), places) for wrapped, places in part]
                    await asyncio.gather(*(self._find(opening, one, places) for one, places in wanted))
                    opening.open(form)
            except forks.LOST:
                forks.happened()
            else:
                return opening.finished()

    # --- data keys that are not at hand -----------------------------------------------------------------------------

    async def _find(self, opening: Opening, wanted: Wanted, places: Sequence[int]) -> None:
        sizes = [0] * len(places)
        try:
            key, _ = self.cache.take_many(wanted, sizes) or await self._wait(wanted, sizes)
        except Exception as error:
            opening.refused(error, places)
        else:
            opening.under(key, places)

    async def _wait(self, wanted: Wanted, sizes: Sequence[int]) -> tuple[DataKey, int]:
        """A data key for as many of these records as may be under it, at least one. A caller that is cancelled takes no
        flight down that others wait for."""
        if self.cache.is_alone(wanted, sizes[0]):
            return (await self._fetch(wanted)).key, 1
        while True:
            held = await asyncio.shield(self._flight(wanted, ahead=False))
            granted = self.cache.take_from(held, sizes)
            if granted:
                return held.key, granted

    def _flight(self, wanted: Wanted, *, ahead: bool) -> asyncio.Task[CachedKey]:
        flight = self._flights.get(wanted.name)
        if flight is None:
            flight = self._flights[wanted.name] = asyncio.create_task(self._fly(wanted, ahead))
            flight.add_done_callback(_look_at_its_error)
        return flight

    async def _fly(self, wanted: Wanted, ahead: bool) -> CachedKey:
        try:
            held = await self._fetch(wanted)
            self.cache.store(wanted, held, ahead=ahead)
            return held
        except BaseException:
            self.cache.failed(wanted)
            raise
        finally:
            self._flights.pop(wanted.name, None)

    async def _fetch(self, wanted: Wanted) -> CachedKey:
        asked_at = self.cache.clock()
        self.cache.called()
        return imported(self.cache, wanted, await ask(self.kms, wanted), asked_at)

    def _refresh(self, wanted: Wanted) -> None:
        """What goes wrong is for those to see who need the data key once the one at hand is used up."""
        self._flight(wanted, ahead=True)


def _look_at_its_error(flight: asyncio.Task[CachedKey]) -> None:
    """asyncio logs what nobody has looked at."""
    if not flight.cancelled():
        flight.exception()


class AsyncBoundEnvelope:
    """Records under one KMS key and one encryption context."""

    __slots__ = ("_client", "_context", "_form", "_wanted", "_lent", "_clock")

    def __init__(self, client: AsyncEnvelopeClient, key_id: str, context: Context) -> None:
        self._client = client
        self._context = context
        self._form = canonical(context)
        self._wanted = new_one(key_id, context, self._form)
        self._lent = NOTHING
        self._clock = client.cache.clock

    async def encrypt(self, plaintext: bytes) -> bytes:
        """A record."""
        key = self._lent.key
        if key is None:
            return await self._encrypt_asking(plaintext)
        record = seal_within(key.address, self._clock(), self._form, plaintext)
        if isinstance(record, bytes):
            return record
        try:
            why_not(record)
        except forks.LOST:
            forks.happened()
        return await self._encrypt_asking(plaintext)

    async def _encrypt_asking(self, plaintext: bytes) -> bytes:
        client, wanted, size = self._client, self._wanted, len(plaintext)
        while True:
            key = client.cache.take(wanted, size) or (await client._wait(wanted, [size]))[0]
            self._lent = client.cache.lent(wanted)
            try:
                return seal(key, self._form, plaintext)
            except forks.LOST:
                forks.happened()

    async def encrypt_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """A record of each, in their order."""
        client, given, records = self._client, BytesList(plaintexts), list[bytes]()
        while len(records) < len(given):
            left = memoryview(given.lengths)[len(records) :]
            key, count = client.cache.take_many(self._wanted, left) or await client._wait(self._wanted, left)
            try:
                records += seal_many(key, self._form, given.part(len(records), count))
            except forks.LOST:
                forks.happened()
        return records

    async def decrypt(self, record: bytes) -> bytes:
        """The plaintext of a record of this context, whatever its key."""
        return await self._client.decrypt(record, self._context)

    async def decrypt_many(self, records: Sequence[bytes]) -> list[bytes]:
        """The plaintexts of many."""
        return await self._client.decrypt_many(records, self._context)
