"""EnvelopeClient: encrypts and decrypts records in this process, in the C core, under cached data keys.

The client calls the service only for data keys: GenerateDataKey for a new one, Decrypt for one that a record carries in
wrapped form. CacheLimits bounds how long and how often a data key is used. The format of a record is drawn in
kms_grpc/crypto/record.py. Any caller that may Decrypt with the KMS key can open records, also without this library.

Plaintexts are `bytes` of 0 to 2^30 bytes. A KMS key is named by its id, ARN, alias name or alias ARN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from kms_grpc.client import forks
from kms_grpc.client.arguments import Context
from kms_grpc.client.data_key_cache import NO_KEY, CacheCounters, CachedKey, CacheLimits, DataKeyCache, DataKeyRequest
from kms_grpc.client.data_key_requests import decryption_request, encryption_request, import_data_key, send
from kms_grpc.client.key_management import KeyManagementClient
from kms_grpc.client.record_decryption import RecordDecryption
from kms_grpc.client.single_flight import SingleFlight, SingleFlightGroup
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

REFRESHING_THREADS: Final = 4


class EnvelopeClient:
    """A client that encrypts records under cached data keys. Threads may share it.

    In a forked child process the client fetches new data keys.
    """

    def __init__(
        self,
        kms: KeyManagementClient | None = None,
        limits: CacheLimits | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Without `kms`, makes a KeyManagementClient with its default arguments, and closes it in `close`.
        `clock`: returns seconds; given by tests."""
        self.kms = kms or KeyManagementClient()
        self._closes_kms = kms is None
        clocked = () if clock is None else (clock,)
        self.cache = DataKeyCache(limits or CacheLimits(), self._refresh, *clocked)
        self.forked()
        forks.register(self)

    def forked(self) -> None:
        """Forgets, in a forked child, the calls and the threads that exist only in the parent."""
        self._flights: SingleFlightGroup[CachedKey] = SingleFlightGroup()
        self._threads = ThreadPoolExecutor(REFRESHING_THREADS, thread_name_prefix="data-keys-ahead")

    def close(self) -> None:
        """Removes all data keys from memory."""
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
        """The counts of the cache so far."""
        return self.cache.counters()

    def bind(self, key_id: str, context: Context | None = None) -> BoundEnvelope:
        """Returns the faster BoundEnvelope for many records under one KMS key and encryption context."""
        return BoundEnvelope(self, key_id, context or {})

    def encrypt(self, key_id: str, plaintext: bytes, context: Context | None = None) -> bytes:
        """Returns the encrypted record. Decryption needs the same encryption context."""
        return self.bind(key_id, context).encrypt(plaintext)

    def encrypt_many(self, key_id: str, plaintexts: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """Returns the encrypted records in the order of the plaintexts. Makes one C call for each data key."""
        return self.bind(key_id, context).encrypt_many(plaintexts)

    def decrypt(self, record: bytes, context: Context | None = None) -> bytes:
        """Returns the plaintext. Raises InvalidCiphertextException if the record was changed or the context differs."""
        given, cache = context or {}, self.cache
        form = canonical(given)
        plaintext = open_within(cache.decryption_keys, cache.clock(), form, record)
        return plaintext if type(plaintext) is bytes else self._decrypt_after(plaintext, record, given, form)  # type: ignore[arg-type]

    def _decrypt_after(self, status: int, record: bytes, context: Context, form: bytes) -> bytes:
        """Decrypts with a data key from the cache or the service, after the core returned `status`."""
        try:
            why_not(status)
            request = decryption_request(wrapped_key_of(record), context, form)
            key = self.cache.take(request, 0) or self._wait_for_key(request, [0])[0]
            return open_record(key, form, record)
        except forks.LOST:
            forks.after_fork_in_child()
            return self.decrypt(record, context)

    def decrypt_many(self, records: Sequence[bytes], context: Context | None = None) -> list[bytes]:
        """Returns the plaintexts in the order of the records. Fetches each data key once, and makes one C call for the
        records of up to 64 data keys. Raises RecordsFailed, which has the other plaintexts, if a record fails."""
        given, form = context or {}, canonical(context or {})
        decryption = RecordDecryption(records)
        try:
            for part in decryption.parts():
                for wrapped, indexes in part:
                    self._find_key(decryption, decryption_request(wrapped, given, form), indexes)
                decryption.decrypt(form)
        except forks.LOST:
            forks.after_fork_in_child()
            return self.decrypt_many(records, context)
        return decryption.plaintexts()

    # --- data keys that are not in the cache ---------------------------------------------------------------------

    def _find_key(self, decryption: RecordDecryption, request: DataKeyRequest, indexes: Sequence[int]) -> None:
        sizes = [0] * len(indexes)
        try:
            key, _ = self.cache.take_many(request, sizes) or self._wait_for_key(request, sizes)
        except Exception as error:
            decryption.fail(error, indexes)
        else:
            decryption.set_key(key, indexes)

    def _wait_for_key(self, request: DataKeyRequest, sizes: Sequence[int]) -> tuple[DataKey, int]:
        """Returns a data key and how many of the records, at least one, may use it. Fetches the data key, or waits for
        another thread that does."""
        if self.cache.needs_own_key(request, sizes[0]):
            return self._fetch(request).key, 1
        while True:
            flight, leads = self._flights.join(request.name)
            if leads:
                taken = self._lead(flight, request, sizes, ahead=False)
            elif (finished := flight.wait()) is not None:
                taken = finished.key, self.cache.take_from(finished, sizes)
            else:
                continue
            if taken is not None and taken[1]:
                return taken

    def _lead(
        self, flight: SingleFlight[CachedKey], request: DataKeyRequest, sizes: Sequence[int], *, ahead: bool
    ) -> tuple[DataKey, int] | None:
        """Fetches and stores a data key as the leader of the flight, and ends the flight for the others.

        An earlier flight may have stored one after the caller looked into the cache. The leader then takes that data
        key: replacing it would discard a data key before its end."""
        entry = None
        try:
            taken = None if ahead else self.cache.take_many(request, sizes)
            if taken is None and (not ahead or self.cache.awaits_successor(request)):
                entry = self._fetch(request)
                taken = entry.key, self.cache.store(request, entry, ahead=ahead, sizes=sizes)
            self._flights.end(request.name)
            flight.finish(entry)
        except BaseException as error:
            self.cache.failed(request)
            self._flights.end(request.name)
            flight.finish(error=error if isinstance(error, Exception) else None)
            raise
        return taken

    def _fetch(self, request: DataKeyRequest) -> CachedKey:
        requested_at = self.cache.clock()
        self.cache.count_call()
        return import_data_key(self.cache, request, send(self.kms, request), requested_at)

    def _refresh(self, request: DataKeyRequest) -> None:
        try:
            self._threads.submit(self._fetch_ahead, request)
        except RuntimeError:  # the interpreter is shutting down
            self.cache.failed(request)

    def _fetch_ahead(self, request: DataKeyRequest) -> None:
        """Fetches a data key ahead of time. Ignores errors: a caller that needs the data key fetches it again."""
        flight, leads = self._flights.join(request.name)
        if leads:
            try:
                self._lead(flight, request, (), ahead=True)
            except Exception:
                return


class BoundEnvelope:
    """Encrypts and decrypts records under one KMS key and one encryption context."""

    __slots__ = ("_client", "_context", "_form", "_request", "_reference", "_clock", "_open")

    def __init__(self, client: EnvelopeClient, key_id: str, context: Context) -> None:
        self._client = client
        self._context = context
        self._form = canonical(context)
        self._request = encryption_request(key_id, context, self._form)
        self._reference = NO_KEY
        self._clock = client.cache.clock
        self._open = opener_of(client.cache.decryption_keys, self._form, self._clock)

    def encrypt(self, plaintext: bytes) -> bytes:
        """Returns the encrypted record."""
        key = self._reference.key
        if key is None:
            return self._encrypt_through_cache(plaintext)
        record = seal_within(key.address, self._clock(), self._form, plaintext)
        return record if type(record) is bytes else self._encrypt_after(record, plaintext)  # type: ignore[arg-type]

    def _encrypt_after(self, status: int, plaintext: bytes) -> bytes:
        """Encrypts with a data key from the cache, after the core refused the referenced one with `status`."""
        try:
            why_not(status)
        except forks.LOST:
            forks.after_fork_in_child()
        return self._encrypt_through_cache(plaintext)

    def _encrypt_through_cache(self, plaintext: bytes) -> bytes:
        request, size, cache = self._request, len(plaintext), self._client.cache
        key = cache.take(request, size) or self._client._wait_for_key(request, [size])[0]
        self._reference = cache.reference(request)
        try:
            return seal(key, self._form, plaintext)
        except forks.LOST:
            forks.after_fork_in_child()
            return self.encrypt(plaintext)

    def encrypt_many(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        """Returns the encrypted records in the order of the plaintexts."""
        given, request, records = BytesList(plaintexts), self._request, list[bytes]()
        while len(records) < len(given):
            left = memoryview(given.lengths)[len(records) :]
            key, count = self._client.cache.take_many(request, left) or self._client._wait_for_key(request, left)
            try:
                records += seal_many(key, self._form, given.part(len(records), count))
            except forks.LOST:
                forks.after_fork_in_child()
        return records

    def decrypt(self, record: bytes) -> bytes:
        """Returns the plaintext of a record that has this encryption context, under any KMS key."""
        plaintext = self._open(record)
        if type(plaintext) is bytes:
            return plaintext
        return self._client._decrypt_after(plaintext, record, self._context, self._form)  # type: ignore[arg-type]

    def decrypt_many(self, records: Sequence[bytes]) -> list[bytes]:
        """Returns the plaintexts of records that have this encryption context; see EnvelopeClient.decrypt_many."""
        return self._client.decrypt_many(records, self._context)
