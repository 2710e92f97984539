"""Rows `registry.*`: the costs of a shard with 100,000 keys, beside one with a hundred.

`registry.100k` is a cold Encrypt and `registry.100k.describe` a cold DescribeKey: the key is in no cache, so its row
and key material are read, checked and unwrapped. `registry.100k.memory` is the growth of a worker that uses every key
once, per key in its bounded cache, beside 4 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Final

from google.protobuf.message import Message

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import run_module
from kms_grpc.bench.effort import ITEM_BYTES
from kms_grpc.bench.own_service import OwnService, own_service
from kms_grpc.bench.statistics import BenchRow, row_of
from kms_grpc.v1 import key_management_pb2 as pb

NAME: Final = "registry.100k"
NAMES: Final = (NAME,)
GOAL: Final = 1.5
BYTES_PER_CACHED_KEY: Final = 4_096
SAMPLE: Final = 50
"""Keys that are used per round; as many others are described."""


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    effort = bench_data.effort
    few, many = bench_data.with_keys(effort.few_keys), bench_data.with_keys(effort.keys)
    bench_data.progress(f"cold calls with {effort.few_keys:,} and {effort.keys:,} keys")
    rounds = [(_cold(*many), _cold(*few)) for _ in range(effort.rounds)]
    ours, bare = [pair[0] for pair in rounds], [pair[1] for pair in rounds]
    encrypt = row_of(name, "µs", GOAL, [each[0] for each in ours], [each[0] for each in bare])
    describe = row_of(f"{name}.describe", "µs", GOAL, [each[1] for each in ours], [each[1] for each in bare])
    return [encrypt, describe, _memory(f"{name}.memory", many[0], bench_data)]


def _cold(data_dir: Path, keys: Sequence[str]) -> tuple[float, float]:
    """Returns the median microseconds of Encrypt and of DescribeKey, each with keys that the service has not used."""
    sample = _spread(keys, 2 * SAMPLE)
    with own_service(data_dir) as service:
        return (
            _timed(
                service, "Encrypt", [pb.EncryptRequest(key_id=key, plaintext=bytes(ITEM_BYTES)) for key in sample[::2]]
            ),
            _timed(service, "DescribeKey", [pb.DescribeKeyRequest(key_id=key) for key in sample[1::2]]),
        )


def _spread(keys: Sequence[str], count: int) -> list[str]:
    """Returns `count` keys at even distances."""
    return list(keys[:: max(1, len(keys) // count)][:count])


def _timed(service: OwnService, name: str, requests: Sequence[Message]) -> float:
    operation, taken = service.operation(name), []
    for raw in [request.SerializeToString() for request in requests]:
        begun = perf_counter_ns()
        service.executor.execute(operation, service.credentials, raw)
        taken.append(perf_counter_ns() - begun)
    return median(taken) / 1000


def _memory(name: str, data_dir: Path, bench_data: BenchData) -> BenchRow:
    """Measures in a process of its own, so that memory of other measurements is not counted."""
    bench_data.progress("a worker uses all keys")
    printed = run_module("kms_grpc.bench.memory_process", str(data_dir), str(bench_data.effort.cached_keys))
    return row_of(name, "bytes/key", 1.0, [float(printed)], [float(BYTES_PER_CACHED_KEY)])
