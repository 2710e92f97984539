"""Row `start`: seconds from exec of `kms-grpc serve` to SERVING, with many keys and with few."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.server import BenchServer
from kms_grpc.bench.statistics import BenchRow, interleaved

NAME: Final = "start"
NAMES: Final = (NAME,)
GOAL: Final = 1.5
WORKERS: Final = 2


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    effort = bench_data.effort
    (few, _), (many, _) = bench_data.with_keys(effort.few_keys), bench_data.with_keys(effort.keys)
    bench_data.progress(f"starts with {effort.few_keys:,} and {effort.keys:,} keys")
    return [interleaved(name, "s", GOAL, lambda: _start(many), lambda: _start(few), effort.rounds)]


def _start(data_dir: Path) -> float:
    server = BenchServer(data_dir, WORKERS)
    try:
        return server.start()
    finally:
        server.stop()
