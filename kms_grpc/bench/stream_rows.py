"""Rows `stream.*` and `memory.stream`: streams of 1 MiB messages beside an echo, and the memory of a stalled stream.

A stream and its echo take turns, with the same client in a child process (`stream_process.py`) on the last processor.
For the rows under TLS 1.3 the echo is under TLS too, and the goals are the same.
"""

from __future__ import annotations

from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.children import run_module
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.statistics import BenchRow, row_of
from kms_grpc.crypto.keyring import libcrypto_version

_STREAMS: Final = {
    "stream.grpc.1m": ("encrypt", "echo"),
    "stream.grpc.1m.decrypt": ("decrypt", "echo-encrypted"),
}
_TLS: Final = ".tls"
MEMORY: Final = "memory.stream"
NAMES: Final = (*_STREAMS, *(name + _TLS for name in _STREAMS), MEMORY)
MIB: Final = 1024 * 1024
GOAL: Final = 0.75
GOAL_ON_3_0: Final = 0.6
STALLED: Final = 64
MIB_PER_STREAM: Final = 8.0


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    with own_server(bench_data.fresh("serve"), 1, tls=name.endswith(_TLS)) as target:
        if name == MEMORY:
            return [_memory(target, bench_data)]
        mode, echo = _STREAMS[name.removesuffix(_TLS)]
        megabytes, rounds = bench_data.effort.stream_mib, bench_data.effort.rounds
        pairs = [(_rate(target, mode, megabytes), _rate(target, echo, megabytes)) for _ in range(rounds)]
    goal = GOAL_ON_3_0 if libcrypto_version().startswith("OpenSSL 3.0.") else GOAL
    values, references = [value for value, _ in pairs], [bare for _, bare in pairs]
    return [row_of(name, "GB/s", goal, values, references, at_least=True)]


def _memory(target: Target, bench_data: BenchData) -> BenchRow:
    """Measures the worker's growth in MiB per stream that the client does not read, beside the allowed growth."""
    grown = float(_run(target, "stall", bench_data.effort.stalled_streams))
    return row_of(MEMORY, "MiB", 1.0, [grown / MIB], [MIB_PER_STREAM])


def _rate(target: Target, mode: str, megabytes: int) -> float:
    """Returns GB/s of plaintext."""
    return megabytes * MIB / float(_run(target, mode, megabytes)) / 1e9


def _run(target: Target, mode: str, count: int) -> str:
    trusted = [target.trust.ca] if target.trust else []
    arguments = (target.endpoint, target.token or "", target.region or "", mode, str(count), *trusted)
    return run_module("kms_grpc.bench.stream_process", *arguments).decode()
