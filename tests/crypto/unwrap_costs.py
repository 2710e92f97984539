"""Prints the cost of an import by the reason of its failure: medians of the thread's CPU time, in microseconds.

    .venv/bin/python -m tests.crypto.unwrap_costs [CALLS] [BITS]

The reasons alternate, so that other load on the machine affects all of them alike. The last column is the spread of the
medians. The script measures the C call, and the Python function with its exception.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kms_grpc.crypto import import_wrapping, key_wrapping, keyring
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto.make_import_vectors import AES_KEY, KEY, MATERIAL, PAIRS, SEED
from tests.crypto.make_vectors import REGION_SECRET, flipped
from tests.crypto.second_reader import REGION_KEY
from tests.crypto.second_wrapper import PAIR, hash_of, wrap, wrap_for

Call = Callable[[bytes], object]


def loaded_region() -> int:
    """Loads the region key of the vectors, under a new root key."""
    keyring.open_keyring()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "root.key")
        path.touch(0o600)
        path.write_bytes(bytes(32))
        root = key_wrapping.load_root_key_file(path)
    return key_wrapping.load_region_key(root, b"", wrap(bytes(32), REGION_KEY, REGION_SECRET, b"", bytes(24)))


def reasons(algorithm: str, bits: int) -> dict[str, bytes]:
    pair, size = PAIRS[bits], bits // 8
    right = wrap_for(pair, algorithm, MATERIAL, SEED, AES_KEY)
    rest = right[size:]
    found = {"success": right, "wrong RSA block": flipped(right, 100)}
    secret = AES_KEY if rest else MATERIAL
    found["wrong OAEP padding"] = pair.oaep(secret, hash_of(algorithm), SEED, separator=2) + rest
    found["first byte not 0"] = pair.oaep(secret, hash_of(algorithm), SEED, first=1) + rest
    found["block >= modulus"] = b"\xff" * size + rest
    found["wrong length"] = wrap_for(pair, algorithm, MATERIAL[:31], SEED, AES_KEY)
    found["wrong length of all"] = right[:-1]
    if rest:
        found["right OAEP, wrong KWP"] = flipped(right, len(right) - 1)
        found["AES key of 16 bytes"] = pair.oaep(AES_KEY[:16], hash_of(algorithm), SEED) + rest
    return found


def calls(region: int, algorithm: str, bits: int) -> dict[str, Call]:
    wrapped = wrap(REGION_SECRET, PAIR, PAIRS[bits].pkcs8, b"pair", bytes(24))
    material_id, stored = ffi.new("uint8_t[32]"), ffi.new("uint8_t[105]")
    head = (region, KEY.kid, b"", 0, region, b"pair", 4, wrapped, len(wrapped))
    number = import_wrapping.ALGORITHMS[algorithm]

    def by_python(encrypted: bytes) -> None:
        place = (region, KEY.kid, b"", region, b"pair", wrapped)
        try:
            import_wrapping.unwrap_material(*place, algorithm, encrypted)
        except InvalidCiphertextException:
            pass

    def by_c(encrypted: bytes) -> object:
        return lib.kms_material_import(material_id, stored, *head, number, encrypted, len(encrypted))

    return {"C": by_c, "Python": by_python}


def medians(call: Call, encrypted: dict[str, bytes], count: int) -> dict[str, float]:
    taken: dict[str, list[int]] = {reason: [] for reason in encrypted}
    for _ in range(count):
        for reason, what in encrypted.items():
            begun = time.thread_time_ns()
            call(what)
            taken[reason].append(time.thread_time_ns() - begun)
    return {reason: statistics.median(times) / 1000 for reason, times in taken.items()}


def main(count: int = 1000, bits: int = 2048) -> None:
    region = loaded_region()
    for algorithm in import_wrapping.ALGORITHMS:
        encrypted = reasons(algorithm, bits)
        for face, call in calls(region, algorithm, bits).items():
            found = medians(call, encrypted, count)
            spread = max(found.values()) / min(found.values()) - 1
            row = ", ".join(f"{reason} {median:.1f}" for reason, median in found.items())
            print(f"{algorithm}, RSA-{bits}, {face}: {row}; spread {spread:.2%}", flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
