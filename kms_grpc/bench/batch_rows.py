"""Rows `batch.*`: many items in one call, in C and over gRPC.

batch.core.64k           GB/s of an EncryptBatch of items of 64 KiB, by CPU time; beside one buffer that is encrypted in
                         place repeatedly, as `openssl speed -evp aes-256-gcm -aead` does, on the same libcrypto
batch.core.64k.threads2  GB/s by two threads, each of which encrypts half of the items fifty times; beside one thread;
                         by wall clock
batch.core.envelope.1k   envelopes a second: a new data key, wrapped as a blob, and 1 KiB encrypted under it; beside a
                         Python loop over `cryptography`'s AESGCM that encrypts a data key, and 1 KiB under it
batch.grpc.1k            GB/s of plaintext, EncryptBatch of 1,000 items of 1 KiB; beside an echo of the same sizes
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import thread_time_ns
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.core_rows import ARN, core_key, core_yardstick
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.grpc_rows import echo_beside
from kms_grpc.bench.load import LoadReport
from kms_grpc.bench.statistics import BenchRow, interleaved, row_of
from kms_grpc.bench.yardsticks import BatchYardstick
from kms_grpc.crypto.ciphertext_blob import MAXIMUM_PLAINTEXT, associated_prefix
from kms_grpc.crypto.keyring import libcrypto_version
from kms_grpc.v1 import envelope_pb2 as pb

LARGE_ITEMS: Final = 16
"""Items of 64 KiB: 1 MiB in and 1 MiB out, which stay in a core's cache, as the reference's buffer does.

With 60 items, which fill gRPC's default limit of 4 MiB, memory bandwidth is measured: on OpenSSL 3.5 the ratio was 0.88
instead of 0.93, and two threads were no faster than one."""
SMALL_ITEMS: Final = 1_000
REPEATS: Final = 10
GB: Final = 1e9
GOAL_OF_SPEED: Final = 0.9
GOAL_OF_THREADS: Final = 1.7
GOALS: Final[Mapping[str, tuple[float, float]]] = {
    "batch.core.envelope.1k": (2.2, 3.5),
    "batch.grpc.1k": (0.4, 0.55),
}
"""The goals on OpenSSL 3.0 and on 3.5."""
NAMES: Final = ("batch.core.64k", "batch.core.64k.threads2", "batch.core.envelope.1k", "batch.grpc.1k")


def measure(name: str, bench_data: BenchData) -> tuple[list[BenchRow], list[LoadReport]]:
    if name == "batch.grpc.1k":
        return _over_grpc(name, bench_data)
    if name == "batch.core.envelope.1k":
        return [_envelopes(name, bench_data)], []
    with _large_items() as yardstick:
        if name == "batch.core.64k":
            ours, bare, goal = _best(yardstick.alone), _best(yardstick.speed), GOAL_OF_SPEED
        else:
            ours, bare, goal = _best(lambda: yardstick.run(2)), _best(lambda: yardstick.run(1)), GOAL_OF_THREADS
        return [interleaved(name, "GB/s", goal, ours, bare, bench_data.effort.rounds, at_least=True)], []


def _goal(name: str) -> float:
    return GOALS[name][0 if libcrypto_version().startswith("OpenSSL 3.0.") else 1]


def _best(measured: Callable[[], float]) -> Callable[[], float]:
    """Returns a measurement that takes the best of a few, to leave out the load of other processes."""
    return lambda: max(measured() for _ in range(REPEATS))


@contextmanager
def _large_items() -> Iterator[BatchYardstick]:
    item = pb.EncryptBatchItem(plaintext=bytes(MAXIMUM_PLAINTEXT))
    raw = pb.EncryptBatchRequest(key_id=ARN, items=[item] * LARGE_ITEMS).SerializeToString()
    with core_key() as (handle, prefix):
        yield BatchYardstick(raw, handle, prefix, associated_prefix(ARN), MAXIMUM_PLAINTEXT, LARGE_ITEMS)


def _envelopes(name: str, bench_data: BenchData) -> BenchRow:
    batches = bench_data.effort.batches
    with core_yardstick() as yardstick:
        return interleaved(
            name,
            "items/s",
            _goal(name),
            lambda: GB * batches / sum(yardstick.envelopes() for _ in range(batches)),
            lambda: GB * batches / sum(_in_python() for _ in range(batches)),
            bench_data.effort.rounds,
            at_least=True,
        )


def _in_python(items: int = 100) -> float:
    """Returns the nanoseconds per item of a Python loop that encrypts the data key and the message."""
    wrap, plaintext = AESGCM(os.urandom(32)).encrypt, bytes(ITEM_BYTES)
    data_key, nonce = os.urandom(32), os.urandom(12)
    begun = thread_time_ns()
    for _ in range(items):
        wrap(nonce, data_key, None)
        AESGCM(data_key).encrypt(nonce, plaintext, None)
    return (thread_time_ns() - begun) / items


def _over_grpc(name: str, bench_data: BenchData) -> tuple[list[BenchRow], list[LoadReport]]:
    echoes, ours = echo_beside(name, bench_data, "encrypt-batch", ITEM_BYTES, connections=2, in_flight=4)
    size = ITEM_BYTES * SMALL_ITEMS / GB
    values, references = ([report.rate * size for report in reports] for reports in (ours, echoes))
    row = row_of(name, "GB/s", _goal(name), values, references, at_least=True)
    return [row], [sorted(reports, key=lambda report: report.rate)[len(reports) // 2] for reports in (echoes, ours)]
