"""Yardsticks of `kms-grpc bench`: the core next to bare AES-256-GCM of the same libcrypto in the same process.

Each method runs one C call over all items and returns the thread's CPU nanoseconds per item, without Python's share.
The C of this module is an extension of the bench's own (native/bench/), which calls the core by its addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns, thread_time_ns
from typing import Any

from kms_grpc.bench._yardsticks import ffi, lib
from kms_grpc.crypto import raw_batch, raw_request
from kms_grpc.crypto.c_functions import address_of
from kms_grpc.crypto.ciphertext_blob import HEADER_SIZE, OVERHEAD
from kms_grpc.crypto.errors import raise_for
from kms_grpc.errors import InvalidCiphertextException

_TAG = 16
_DATA_KEY = 32
_NONCE = 12
_SEAL, _SEAL_MANY, _OPEN_MANY, _RANDOM = (
    ffi.cast("void *", address_of(name)) for name in ("kms_seal", "kms_seal_many", "kms_open_many", "kms_random")
)


class CoreYardstick:
    """Buffers for `count` items of `size` bytes under one key, one prefix and one associated data.

    Bare AES-256-GCM gets the same associated data as the blobs: header and `associated`.
    """

    def __init__(self, handle: int, prefix: bytes, associated: bytes, size: int = 1024, count: int = 1000) -> None:
        self.size, self.count = size, count
        self._key = (handle, prefix, len(prefix), associated, len(associated))
        self._associated = associated
        self._bare_associated = bytes(HEADER_SIZE) + associated
        self._lengths = ffi.new("uint32_t[]", [size] * count)
        self._blob_lengths = ffi.new("uint32_t[]", [size + OVERHEAD] * count)
        self._plain = ffi.new("uint8_t[]", size * count)
        self._opened = ffi.new("uint8_t[]", size * count)
        self._blobs = ffi.new("uint8_t[]", (size + OVERHEAD) * count)
        self._bare = ffi.new("uint8_t[]", (size + _TAG) * count)
        self._statuses = ffi.new("uint8_t[]", count)
        self._envelopes: Any = None
        self.seal()
        self.bare_seal()

    def seal(self) -> float:
        """Row `core.seal.1k`: seals all items in one call."""
        return self._timed(
            lib.yardstick_seal_many,
            _SEAL_MANY,
            self._blobs,
            len(self._blobs),
            *self._key,
            self._plain,
            self._lengths,
            self.count,
        )

    def open(self) -> float:
        """Row `core.open.1k`: opens all items. Raises InvalidCiphertextException if one does not open."""
        handle, associated = self._key[0], self._associated
        out = (self._opened, len(self._opened), self._statuses)
        blobs = (self._blobs, self._blob_lengths, self.count)
        taken = self._timed(lib.yardstick_open_many, _OPEN_MANY, *out, handle, associated, len(associated), *blobs)
        if any(ffi.buffer(self._statuses)[:]):
            raise InvalidCiphertextException
        return taken

    def bare_seal(self) -> float:
        """Encrypts with AES-256-GCM by EVP, in a reused context with a new key for each item."""
        associated = self._bare_associated
        return self._timed(
            lib.yardstick_bare_seal, self._bare, associated, len(associated), self._plain, self.size, self.count
        )

    def bare_open(self) -> float:
        """Decrypts the results of `bare_seal`."""
        associated = self._bare_associated
        return self._timed(
            lib.yardstick_bare_open, self._opened, associated, len(associated), self._bare, self.size, self.count
        )

    def seal_singly(self) -> float:
        """Row `core.seal.1k.single`: one item per call; each call draws its nonce and wipes its cipher contexts."""
        size = self.size
        return self._timed(
            lib.yardstick_seal_singly, _SEAL, self._blobs, size + OVERHEAD, *self._key, self._plain, size, self.count
        )

    def bare_seal_singly(self) -> float:
        """Encrypts with AES-256-GCM by EVP, in a reused context with a new key and RAND_bytes nonce for each item."""
        associated = self._bare_associated
        return self._timed(
            lib.yardstick_bare_seal_singly, self._bare, associated, len(associated), self._plain, self.size, self.count
        )

    def _timed(self, call: Callable[..., int], *arguments: Any) -> float:
        begun = thread_time_ns()
        status = call(*arguments)
        taken = thread_time_ns() - begun
        if status:
            raise_for(status)
        return taken / self.count

    def envelopes(self) -> float:
        """Row `batch.core.envelope.1k`: for each item a new data key, sealed as a blob, and the item encrypted under
        it."""
        if self._envelopes is None:
            self._envelopes = ffi.new("uint8_t[]", (self.size + lib.YARDSTICK_ENVELOPE_OVERHEAD) * self.count)
            self._work = ffi.new("uint8_t[]", (2 * _DATA_KEY + _NONCE + OVERHEAD) * self.count)
            self._data_key_lengths = ffi.new("uint32_t[]", [_DATA_KEY] * self.count)
        return self._timed(
            lib.yardstick_envelopes,
            _SEAL_MANY,
            _RANDOM,
            self._envelopes,
            self._work,
            self._data_key_lengths,
            *self._key,
            self._plain,
            self.size,
            self.count,
        )


class BatchYardstick:
    """The items of one EncryptBatch request, scanned and planned.

    `raw` is the request with `count` items of `size` bytes under one key; `arn` is ciphertext_blob.associated_prefix.
    """

    def __init__(self, raw: bytes, handle: int, prefix: bytes, arn: bytes, size: int, count: int) -> None:
        batch = raw_batch.scan(raw_request.ENCRYPT, raw)
        material = raw_request.material(handle, prefix, arn)
        if batch is None or material is None:
            raise ValueError("the request cannot be encrypted as a batch")
        batch.plan([raw_batch.Admitted(material)], 0)
        batch.run()
        self._batch, self._bytes, self._size, self._count = batch, size * count, size, count
        self._buffer = ffi.new("uint8_t[]", size + _TAG)

    def alone(self) -> float:
        """Returns GB/s of plaintext, by this thread's CPU time."""
        begun = thread_time_ns()
        self._batch.run()
        return self._bytes / (thread_time_ns() - begun)

    def run(self, threads: int, times: int = 50) -> float:
        """Returns GB/s of plaintext by wall time, with a part of the batch for each thread.

        Each thread repeats its part `times` times, because waking a thread takes as long as encrypting a megabyte.
        """
        parts = [self._count * part // threads for part in range(threads + 1)]

        def work(first: int, end: int, times: int) -> None:
            for _ in range(times):
                self._batch.run(first, end)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts[:-1], parts[1:], [1] * threads))  # creates each thread's cipher contexts
            begun = perf_counter_ns()
            list(pool.map(work, parts[:-1], parts[1:], [times] * threads))
            return times * self._bytes / (perf_counter_ns() - begun)

    def speed(self) -> float:
        """Returns GB/s as `openssl speed -evp aes-256-gcm -aead` measures: one buffer, encrypted in place."""
        begun = thread_time_ns()
        status = lib.yardstick_speed(self._buffer, self._size, self._count)
        taken = thread_time_ns() - begun
        if status:
            raise_for(status)
        return self._bytes / taken
