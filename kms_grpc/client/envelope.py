"""EnvelopeClient: records encrypted and decrypted here, in the C core, under data keys that are kept for a while.

The service is called for data keys alone: GenerateDataKey for a new one, Decrypt for one that a record carries. How
long and how often a data key is used is bounded (data_key_cache.CacheLimits). Records are described in
crypto/record.py; whoever has the right to Decrypt under the KMS key can open them, with this library or by hand.

Plaintexts are `bytes` of 0 to 2^30 bytes. A KMS key is named by id, ARN or alias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from kms_grpc.client import forks
from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import NOTHING, CacheCounters, CachedKey, CacheLimits, DataKeyCache, Wanted
from kms_grpc.client.data_keys import Opening, ask, imported, known_one, new_one
from kms_grpc.client.key_management import KeyManagementClient
from kms_grpc.client.single_flight import SingleFlight, SingleFlights
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

REFRESHING_THREADS: Final = 4


class EnvelopeClient:
    """Records under cached data keys. Threads may share it; a forked child fetches data keys of its own."""

    def __init__(
        self,
        kms: KeyManagementClient | None = None,
        limits: CacheLimits | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Without `kms`, one is made from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN and KMS_GRPC_REGION, and closed with this.
        `clock`: seconds, for tests."""
        self.kms = kms or KeyManagementClient()
        self._closes_kms = kms is None
        clocked = () if clock is None else (clock,)
        self.cache = DataKeyCache(limits or CacheLimits(), self._refresh, *clocked)
        self.forked()
        forks.register(self)

    def forked(self) -> None:
        """Flights of the parent's threads never land in the child."""
        self._flights: SingleFlights[CachedKey] = SingleFlights()
        self._threads = ThreadPoolExecutor(REFRESHING_THREADS, thread_name_prefix="data-keys-ahead")

    def close(self) -> None:
        """Forget all data keys."""
        self._threads.shutdown(cancel_futures=True)
        self.cache.clear()
        if self._closes_kms:
            self.kms.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counters(self) -> CacheCounters:
        """What the cache has done so far."""
        return self.cache.counters()

    def bind(self, key_id: str, context: Context | None = None) -> BoundEnvelope:
        """For many records under one KMS key and one encryption context."""
        return BoundEnvelope(self, key_id, context or {})

    def encrypt(self, key_id: str, plaintext: bytes, context: Context | None = None) -> bytes:
        """A record. Whoever decrypts must give the same encryption context."""
        return self.bind(key_id, context).encrypt(plaintext)

    def encrypt_many(self, key_id: str, plaintexts: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """A record of each, in their order; one C call for all under the same data key."""
        return self.bind(key_id, context).encrypt_many(plaintexts)

    def decrypt(self, record: bytes, context: Context | None = None) -> bytes:
        """The plaintext. InvalidCiphertextException for a record that was changed, or of another context."""
        given, form = context or {}, canonical(context or {})
        wanted = known_one(wrapped_key_of(record), given, form)
        key = self.cache.take(wanted, 0) or self._wait(wanted, [0])[0]
        try:
            return open_record(key, form, record)
        except forks.LOST:
            forks.happened()
            return self.decrypt(record, context)

    def decrypt_many(self, records: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """The plaintexts, in their order; one C call for those of up to 64 data keys. Each is asked for once.
        RecordsFailed, with the plaintexts of the others, where one does not open."""
        given, form = context or {}, canonical(context or {})
        opening = Opening(records)
        try:
            for part in opening.parts():
                for wrapped, places in part:
                    self._find(opening, known_one(wrapped, given, form), places)
                opening.open(form)
        except forks.LOST:
            forks.happened()
            return self.decrypt_many(records, context)
        return opening.finished()

    # --- data keys that are not at hand -----------------------------------------------------------------------------

    def _find(self, opening: Opening, wanted: Wanted, places: Sequence[int]) -> None:
        sizes = [0] * len(places)
        try:
            key, _ = self.cache.take_many(wanted, sizes) or self._wait(wanted, sizes)
        except Exception as error:
            opening.refused(error, places)
        else:
            opening.under(key, places)

    def _wait(self, wanted: Wanted, sizes: Sequence[int]) -> tuple[DataKey, int]:
        """A data key for as many of these records as may be under it, at least one: fetched here, or by whoever came
        first."""
        if self.cache.is_alone(wanted, sizes[0]):
            return self._fetch(wanted).key, 1
        while True:
            flight, leads = self._flights.join(wanted.name)
            if leads:
                held, granted = self._lead(flight, wanted, sizes, ahead=False)
            elif (waited := flight.wait()) is not None:
                held, granted = waited, self.cache.take_from(waited, sizes)
            else:
                continue
            if granted:
                return held.key, granted

    def _lead(
        self, flight: SingleFlight[CachedKey], wanted: Wanted, sizes: Sequence[int], *, ahead: bool
    ) -> tuple[CachedKey, int]:
        try:
            held = self._fetch(wanted)
            granted = self.cache.store(wanted, held, ahead=ahead, sizes=sizes)
            self._flights.end(wanted.name)
            flight.land(held)
        except BaseException as error:
            self.cache.failed(wanted)
            self._flights.end(wanted.name)
            flight.land(error=error if isinstance(error, Exception) else None)
            raise
        return held, granted

    def _fetch(self, wanted: Wanted) -> CachedKey:
        asked_at = self.cache.clock()
        self.cache.called()
        return imported(self.cache, wanted, ask(self.kms, wanted), asked_at)

    def _refresh(self, wanted: Wanted) -> None:
        try:
            self._threads.submit(self._fetch_ahead, wanted)
        except RuntimeError:  # the interpreter is on its way out
            self.cache.failed(wanted)

    def _fetch_ahead(self, wanted: Wanted) -> None:
        """What goes wrong is for those to see who need the data key once the one at hand is used up."""
        flight, leads = self._flights.join(wanted.name)
        if leads:
            try:
                self._lead(flight, wanted, (), ahead=True)
            except Exception:
                return


class BoundEnvelope:
    """Records under one KMS key and one encryption context."""

    __slots__ = ("_client", "_context", "_form", "_wanted", "_lent", "_clock")

    def __init__(self, client: EnvelopeClient, key_id: str, context: Context) -> None:
        self._client = client
        self._context = context
        self._form = canonical(context)
        self._wanted = new_one(key_id, context, self._form)
        self._lent = NOTHING
        self._clock = client.cache.clock

    def encrypt(self, plaintext: bytes) -> bytes:
        """A record."""
        key = self._lent.key
        if key is None:
            return self._encrypt_asking(plaintext)
        record = seal_within(key.address, self._clock(), self._form, plaintext)
        return record if type(record) is bytes else self._encrypt_otherwise(plaintext, record)  # type: ignore[arg-type]

    def _encrypt_otherwise(self, plaintext: bytes, status: int) -> bytes:
        """Where the data key that was lent does not serve any more."""
        try:
            why_not(status)
        except forks.LOST:
            forks.happened()
        return self._encrypt_asking(plaintext)

    def _encrypt_asking(self, plaintext: bytes) -> bytes:
        wanted, size, cache = self._wanted, len(plaintext), self._client.cache
        key = cache.take(wanted, size) or self._client._wait(wanted, [size])[0]
        self._lent = cache.lent(wanted)
        try:
            return seal(key, self._form, plaintext)
        except forks.LOST:
            forks.happened()
            return self.encrypt(plaintext)

    def encrypt_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """A record of each, in their order."""
        given, wanted, records = BytesList(plaintexts), self._wanted, list[bytes]()
        while len(records) < len(given):
            left = memoryview(given.lengths)[len(records) :]
            key, count = self._client.cache.take_many(wanted, left) or self._client._wait(wanted, left)
            try:
                records += seal_many(key, self._form, given.part(len(records), count))
            except forks.LOST:
                forks.happened()
        return records

    def decrypt(self, record: bytes) -> bytes:
        """The plaintext of a record of this context, whatever its key."""
        return self._client.decrypt(record, self._context)

    def decrypt_many(self, records: Sequence[bytes]) -> list[bytes]:
        """The plaintexts of many."""
        return self._client.decrypt_many(records, self._context)
