"""Ten minutes of mixed load on two workers, in which memory must not grow, no call fail and no process restart.

    .venv/bin/python -m tests.soak [--minutes 10] [--data-dir DIR]

CI does not run it. It prints its figures; the exit code is 0 if all of them are within limits. MIX gives the weights of
the calls. Meanwhile half of the aliases are moved, one key is disabled and enabled, and some calls are refused.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import key_management_pb2_grpc
from tests.served import Served
from tests.workers.connections import OPTIONS, worker_pid

ROOT = Path(__file__).resolve().parents[1]
KEYS = 200
LOAD_PROCESSES = 2
IN_FLIGHT = 16
SAMPLE_SECONDS = 5.0
CACHED_KEYS = 512
"""A number so small that caches and Permits are full before the warm-up ends. Memory that grows later is a leak."""
WARM_UP = 0.25
"""Share of the time after which memory must not grow."""
GROWTH_MOST = 0.03
"""Allowed growth of resident memory after the warm-up, as a share, by linear regression of the samples."""

MIX = {
    "Encrypt": 30, "Decrypt": 30, "GenerateDataKey": 10, "GenerateDataKeyWithoutPlaintext": 3, "ReEncrypt": 6,
    "GenerateRandom": 3, "DescribeKey": 6, "ListKeys": 1, "ListAliases": 1, "UpdateAlias": 1, "UpdateKeyDescription": 1,
    "DisableKey": 1, "EnableKey": 1, "CreateKey": 0.02, "refused": 6,
}  # fmt: skip


# --- the load: `python -m tests.soak load ADDRESS REGION SECONDS SEED`, keys on standard input ---------------------


class Load:
    """Makes random calls with the weights of MIX. An unexpected exception ends the load."""

    def __init__(self, stub: Any, token: str, region: str, keys: list[str], seed: int) -> None:
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {token}"), ("kms-region", region))
        self._keys = keys[1:]
        self._victim = keys[0]
        self._random = random.Random(seed)
        self._blobs: collections.deque[bytes] = collections.deque(maxlen=1000)
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.latencies: list[float] = []

    async def work(self, until: float) -> None:
        names, weights = list(MIX), list(MIX.values())
        while time.monotonic() < until:
            (name,) = self._random.choices(names, weights)
            started = time.perf_counter()
            await self._one(name)
            if self._random.random() < 0.01:
                self.latencies.append(time.perf_counter() - started)

    async def _one(self, name: str) -> None:
        if name == "refused":
            await self._refused()
            return
        fields = self._fields(name)
        if fields is None:
            return
        try:
            answer = await self._call(name, **fields)
        except grpc.aio.AioRpcError as error:
            self.outcomes[f"{name} {error.code().name}"] += 1
            return
        self.outcomes[name] += 1
        if name in ("Encrypt", "ReEncrypt"):
            self._blobs.append(answer.ciphertext_blob)

    def _fields(self, name: str) -> dict[str, Any] | None:
        """Returns the members of a request; None if there is no ciphertext to call the operation with yet."""
        key = self._random.choice(self._keys)
        if name in ("Decrypt", "ReEncrypt") and not self._blobs:
            return None
        context = {"purpose": "soak"}
        alias = f"alias/soak-{self._random.randrange(KEYS // 2)}"
        either = alias if self._random.random() < 0.3 else key
        return {
            "Encrypt": lambda: {"key_id": either, "plaintext": os.urandom(self._size()), "encryption_context": context},
            "Decrypt": lambda: {"ciphertext_blob": self._random.choice(self._blobs), "encryption_context": context},
            "GenerateDataKey": lambda: {"key_id": key, "number_of_bytes": 32},
            "GenerateDataKeyWithoutPlaintext": lambda: {"key_id": key, "number_of_bytes": 32},
            "ReEncrypt": lambda: {
                "ciphertext_blob": self._random.choice(self._blobs), "destination_key_id": key,
                "source_encryption_context": context, "destination_encryption_context": context,
            },
            "GenerateRandom": lambda: {"number_of_bytes": 64},
            "DescribeKey": lambda: {"key_id": key},
            "ListKeys": lambda: {"limit": 100},
            "ListAliases": lambda: {"limit": 50},
            "UpdateAlias": lambda: {"alias_name": alias, "target_key_id": key},
            "UpdateKeyDescription": lambda: {"key_id": key, "description": str(self._random.random())},
            "DisableKey": lambda: {"key_id": self._victim},
            "EnableKey": lambda: {"key_id": self._victim},
            "CreateKey": dict,
        }[name]()  # fmt: skip

    def _size(self) -> int:
        return self._random.choice((16, 100, 1000, 1000, 4096))

    async def _refused(self) -> None:
        """Makes one of several wrong calls and counts it by its status."""
        wrong: list[Callable[[], Awaitable[Any]]] = [
            lambda: self._call("Encrypt", key_id="alias/no-such-alias", plaintext=b"x"),
            lambda: self._call("Decrypt", ciphertext_blob=os.urandom(200)),
            lambda: self._call("Encrypt", key_id=self._keys[0], plaintext=b""),
            lambda: self._stub.DescribeKey(pb.DescribeKeyRequest(key_id=self._keys[0])),
        ]
        try:
            await self._random.choice(wrong)()
        except grpc.aio.AioRpcError as error:
            self.outcomes[f"refused {error.code().name}"] += 1
        else:
            self.outcomes["refused NOT AT ALL"] += 1

    async def _call(self, name: str, **fields: Any) -> Any:
        request = getattr(pb, f"{name}Request")(**fields)
        return await getattr(self._stub, name)(request, metadata=self._metadata, timeout=30)


async def _load(address: str, region: str, seconds: float, seed: int) -> None:
    keys = json.loads(sys.stdin.read())
    loads: list[Load] = []
    async with asyncio.TaskGroup() as tasks:
        for number in range(IN_FLIGHT):
            channel = grpc.aio.insecure_channel(address, OPTIONS)
            stub = key_management_pb2_grpc.KeyManagementServiceStub(channel)
            load = Load(stub, os.environ["KMS_GRPC_TOKEN"], region, keys, seed * 1000 + number)
            loads.append(load)
            tasks.create_task(load.work(time.monotonic() + seconds))
    outcomes = sum((load.outcomes for load in loads), collections.Counter())
    latencies = [seconds for load in loads for seconds in load.latencies]
    print(json.dumps({"outcomes": outcomes, "latencies": latencies}))


# --- the measurement ---------------------------------------------------------------------------------------------


def facts_of(pid: int) -> tuple[int, int]:
    """Returns the resident memory in KiB and the number of open descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident), len(os.listdir(f"/proc/{pid}/fd"))


