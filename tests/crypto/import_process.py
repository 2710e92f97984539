"""A process that imports key material, whose memory test_import_wrapping.py reads.

    python -m tests.crypto.import_process import_material FOLDER

Each call is the last action of a thread of its own, deep in its stack, before the thread waits. So nothing overwrites
what the call left on the stack.
"""

from __future__ import annotations

import json
import sys
import threading

from kms_grpc.crypto import import_wrapping
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto import keyring_process


def import_material() -> None:
    """Generates a wrapping pair, imports valid and invalid inputs, and waits while its memory is read."""
    keys, end, threads, made, answers = keyring_process.Keys(), threading.Event(), [], [], []
    threading.stack_size(512 * 1024)  # so that less memory must be read
    generate = lambda: made.extend(import_wrapping.generate_wrapping_pair(keys.region, 2048, b"pair"))  # noqa: E731
    threads.append(keyring_process.waiting_thread(generate, end))
    print(json.dumps({"public_key": made[0].hex(), "pair": made[1].hex()}), flush=True)

    def unwrap(algorithm: str, encrypted: bytes) -> None:
        place = (keys.region, keys.row["kid"], b"place", keys.region, b"pair", made[1])
        try:
            answers.append(import_wrapping.unwrap_material(*place, algorithm, encrypted)[0].hex())
        except InvalidCiphertextException:
            answers.append("InvalidCiphertextException")

    for algorithm, encrypted in json.loads(sys.stdin.readline()):
        call = lambda algorithm=algorithm, encrypted=encrypted: unwrap(algorithm, bytes.fromhex(encrypted))  # noqa: E731
        threads.append(keyring_process.waiting_thread(call, end))
    print(json.dumps(answers), flush=True)
    sys.stdin.readline()
    end.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    import_material()
