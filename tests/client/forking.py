"""A process that encrypts, forks three children, and goes on:   python -m tests.client.forking HOW KEY CONTEXT

Prints facts about the records of all four processes as JSON. The endpoint and the token come from the environment.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
from typing import Any

from kms_grpc.client import CacheLimits, EnvelopeClient
from kms_grpc.client.envelope import BoundEnvelope

MOST = 400
RECORDS = 900
CHILDREN = 3
FORK_IN_C = "libc's fork"
"""A fork that runs none of Python's fork handlers."""


def encrypt(bound: BoundEnvelope, records: list[bytes], count: int = RECORDS) -> None:
    for _ in range(count // 3):
        records.append(bound.encrypt(b"x"))
        records += bound.encrypt_many([b"y", b""])


def child(bound: BoundEnvelope, writing: int, how: str) -> None:
    """Encrypts in a child, in several threads, with the client that the parent made before the fork."""
    signal.alarm(60)
    assert how == FORK_IN_C or bound._client.counters.entries == 0, "the child has a data key of its parent"
    records: list[bytes] = []
    threads = [threading.Thread(target=encrypt, args=(bound, records, RECORDS // 3)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(bound.decrypt_many(records)) == {b"x", b"y", b""}
    with os.fdopen(writing, "w") as pipe:
        json.dump([record.hex() for record in records], pipe)


def fork(how: str, bound: BoundEnvelope) -> Any:
    """Forks. Returns a file descriptor to read the child's records from, and the process to wait for."""
    reading, writing = os.pipe()
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(bound, writing, how))
        process.start()
        os.close(writing)
        return reading, process
    pid = os.fork() if how == "os.fork" else ctypes.PyDLL(None).fork()
    if pid == 0:
        status = 1
        try:
            child(bound, writing, how)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return reading, pid


def often(key_id: str, context: dict[str, str]) -> None:
    """Forks 200 times while three threads call the service. Prints the exit statuses of the children."""
    statuses: dict[int, int] = {}
    with EnvelopeClient(limits=CacheLimits(max_messages_encrypted=3)) as envelope:
        for _ in range(3):
            work = (envelope.bind(key_id, context), list[bytes](), 10**9)
            threading.Thread(target=encrypt, args=work, daemon=True).start()
        for _ in range(200):
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                envelope.encrypt(key_id, b"x", context)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            statuses[status] = statuses.get(status, 0) + 1
        print(json.dumps(statuses), flush=True)
        os._exit(0)


def main(how: str, key_id: str, context: dict[str, str]) -> None:
    if how == "often":
        often(key_id, context)
    with EnvelopeClient(limits=CacheLimits(max_messages_encrypted=MOST)) as envelope:
        bound, mine = envelope.bind(key_id, context), list[bytes]()
        encrypt(bound, mine, 30)
        busy = [threading.Thread(target=encrypt, args=(bound, mine)) for _ in range(2)]
        for thread in busy if how != FORK_IN_C else []:
            thread.start()
        forked = [fork(how, bound) for _ in range(CHILDREN)]
        encrypt(bound, mine)
        for thread in busy if how != FORK_IN_C else []:
            thread.join()
        theirs = []
        for reading, process in forked:
            with os.fdopen(reading) as pipe:
                theirs.append([bytes.fromhex(record) for record in json.load(pipe)])
            process.join() if how == "multiprocessing" else os.waitpid(process, 0)
        every = [record for records in (mine, *theirs) for record in records]
        facts = {
            "most": MOST,
            "records": len(every),
            "nonces": len({record[163:187] for record in every}),
            "wrapped": [[record[4:163].hex() for record in records] for records in (mine, *theirs)],
            "opened": len(bound.decrypt_many(every)) == len(every),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
