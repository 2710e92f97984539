"""Writes tests/vectors/records_v1.json and malformed_records_v1.json, and the seeds of the fuzz target `record`.

    .venv/bin/python -m tests.crypto.make_record_vectors

The second implementation makes them from hashes of their names, so each run gives the same files; a test checks that.
Golden records stay for ever.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

from tests.crypto import second_record_reader as second
from tests.crypto.make_vectors import CONTEXTS, FOLDER, KEYS, drawn, flipped

ONE = CONTEXTS["one"]
SIZES = (0, 1, 15, 16, 17, 255, 1024, 65536, 65537, 1_000_000)
LONG = 1024


def data_key(name: str) -> bytes:
    return drawn(f"data key of {name}", 32)


def wrapped(name: str, context: dict[str, str], key: str = "first") -> bytes:
    """Returns the data key's blob, sealed with the same context."""
    return KEYS[key].seal(data_key(name), context, drawn(f"nonce of the data key of {name}", 24))


def plaintext_of(size: int) -> bytes:
    return drawn(f"record's plaintext of {size}", size)


def golden() -> Iterator[dict[str, Any]]:
    for key in ("first", "multi-Region"):
        for name, context in CONTEXTS.items():
            yield row(key, f"{key}, {name}", context, drawn(f"record of {key}, {name}", 45))
    for size in SIZES:
        yield row("first", f"size {size}", ONE, plaintext_of(size))


def row(key: str, name: str, context: dict[str, str], plaintext: bytes) -> dict[str, Any]:
    """Returns a vector. Long plaintexts are stored as hashes; the tests draw them again."""
    blob, nonce = wrapped(name, context, key), drawn(f"nonce of the record of {name}", 24)
    record = second.seal(data_key(name), blob, plaintext, context, nonce)
    shown: tuple[Any, str] = (plaintext.hex(), record.hex())
    if len(plaintext) > LONG:
        shown = (len(plaintext), hashlib.sha256(record).hexdigest())
    return {
        "key": key,
        "name": name,
        "context": context,
        "data_key": data_key(name).hex(),
        "wrapped": blob.hex(),
        "nonce": nonce.hex(),
        "plaintext": shown[0],
        "record": shown[1],
    }


def malformed() -> Iterator[dict[str, str]]:
    """Yields damaged records under the data key "malformed" and the context "one". `told` is "form" if no key is needed
    to see the damage."""
    record = second.seal(data_key("malformed"), wrapped("malformed", ONE), b"forty-two", ONE, drawn("malformed", 24))
    for reason, changed, told in [*wrong_forms(record), *wrong_parts(record), *exchanged(record)]:
        yield {"reason": reason, "record": changed.hex(), "told": told}


def wrong_forms(record: bytes) -> Iterator[tuple[str, bytes, str]]:
    yield "nothing", b"", "form"
    yield "a byte less than the least", record[:187] + record[-48:][:-1], "form"
    yield "the header alone", record[:187], "form"
    yield "version 0x80", b"\x80" + record[1:], "form"
    yield "version 0x82", b"\x82" + record[1:], "form"
    yield "a blob's version", b"\1" + record[1:], "form"
    yield "suite 0", record[:1] + b"\0" + record[2:], "form"
    yield "suite 2", record[:1] + b"\2" + record[2:], "form"
    for length in (0, 158, 160, 0x9F00, 0xFFFF):
        yield f"a wrapped key of {length} bytes", record[:2] + struct.pack(">H", length) + record[4:], "form"
    longer = record[:2] + struct.pack(">H", 160) + record[4:163] + b"\0" + record[163:]
    yield "a wrapped key of 160 bytes that is there", longer, "form"
    yield "only a blob", record[4:163], "form"
    yield "without the wrapped key", record[:4] + record[163:], "form"


def wrong_parts(record: bytes) -> Iterator[tuple[str, bytes, str]]:
    places = {"the nonce's first half": 163, "its second half": 186, "the ciphertext": 187, "the tag": 196}
    places |= {"the commitment's first block": 212, "its second block": len(record) - 1}
    for part, at in places.items():
        yield f"a bit of {part}", flipped(record, at), "key"
    yield "a bit of the wrapped key, under the same data key", flipped(record, 60), "key"
    yield "tag and commitment exchanged", record[:196] + record[212:] + record[196:212], "key"
    yield "a byte cut off", record[:-1], "key"
    yield "a byte appended", record + b"\0", "key"
    yield "a byte of plaintext taken out", record[:187] + record[188:], "key"


def exchanged(record: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yields records with parts of another record: of the same data key, another data key, another context."""
    same = second.seal(data_key("malformed"), wrapped("malformed", ONE), b"forty-six", ONE, drawn("same", 24))
    other = second.seal(data_key("another"), wrapped("another", ONE), b"forty-six", ONE, drawn("another", 24))
    parts = {"nonce": (163, 187), "ciphertext": (187, 196), "tag": (196, 212), "commitment": (212, 244)}
    for whose, donor in (("this data key", same), ("another data key", other)):
        for part, (start, end) in parts.items():
            yield f"{part} of a record of {whose}", record[:start] + donor[start:end] + record[end:], "key"
    yield "all but the wrapped key of another data key", record[:163] + other[163:], "key"
    moved = second.seal(data_key("malformed"), wrapped("malformed", ONE), b"forty-two", {}, drawn("malformed", 24))
    yield "made under no context", moved, "key"


FILES = {
    "records_v1.json": lambda: list(golden()),
    "malformed_records_v1.json": lambda: list(malformed()),
}


def text_of(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yields records under the keys of native/fuzz/fuzz_record.c, bytes 0-31 and 100-131, with the empty context."""
    first, other = bytes(range(32)), bytes(range(100, 132))
    whole = [second.seal(first, wrapped("seed", {}), drawn("seed", size), {}, bytes(24)) for size in (0, 1, 33, 300)]
    for record in whole:
        yield f"opens, {len(record)}", record
        yield f"cut off, {len(record)}", record[:-1]
    batch = [whole[0], second.seal(other, wrapped("seed", {}), b"other", {}, bytes(24)), whole[2]]
    heads = b"".join(bytes([i % 2]) + struct.pack(">H", len(record)) for i, record in enumerate(batch))
    yield "a batch", bytes([len(batch)]) + heads + b"".join(batch)
    yield "to be sealed and changed", wrapped("seed", {}) + b"\0\xa3\1" + b"plaintext"
    yield "to be sealed and left", wrapped("seed", {}) + bytes(3) + b"plaintext"


def write_seeds() -> None:
    folder = FOLDER / "corpus" / "record"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / re.sub(r"[^a-z0-9]+", "-", name)).write_bytes(content)


if __name__ == "__main__":
    for file in FILES:
        (FOLDER / file).write_text(text_of(file))
    write_seeds()
