"""Plays a cloned virtual machine: a process whose state, with all random generators in it, continues several times.

    LD_PRELOAD=cloned_machine.so python -m tests.crypto.clone_process FOLDER CLONES

Draws each kind of random value once, then copies itself by a bare clone system call: no library's hooks run, and by
cloned_machine.c each copy has the process id of the original. Each copy draws again. Prints JSON: for each copy, the
values that it drew, by their kinds.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from kms_grpc.audit.record import new_id
from kms_grpc.crypto import ciphertext_blob, envelope, import_wrapping, key_wrapping, keyring, record
from kms_grpc.crypto.bytes_lists import BytesList
from kms_grpc.crypto.data_key_budget import Counter
from kms_grpc.crypto.message_format import MessageWriter

FOLDER = Path(sys.argv[1])
CONTEXT, KID, PLACE = b"\0\0\0\0", bytes(17), b"place"
NONCE = slice(ciphertext_blob.PREFIX_SIZE, ciphertext_blob.PREFIX_SIZE + 24)
RECORD_NONCE = slice(record.WRAPPED_END, record.WRAPPED_END + 24)
WRAPPED_NONCE = slice(1, 25)
MESSAGE_ID = slice(3, 35)
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
FEW = 10

libcrypto = ctypes.CDLL("libcrypto.so.3")
libc = ctypes.PyDLL(None)  # holds the GIL over the clone


class Machine:
    """A region, its wrapped key and a wrapped material. The keyring is wiped in a copy, so each copy loads it again."""

    def __init__(self) -> None:
        keyring.open_keyring(64)
        key_wrapping.create_root_key_file(FOLDER / "root.key")
        root = key_wrapping.load_root_key_file(FOLDER / "root.key")
        self.region_key = key_wrapping.generate_region_key(root, PLACE)
        self.load()
        self.material_id, self.material = key_wrapping.generate_material(self.region, KID, PLACE)
        self.prefix = ciphertext_blob.header_prefix(KID, self.material_id)

    def load(self) -> None:
        keyring.open_keyring(64)
        self.root = key_wrapping.load_root_key_file(FOLDER / "root.key")
        self.region = key_wrapping.load_region_key(self.root, PLACE, self.region_key)

    def draw(self, count: int) -> dict[str, list[str]]:
        """Returns `count` values of each kind; of those that are many in one call, FEW times as many."""
        key = key_wrapping.load_material(self.region, KID, self.material_id, PLACE, self.material)
        where = (key, self.prefix, CONTEXT)
        data_key = record.DataKey(bytes(32), bytes(159))
        data_key.budget.begin(Counter(), 1.0)
        times = range(count)
        many = BytesList([b"x"] * FEW)
        controls = {  # first, because making an import pair refreshes libcrypto's generator
            "control: os.urandom": [os.urandom(24) for _ in times],
            "control: libcrypto": [self._of_libcrypto() for _ in times],
        }
        drawn = {
            "nonce of a blob": [envelope.seal(*where, b"x")[NONCE] for _ in times],
            "nonces of blobs": [blob[NONCE] for _ in times for blob in envelope.seal_many(*where, [b"x"] * FEW)],
            "nonce of a record": [record.seal(data_key, CONTEXT, b"x")[RECORD_NONCE] for _ in times],
            "nonces of records": [
                made[RECORD_NONCE] for _ in times for made in record.seal_many(data_key, CONTEXT, many)
            ],
            "data key": [envelope.data_key(*where, 32)[0] for _ in times],
            "data key of 8 bytes": [envelope.data_key(*where, 8)[0] for _ in times],
            "nonce of a wrapped key": [
                key_wrapping.generate_region_key(self.root, PLACE)[WRAPPED_NONCE] for _ in times
            ],
            "key material": [key_wrapping.generate_material(self.region, KID, PLACE)[0] for _ in times],
            "message id": [self._message_id() for _ in times],
            "random bytes": [envelope.random_bytes(33) for _ in times],
            "many random bytes": [envelope.random_bytes(4096) for _ in times],
            "import pair": [import_wrapping.generate_wrapping_pair(key, 2048, b"")[0]],
            "event id": [new_id().replace("-", "").encode() for _ in times],
        }
        return {kind: [value.hex() for value in values] for kind, values in (controls | drawn).items()}

    def _message_id(self) -> bytes:
        with MessageWriter({}, "arn").under_data_key(bytes(32), b"blob") as message:
            return message.header[MESSAGE_ID]

    def _of_libcrypto(self) -> bytes:
        out = ctypes.create_string_buffer(24)
        assert libcrypto.RAND_bytes(out, 24) == 1
        return out.raw


def copy(machine: Machine, count: int, out: int) -> int:
    """Returns the copy's process id. Arguments of clone(2): only the signal at its end, so memory is copied."""
    pid: int = libc.syscall(CLONE, signal.SIGCHLD, 0, 0, 0, 0)
    if pid:
        return pid
    status = 1
    try:
        machine.load()
        with open(out, "w", closefd=False) as file:
            json.dump(machine.draw(count), file)
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    machine = Machine()
    machine.draw(1)
    reports = []
    for number in range(int(sys.argv[2])):
        report = FOLDER / f"copy-{number}.json"
        out = os.open(report, os.O_CREAT | os.O_WRONLY)
        assert os.waitpid(copy(machine, 100, out), 0)[1] == 0
        os.close(out)
        reports.append(json.loads(report.read_text()))
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
