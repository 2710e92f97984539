"""Rows `rotation.*`: the costs of a key that was rotated ten thousand times, beside keys that were never rotated.

`rotation.10k` is a warm Encrypt under the newest key material. `rotation.10k.decrypt` is a cold Decrypt: each blob
belongs to another old key material, which is found by the blob's header, read, checked and unwrapped. The reference is
the same for as many keys with a single key material. The two take turns call by call. The keys are in the worker's
cache, the key materials are not.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.own_service import OwnService, own_service
from kms_grpc.bench.statistics import BenchRow, row_of
from kms_grpc.model.key import RotationType
from kms_grpc.v1 import key_management_pb2 as pb

NAMES: Final = ("rotation.10k",)
GOAL: Final = 1.1
SAMPLE: Final = 50
"""Number of old key materials with a stored blob, of keys with one key material, and of cold calls per round."""


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    path = bench_data.fresh("rotation")
    effort = bench_data.effort
    with own_service(path) as service:
        (rotated,) = service.make_keys(1)
        old = _rotate(service, rotated, effort.materials, bench_data)
        single = {key_id: _seal(service, key_id) for key_id in service.make_keys(len(old))}
    rounds = [_round(path, (rotated, old), single, effort.calls) for _ in range(effort.rounds)]
    return [
        row_of(name, "µs", GOAL, [each[0] for each in rounds], [each[1] for each in rounds]),
        row_of(f"{name}.decrypt", "µs", GOAL, [each[2] for each in rounds], [each[3] for each in rounds]),
    ]


def _rotate(service: OwnService, key_id: str, count: int, bench_data: BenchData) -> list[bytes]:
    """Rotates the key until it has `count` key materials; returns blobs of some of them, at even distances."""
    blobs, shard = [], service.shard
    for done in range(1, count):
        if done % max(1, count // SAMPLE) == 0:
            blobs.append(_seal(service, key_id))
            bench_data.progress(f"rotating a key: {done:,} of {count:,}")
        with shard.writing() as transaction:
            key = transaction.keys.find(key_id)
            assert key is not None, "it was made just now"
            now = time.time_ns()
            fresh = shard.generate_material(key_id, key.account, now)
            rotated = dataclasses.replace(fresh, rotated_ns=now, rotation_type=RotationType.AUTOMATIC)
            transaction.keys.make_current(key, rotated)
    return blobs or [_seal(service, key_id)]


def _seal(service: OwnService, key_id: str) -> bytes:
    request = pb.EncryptRequest(key_id=key_id, plaintext=bytes(ITEM_BYTES))
    answer = service.executor.execute(service.operation("Encrypt"), service.credentials, request.SerializeToString())
    return pb.EncryptResponse.FromString(answer).ciphertext_blob


def _round(
    path: Path, many: tuple[str, Sequence[bytes]], single: Mapping[str, bytes], calls: int
) -> tuple[float, float, float, float]:
    """Returns microseconds of warm Encrypt with many key materials and with one, and of cold Decrypt with both."""
    with own_service(path) as service:
        for key_id in single:
            service.shard.find_key(key_id)
        cold = [(_cold(service, old), _cold(service, blob)) for old, blob in zip(many[1], single.values(), strict=True)]
        warm = [_warm(service, key_id, calls) for key_id in (many[0], next(iter(single)))]
    return warm[0], warm[1], median(old for old, _ in cold), median(blob for _, blob in cold)


def _warm(service: OwnService, key_id: str, calls: int) -> float:
    raw = pb.EncryptRequest(key_id=key_id, plaintext=bytes(ITEM_BYTES)).SerializeToString()
    operation, taken = service.operation("Encrypt"), []
    service.executor.execute(operation, service.credentials, raw)
    for _ in range(calls):
        begun = perf_counter_ns()
        service.executor.warm(operation, service.credentials, raw)
        taken.append(perf_counter_ns() - begun)
    return median(taken) / 1000


def _cold(service: OwnService, blob: bytes) -> float:
    raw = pb.DecryptRequest(ciphertext_blob=blob).SerializeToString()
    begun = perf_counter_ns()
    service.executor.execute(service.operation("Decrypt"), service.credentials, raw)
    return (perf_counter_ns() - begun) / 1000
