"""Measures what an idle server costs:  python -m tests.idle [REGIONS] [SECONDS]

Prints the processor time of each process as a share of one core, and in all.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.served import Served

SETTLING_SECONDS = 30
LONGEST_SETTLING = 900
TICK = os.sysconf("SC_CLK_TCK")
MOST = 0.002


def cpu_seconds(pid: int) -> float:
    """Returns the processor time of all threads, in nanoseconds' precision where schedstat has it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def processes(supervisor: int) -> dict[int, str]:
    found = {supervisor: "supervisor"}
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[-2].decode()
    return found


def settle(pids: dict[int, str]) -> None:
    """Returns when the wrapping key pairs of all regions are made: no second of work in SETTLING_SECONDS."""
    for _ in range(LONGEST_SETTLING // SETTLING_SECONDS):
        before = sum(map(cpu_seconds, pids))
        time.sleep(SETTLING_SECONDS)
        if sum(map(cpu_seconds, pids)) - before < 1:
            return
    raise SystemExit(f"the server did not settle within {LONGEST_SETTLING} s")


def main(regions: int = 34, seconds: float = 60) -> int:
    names = [f"eu-north-{n}" for n in range(1, 10)] + [f"us-east-{n}" for n in range(1, 10)]
    names += [f"ap-south-{n}" for n in range(1, 10)] + [f"sa-west-{n}" for n in range(1, 10)]
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder) / "data", regions=names[:regions])
        served.start()
        try:
            pids = processes(served.process.pid)
            settle(pids)
            before = {pid: cpu_seconds(pid) for pid in pids}
            time.sleep(seconds)
            shares = {pid: (cpu_seconds(pid) - before[pid]) / seconds for pid in pids}
        finally:
            served.close()
    for pid, share in shares.items():
        print(f"{pids[pid]:12} {share:8.4%}")
    print(f"{'in all':12} {sum(shares.values()):8.4%}")
    return int(sum(shares.values()) > MOST)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
