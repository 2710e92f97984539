"""Row `executor.encrypt.1k`: CPU of a warm Encrypt from request bytes to answer bytes, with audit log and counters.

The reference is the least that such a call can cost: upb parses the same bytes, AESGCM of `cryptography` encrypts under
a new random nonce, and upb serialises the answer. The CPU is that of the whole process, including the thread that
writes the audit log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import process_time_ns
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kms_grpc.authentication.credentials import Credentials
from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.own_service import OwnService, own_service
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.operations.operation import Operation
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

NAME: Final = "executor.encrypt.1k"
NAMES: Final = (NAME,)
GOAL: Final = 3.0
NONCE_BYTES: Final = 12
Handle = Callable[[bytes], bytes | None]


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    calls, rounds = bench_data.effort.calls, bench_data.effort.rounds
    with _warm_encrypt(bench_data) as (ours, raw, arn):
        bare = reference(arn)
        return [
            interleaved(name, "µs", GOAL, lambda: cpu_us(ours, raw, calls), lambda: cpu_us(bare, raw, calls), rounds)
        ]


def cpu_us(handle: Handle, raw: bytes, calls: int) -> float:
    """Returns this process's CPU per call in microseconds. Raises BenchFailed if a call is not answered."""
    begun = process_time_ns()
    for _ in range(calls):
        if handle(raw) is None:
            raise BenchFailed(f"{NAME}: no Permit held; the call would have gone the long way")
    return (process_time_ns() - begun) / 1000 / calls


def reference(key_id: str) -> Handle:
    """Returns a function that parses a request, encrypts its plaintext and serialises the answer."""
    cipher, associated = AESGCM(AESGCM.generate_key(256)), key_id.encode()
    symmetric = keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT

    def encrypt(raw: bytes) -> bytes:
        request = pb.EncryptRequest.FromString(raw)
        nonce = os.urandom(NONCE_BYTES)
        blob = nonce + cipher.encrypt(nonce, request.plaintext, associated)
        answer = pb.EncryptResponse(key_id=key_id, ciphertext_blob=blob, encryption_algorithm=symmetric)
        return answer.SerializeToString()

    return encrypt


@contextmanager
def _warm_encrypt(bench_data: BenchData) -> Iterator[tuple[Handle, bytes, str]]:
    """Yields the executor's function for warm calls, a request that it answers, and the key's ARN."""
    with own_service(bench_data.fresh("executor")) as service:
        (key_id,) = service.make_keys(1)
        raw = pb.EncryptRequest(key_id=key_id, plaintext=bytes(ITEM_BYTES)).SerializeToString()
        operation, credentials = service.operation("Encrypt"), service.credentials
        answer = pb.EncryptResponse.FromString(service.executor.execute(operation, credentials, raw))
        yield _warm(service, operation, credentials), raw, answer.key_id


def _warm(service: OwnService, operation: Operation, credentials: Credentials) -> Handle:
    warm = service.executor.warm
    return lambda raw: warm(operation, credentials, raw)