def growth(samples: list[int]) -> float:
    """Returns the growth of memory after the warm-up as a share, by linear regression."""
    rest = samples[int(len(samples) * WARM_UP) :]
    line = statistics.linear_regression(range(len(rest)), rest)
    return line.slope * (len(rest) - 1) / line.intercept


def prepare(served: Served) -> list[str]:
    with served.client() as client:
        keys = [client.create_key().key_metadata.key_id for _ in range(KEYS)]
        for number in range(KEYS // 2):
            client.create_alias(alias_name=f"alias/soak-{number}", target_key_id=keys[number + 1])
    return keys


def start_loads(served: Served, keys: list[str], seconds: float) -> list[subprocess.Popen[str]]:
    environment = os.environ | {"KMS_GRPC_TOKEN": served.token}
    loads = []
    for seed in range(LOAD_PROCESSES):
        command = [
            sys.executable,
            "-m",
            "tests.soak",
            "load",
            served.address,
            served.regions[0],
            str(seconds),
            str(seed),
        ]
        load = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert load.stdin
        load.stdin.write(json.dumps(keys))
        load.stdin.close()
        loads.append(load)
    return loads


def watch(pids: dict[str, int], loads: list[subprocess.Popen[str]]) -> dict[str, list[tuple[int, int]]]:
    samples: dict[str, list[tuple[int, int]]] = {name: [] for name in pids}
    while any(load.poll() is None for load in loads):
        time.sleep(SAMPLE_SECONDS)
        for name, pid in pids.items():
            samples[name].append(facts_of(pid))
    return samples


def report(samples: dict[str, list[tuple[int, int]]], results: list[dict[str, Any]], seconds: float) -> list[str]:
    """Prints the figures; returns those that are outside their limits."""
    wrong = []
    outcomes = sum((collections.Counter(result["outcomes"]) for result in results), collections.Counter[str]())
    latencies = sorted(x for result in results for x in result["latencies"])
    p50, p99 = (1e3 * latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(f"{outcomes.total():,} calls in {seconds:.0f} s: {outcomes.total() / seconds:,.0f} a second")
    print(f"latency of one client in {LOAD_PROCESSES * IN_FLIGHT}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    for name, count in sorted(outcomes.items()):
        print(f"  {name:40} {count:>12,}")
    expected = {"refused NOT_FOUND", "refused INVALID_ARGUMENT", "refused UNAUTHENTICATED", *MIX}
    wrong += [f"{name}: {count}" for name, count in outcomes.items() if name not in expected]
    print(f"{'process':10} {'RSS at start':>13} {'warmed up':>14} {'at the end':>11} {'growth':>8} {'descriptors':>12}")
    for name, seen in samples.items():
        resident = [kib for kib, _ in seen]
        gained = growth(resident)
        warm = resident[int(len(resident) * WARM_UP)]
        row = [f"{kib / 1024:.1f} MiB" for kib in (resident[0], warm, resident[-1])]
        print(f"{name:10} {row[0]:>13} {row[1]:>14} {row[2]:>11} {gained:>8.2%} {seen[0][1]:>5} {seen[-1][1]:>6}")
        if gained > GROWTH_MOST:
            wrong.append(f"{name} grew by {gained:.2%}")
    return wrong


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--data-dir", type=Path, help="[a temporary one]")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kms-grpc-soak-") as folder:
        limits = Path(folder) / "kms.toml"
        limits.write_text(f"[limits]\ncached_keys = {CACHED_KEYS}\n")
        served = Served(given.data_dir or Path(folder) / "data", ("--config", str(limits)), workers=2)
        served.start()
        try:
            return soak(served, given.minutes * 60)
        finally:
            served.close()


def soak(served: Served, seconds: float) -> int:
    keys = prepare(served)
    pids = {f"worker-{index}": worker_pid(served, index) for index in range(2)}
    pids["supervisor"] = served.process.pid
    loads = start_loads(served, keys, seconds)
    samples = watch(pids, loads)
    results = [json.loads(load.stdout.read()) for load in loads if load.stdout]
    wrong = report(samples, results, seconds)
    if restarted := served.log_text().count("will be restarted"):
        wrong.append(f"{restarted} processes were restarted")
    if (code := served.stop()) != 0:
        wrong.append(f"exit code {code} after SIGTERM")
    print("all holds" if not wrong else "DOES NOT HOLD: " + "; ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.argv[1:2] == ["load"]:
        asyncio.run(_load(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])))
    else:
        sys.exit(main())
