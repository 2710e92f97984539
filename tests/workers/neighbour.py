"""A tenant's Decrypt beside twelve write loops of another: `python -m tests.workers.neighbour [SECONDS [FSYNC_MS]]`.

Prints the latencies of the Decrypt alone and beside the loops, in turns, as one JSON object per turn and the ratio of
the medians of all turns. Run by hand: figures of a loaded machine mean little.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from kms_grpc.v1 import key_management_pb2 as pb
from tests.served import Served
from tests.workers.connections import Caller
from tests.workers.slow_disk import SlowDisk

LOOPS: Final = 12
TURNS: Final = 3


def latencies(caller: Caller, blob: bytes, seconds: float) -> list[float]:
    """Returns the latencies of Decrypts, one after the other, in milliseconds, sorted."""
    measured = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        caller.call("Decrypt", ciphertext_blob=blob)
        measured.append((time.perf_counter() - begun) * 1000)
    return sorted(measured)


@contextmanager
def write_loops(server: Served) -> Iterator[list[int]]:
    """Runs the write loops in a process of their own during the block. Yields a list that then holds their count."""
    command = [sys.executable, "-m", "tests.workers.neighbour", "loops", server.address, server.token]
    loops = subprocess.Popen([*command, server.regions[0]], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert loops.stdout is not None
    loops.stdout.readline()
    counted: list[int] = []
    try:
        yield counted
    finally:
        counted.append(int(loops.communicate("stop\n")[0]))


def run_loops(address: str, token: str, region: str) -> None:
    """Writes until standard input ends; prints how many writes there were."""
    metadata = (("authorization", f"Bearer {token}"), ("kms-region", region))
    done = [0] * LOOPS
    stop = threading.Event()

    def loop(number: int) -> None:
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:

            def call(name: str, request: Any, answer: Any) -> Any:
                method = channel.unary_unary(
                    f"/kms_grpc.v1.KeyManagementService/{name}", lambda message: message.SerializeToString(), answer
                )
                return method(request, metadata=metadata, timeout=60)

            made = call("CreateKey", pb.CreateKeyRequest(), pb.CreateKeyResponse.FromString).key_metadata.key_id
            while not stop.is_set():
                changed = pb.UpdateKeyDescriptionRequest(key_id=made, description=str(done[number]))
                call("UpdateKeyDescription", changed, bytes)
                done[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(LOOPS)]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.readline()
    stop.set()
    for thread in threads:
        thread.join()
    print(sum(done))


def main(seconds: float, fsync_ms: int) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        disk = SlowDisk(Path(folder))
        server = Served(Path(folder) / "data", environment=disk.environment)
        server.start()
        held.callback(server.close)
        caller = Caller(server, held)
        key = caller.call("CreateKey").key_metadata.key_id
        blob = caller.call("Encrypt", key_id=key, plaintext=b"neighbour").ciphertext_blob
        latencies(caller, blob, 1)
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(TURNS):
            alone += latencies(caller, blob, seconds)
            disk.fsync_takes(fsync_ms)
            with write_loops(server) as writes:
                time.sleep(0.5)
                beside += latencies(caller, blob, seconds)
            disk.fsync_takes(0)
            print(json.dumps({"writes": writes[0]}), flush=True)
        for name, of in (("alone", sorted(alone)), ("beside", sorted(beside))):
            print(json.dumps({name: [round(of[int(len(of) * part)], 2) for part in (0.5, 0.9, 0.99)], "n": len(of)}))
        print(json.dumps({"ratio of p50": round(statistics.median(beside) / statistics.median(alone), 2)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["loops"]:
        run_loops(*sys.argv[2:5])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
