"""Scripts that tests run in processes of their own. Each function is a script that prints JSON.

    python -m tests.crypto.keyring_process NAME FOLDER

FOLDER has root.key and keys.json, written by the fixture `key_folder` of test_keyring.py. No script holds a key as a
Python object.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kms_grpc.crypto import ciphertext_blob, envelope, import_wrapping, key_wrapping, keyring, record
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.bytes_lists import BytesList
from kms_grpc.crypto.data_key_budget import Counter
from kms_grpc.crypto.errors import CryptoError, KeyringFull, KeyringLost, StaleHandle

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
CONTEXT = b"\0\0\0\0"


class Keys:
    """A root key, a region key and one material, loaded into the keyring."""

    def __init__(self, slots: int = 256) -> None:
        keyring.open_keyring(slots)
        row = json.loads((FOLDER / "keys.json").read_text())
        self.row = {name: bytes.fromhex(value) for name, value in row.items()}
        self.root = key_wrapping.load_root_key_file(FOLDER / "root.key")
        self.region = key_wrapping.load_region_key(self.root, self.row["region_place"], self.row["region"])
        self.prefix = ciphertext_blob.header_prefix(self.row["kid"], self.row["material_id"])
        self.key = self.load()

    def load(self) -> int:
        material = [self.row[name] for name in ("kid", "material_id", "place", "material")]
        return key_wrapping.load_material(self.region, *material)

    def seal(self, plaintext: bytes = b"plaintext") -> bytes:
        return envelope.seal(self.key, self.prefix, CONTEXT, plaintext)

    def open(self, blob: bytes) -> bytes:
        return envelope.open_blob(self.key, CONTEXT, blob)

    def data_key(self) -> record.DataKey:
        """Returns a data key that was drawn in C and never was a Python object."""
        secret, blob = ffi.new("uint8_t[32]"), ffi.new("uint8_t[159]")
        head = (self.key, self.prefix, len(self.prefix), CONTEXT, len(CONTEXT))
        assert lib.kms_data_key(secret, 32, blob, 159, *head) == lib.KMS_OK
        try:
            made = record.DataKey(secret, bytes(ffi.buffer(blob)))
            made.budget.begin(Counter(), 1.0)
            return made
        finally:
            lib.kms_cleanse(secret, 32)

    def operations(self, blob: bytes, data_key: record.DataKey, made: bytes) -> dict[str, Callable[[], Any]]:
        """Returns a call of every function that needs a key. `made` is a record under the data key."""
        key, prefix, kid = self.key, self.prefix, self.row["kid"]
        return {
            "seal": self.seal,
            "open": lambda: self.open(blob),
            "reseal": lambda: envelope.reseal(key, CONTEXT, blob, key, prefix, CONTEXT),
            "data_key": lambda: envelope.data_key(key, prefix, CONTEXT, 32),
            "data_key_without_plaintext": lambda: envelope.data_key_without_plaintext(key, prefix, CONTEXT, 32),
            "seal_many": lambda: envelope.seal_many(key, prefix, CONTEXT, [b"x"] * 100),
            "open_many": lambda: envelope.open_many(key, CONTEXT, [blob] * 100),
            "fingerprint": lambda: key_wrapping.root_key_fingerprint(self.root),
            "generate_region_key": lambda: key_wrapping.generate_region_key(self.root, b"place"),
            "load_region_key": lambda: key_wrapping.load_region_key(
                self.root, self.row["region_place"], self.row["region"]
            ),
            "generate_material": lambda: key_wrapping.generate_material(self.region, kid, b"place"),
            "load_material": self.load,
            "load_root_key_file": lambda: key_wrapping.load_root_key_file(FOLDER / "root.key"),
            "mac": lambda: key_wrapping.mac(self.region, b"row"),
            "mac_matches": lambda: key_wrapping.mac_matches(self.region, b"row", bytes(32)),
            "generate_wrapping_pair": lambda: import_wrapping.generate_wrapping_pair(key, 2048, b""),
            "unwrap_material": lambda: import_wrapping.unwrap_material(
                self.region, kid, b"", key, b"pair", self.row["pair"], "RSAES_OAEP_SHA_1", self.row["encrypted"]
            ),
            "import_data_key": lambda: record.DataKey(bytes(32), bytes(159)),
            "seal_record": lambda: record.seal(data_key, CONTEXT, b"plaintext"),
            "seal_record_within": lambda: sealed_within(data_key),
            "open_record": lambda: record.open_record(data_key, CONTEXT, made),
            "seal_records": lambda: record.seal_many(data_key, CONTEXT, BytesList([b"x"] * 100)),
            "open_records": lambda: record.open_many([data_key] * 100, CONTEXT, [made] * 100),
            "evict": lambda: keyring.evict(key),
        }


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except CryptoError as refused:
        return type(refused).__name__
    return "done"


def outcomes(operations: dict[str, Callable[[], Any]]) -> dict[str, str]:
    return {name: outcome(call) for name, call in operations.items()}


def in_child(work: Callable[[], Any]) -> Any:
    """Forks and returns the result of `work` in the child. An alarm kills a child that hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            os.write(writing, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(answer)


# --- the scripts --------------------------------------------------------------------------------------------------


def mapping() -> Any:
    """Prints the flags of the keyring's pages in smaps, in this process and in a child. (glibc 2.41 has such pages
    too.)"""

    def marked() -> dict[str, list[str]]:
        smaps = Path("/proc/self/smaps").read_text()
        found = re.findall(r"^([0-9a-f]+)-[0-9a-f]+ .*?^VmFlags: ([^\n]*)$", smaps, re.M | re.S)
        return {start: [flag for flag in ("lo", "dd", "wf") if flag in flags.split()] for start, flags in found}

    before = marked()
    keyring.open_keyring(1000)
    keyring.open_keyring(1000)
    ours = [start for start, flags in marked().items() if "wf" in flags and "wf" not in before.get(start, [])]

    def of_ours() -> list[list[str]]:
        now = marked()
        return [now[start] for start in ours]

    return {
        "after": of_ours(),
        "facts": keyring.keyring_facts()._asdict(),
        "in a child": in_child(of_ours),
        "in a child that opened it anew": in_child(lambda: (keyring.open_keyring(1000), of_ours())[1]),
    }


def forked() -> Any:
    """Prints the results of a child: with the lost keyring, after it opened it again, and with its parent's handles."""
    keys = Keys()
    blob, data_key = keys.seal(), keys.data_key()
    made = record.seal(data_key, CONTEXT, b"plaintext")
    operations = keys.operations(blob, data_key, made)
    parents = {keys.load() for _ in range(60)}

    def child() -> Any:
        lost = outcomes(operations) | {"facts": str(keyring.keyring_facts().used)}
        raw = raw_outputs(keys, blob, data_key, made)
        keyring.open_keyring(256)
        stale = outcome(keys.seal), outcome(lambda: keys.open(blob)), outcome(lambda: keyring.evict(keys.key))
        anew = Keys()
        handles = {anew.load() for _ in range(60)}
        return {
            "lost": lost,
            "raw": raw,
            "the parent's handles": stale,
            "anew": anew.open(blob) == b"plaintext" and anew.open(anew.seal()) == b"plaintext",
            "handles differ": not parents & handles,
        }

    answer = in_child(child)
    return answer | {"the parent goes on": keys.open(blob) == keys.open(keys.seal()) == b"plaintext"}


def sealed_within(data_key: record.DataKey) -> None:
    answer = record.seal_within(data_key.address, 0.0, CONTEXT, b"plaintext")
    assert isinstance(answer, bytes) or record.why_not(answer)


def raw_outputs(keys: Keys, blob: bytes, data_key: record.DataKey, made: bytes) -> list[tuple[int, bool]]:
    """Returns for each function its status and whether an output byte is not zero, after a call into buffers of
    0xFF."""
    size, aad = 9 + 127, (CONTEXT, len(CONTEXT))
    head = (keys.key, keys.prefix, len(keys.prefix), *aad)
    out, second = ffi.new("uint8_t[]", b"\1" * size), ffi.new("uint8_t[]", b"\1" * 9)
    lengths, statuses = ffi.new("uint32_t[]", [9]), ffi.new("uint8_t[1]")
    calls = [
        (lib.kms_seal(out, size, *head, b"plaintext", 9), out),
        (lib.kms_open(second, 9, keys.key, *aad, blob, size), second),
        (lib.kms_reseal(out, keys.key, *aad, blob, size, *head), out),
        (lib.kms_data_key(second, 9, out, size, *head), second),
        (lib.kms_seal_many(out, size, *head, b"plaintext", lengths, 1), out),
        (lib.kms_open_many(second, 9, statuses, keys.key, *aad, blob, ffi.new("uint32_t[]", [size]), 1), second),
        *raw_record_outputs(data_key, made),
    ]
    return [(status, any(ffi.buffer(buffer)[:])) for status, buffer in calls]


def raw_record_outputs(data_key: record.DataKey, made: bytes) -> list[tuple[int, Any]]:
    """Returns the same for records of nine bytes."""
    size, aad, wrapped = 9 + record.OVERHEAD, (CONTEXT, len(CONTEXT)), data_key.wrapped
    out, second = ffi.new("uint8_t[]", b"\1" * size), ffi.new("uint8_t[]", b"\1" * 9)
    many, third = ffi.new("uint8_t[]", b"\1" * size), ffi.new("uint8_t[]", b"\1" * 9)
    within, key = ffi.new("uint8_t[]", b"\1" * size), ffi.cast("kms_data_key_t *", data_key.address)
    text, sealed = ffi.from_buffer(b"plaintext"), ffi.from_buffer(made)
    keys, statuses = ffi.new("uint64_t[]", [data_key.handle]), ffi.new("uint8_t[1]")
    head = (data_key.handle, wrapped, len(wrapped), *aad)
    texts, lengths = ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", text)]), ffi.new("uint64_t[]", [9])
    sealeds, sizes = ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", sealed)]), ffi.new("uint64_t[]", [size])
    return [
        (lib.kms_record_seal(out, size, *head, b"plaintext", 9), out),
        (lib.kms_record_open(second, 9, data_key.handle, *aad, made, size), second),
        (lib.kms_record_seal_within(within, size, key, 0.0, *aad, b"plaintext", 9), within),
        (lib.kms_record_seal_many(ffi.new("uint8_t *[]", [many]), *head, texts, lengths, 1), many),
        (lib.kms_record_open_many(ffi.new("uint8_t *[]", [third]), statuses, keys, *aad, sealeds, sizes, 1), third),
    ]


def forked_while_a_thread_seals() -> Any:
    """Forks repeatedly while another thread seals batches."""
    keys = Keys()
    data_key = keys.data_key()
    operations = keys.operations(keys.seal(), data_key, record.seal(data_key, CONTEXT, b"plaintext"))
    stop = threading.Event()
    done = 0

    def batches() -> None:
        nonlocal done
        while not stop.is_set():
            blobs = envelope.seal_many(keys.key, keys.prefix, CONTEXT, [bytes(16384)] * 200)
            assert envelope.open_many(keys.key, CONTEXT, blobs[:2]) == [bytes(16384)] * 2
            made = record.seal_many(data_key, CONTEXT, BytesList([bytes(16384)] * 50))
            assert record.open_many([data_key] * 2, CONTEXT, made[:2]) == [bytes(16384)] * 2
            done += 1

    sealing = threading.Thread(target=batches)
    sealing.start()
    children = [in_child(lambda: outcomes(operations)) for _ in range(25)]
    stop.set()
    sealing.join()
    return {"children": children, "batches": done, "the parent goes on": keys.open(keys.seal()) == b"plaintext"}


def work_then_evict() -> Any:
    """Uses every key in every function, waits while its memory is read, evicts all keys, and waits again.

    Each use is the last action of a thread of its own before it waits, so nothing overwrites what the call left on its
    stack.
    """
    keys = Keys()
    blob, data_key = keys.seal(b"the blob whose message key is looked for"), keys.data_key()
    made = record.seal(data_key, CONTEXT, b"the record whose message key is looked for")
    end, threads = threading.Event(), []
    threading.stack_size(512 * 1024)  # so that less memory must be read
    for name, call in keys.operations(blob, data_key, made).items():
        if name != "evict":
            threads.append(waiting_thread(call, end))
    print(json.dumps({"blob": blob.hex(), "record": made.hex(), "used": keyring.keyring_facts().used}), flush=True)
    sys.stdin.readline()
    for handle in range_of_handles(keys):
        keyring.evict(handle)
    print(json.dumps({"used": keyring.keyring_facts().used}), flush=True)
    sys.stdin.readline()
    end.set()
    for thread in threads:
        thread.join()
    return None


def far_down(call: Callable[[], Any], levels: int = 30) -> Any:
    """Calls deep in the stack, so that later calls do not reach the same depth and overwrite what is left there."""
    return call() if levels == 0 else max([0], key=lambda _: (far_down(call, levels - 1), 0)[1])


def waiting_thread(call: Callable[[], Any], end: threading.Event) -> threading.Thread:
    done, failures = threading.Event(), []

    def run() -> None:
        try:
            far_down(call)
        except Exception as failure:
            failures.append(failure)
        done.set()
        end.wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    done.wait()
    if failures:
        raise failures[0]
    return thread


def range_of_handles(keys: Keys) -> list[int]:
    """Returns all possible handles: generations count from one, and slots are few."""
    last = keys.load() >> 32
    return [generation << 32 | slot for generation in range(1, last + 1) for slot in range(256)]


def full() -> Any:
    """Loads more keys than there are slots."""
    keys = Keys(slots=40)
    handles = []
    try:
        while True:
            handles.append(keys.load())
    except KeyringFull:
        used = keyring.keyring_facts().used
    keyring.evict(handles[7])
    freed = keys.load()
    return {"used": used, "distinct": len(set(handles)) == 37, "another handle": freed != handles[7]}


def unlocked() -> Any:
    """Opens the keyring in a process that may not lock memory."""
    keys = Keys()
    return {"facts": keyring.keyring_facts()._asdict(), "works": keys.open(keys.seal()) == b"plaintext"}


def never_opened() -> Any:
    """Calls functions before open_keyring."""
    head = (1 << 32, bytes(55), b"")
    calls = [lambda: envelope.seal(*head, b"x"), lambda: key_wrapping.mac(1 << 32, b""), lambda: keyring.evict(1)]
    return [*map(outcome, calls), keyring.keyring_facts().slots]


def no_core_dumps() -> Any:
    import ctypes
    import resource

    keyring.forbid_core_dumps()
    return [ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE)]  # PR_GET_DUMPABLE


def readers_and_an_evictor() -> Any:
    """Seals under a key that another thread evicts and loads again, in few slots, next to a second key."""
    keys = Keys(slots=8)
    steady, current, stop = keys.key, [keys.load()], threading.Event()
    sealed, stale = 0, 0

    def evictor() -> None:
        while not stop.is_set():
            keyring.evict(current[0])
            other = key_wrapping.load_region_key(keys.root, keys.row["region_place"], keys.row["region"])
            current[0] = keys.load()
            keyring.evict(other)

    thread = threading.Thread(target=evictor)
    thread.start()
    while sealed < 3000 or stale < 20:
        try:
            blob = envelope.seal(current[0], keys.prefix, CONTEXT, b"plaintext")
        except (StaleHandle, KeyringLost):
            stale += 1
            continue
        assert envelope.open_blob(steady, CONTEXT, blob) == b"plaintext"
        sealed += 1
    stop.set()
    thread.join()
    return {"sealed": sealed, "stale": stale}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()), flush=True)
