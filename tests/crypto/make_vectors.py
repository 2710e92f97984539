"""Writes tests/vectors/: results of the second implementation for fixed inputs.

    .venv/bin/python -m tests.crypto.make_vectors

The inputs are hashes of their names, so each run gives the same files; a test checks that. Golden blobs stay for ever,
because every blob that was ever written must open. New versions of a format get files of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crypto.second_reader import MATERIAL, REGION_KEY, Key, canonical_context, check_of, wrap, xaes_seal

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
REGION_PLACE, ARN = b"aws/eu-west-1/123456789012/region key", "arn:aws:kms:eu-west-1:123456789012:key/"
KEY_ID, OTHER_ID = "1234abcd-12ab-34cd-56ef-1234567890ab", "0987dcba-09fe-87dc-65ba-ab0987654321"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"


def drawn(name: str, size: int) -> bytes:
    """Returns bytes that depend on the name alone."""
    return hashlib.shake_128(f"kms-grpc vectors: {name}".encode()).digest(size)


ROOT_KEY, REGION_SECRET = drawn("root key", 32), drawn("region key", 32)
KEYS = {
    "first": Key(KEY_ID, ARN + KEY_ID, drawn("material", 32)),
    "first, rotated": Key(KEY_ID, ARN + KEY_ID, drawn("rotated material", 32)),
    "other": Key(OTHER_ID, ARN + OTHER_ID, drawn("other material", 32)),
    "other, same material": Key(OTHER_ID, ARN + OTHER_ID, drawn("material", 32)),
    "multi-Region": Key(MRK, f"arn:aws:kms::123456789012:key/{MRK}", drawn("multi-Region material", 32)),
}
CONTEXTS: dict[str, dict[str, str]] = {
    "none": {},
    "one": {"purpose": "test"},
    "two, to be sorted": {"b": "2", "a": "1"},
    "not ASCII": {"Schlüssel": "Größe", "鍵": "🔑"},
    "empty key and value": {"": ""},
}


# --- keys and blobs ----------------------------------------------------------------------------------------------


def keys() -> dict[str, Any]:
    """Returns keys as hex. The wrapped keys open under the root key, each with its associated data."""
    region = wrap(ROOT_KEY, REGION_KEY, REGION_SECRET, REGION_PLACE, drawn("region nonce", 24))
    return {
        "root_key": ROOT_KEY.hex(),
        "region_key": {"place": REGION_PLACE.hex(), "wrapped": region.hex()},
        "keys": [key_row(name, key) for name, key in KEYS.items()],
    }


def key_row(name: str, key: Key) -> dict[str, str]:
    place = f"material of {name}".encode()
    wrapped = wrap(REGION_SECRET, MATERIAL, key.material, place, drawn(f"wrapping nonce of {name}", 24))
    return {
        "name": name,
        "key_id": key.key_id,
        "arn": key.arn,
        "kid": key.kid.hex(),
        "material_id": key.material_id.hex(),
        "prefix": key.prefix.hex(),
        "place": place.hex(),
        "wrapped": wrapped.hex(),
    }


def golden() -> Iterator[dict[str, Any]]:
    for name, key in KEYS.items():
        for context_name, context in CONTEXTS.items():
            yield golden_row(name, key, context_name, context, drawn(f"{name}, {context_name}", 45))
    for size in (1, 15, 16, 17, 32, 4096, 65536):
        yield golden_row("first", KEYS["first"], "one", CONTEXTS["one"], drawn(f"plaintext of {size}", size))


def golden_row(name: str, key: Key, context_name: str, context: dict[str, str], plaintext: bytes) -> dict[str, Any]:
    nonce = drawn(f"nonce of {name}, {context_name}, {len(plaintext)}", 24)
    blob = key.seal(plaintext, context, nonce)
    row = {"key": name, "context": context, "nonce": nonce.hex(), "plaintext": plaintext.hex(), "blob": blob.hex()}
    if len(plaintext) > 256:  # long ones as hashes: the tests draw the plaintext from its name again
        row |= {"plaintext": len(plaintext), "blob": hashlib.sha256(blob).hexdigest()}
    return row


# --- malformed blobs ---------------------------------------------------------------------------------------------


def malformed() -> Iterator[dict[str, Any]]:
    """Yields blobs of the first key under the context "one": with a damaged header, an unknown key, or a wrong key."""
    ours = {key.prefix for key in KEYS.values()}
    key, context = KEYS["first"], CONTEXTS["one"]
    blob = key.seal(b"forty-two", context, drawn("nonce of malformed", 24))
    rows = [*wrong_sizes(blob), *wrong_fields(blob), *forged(key, context, blob), *exchanged(context, blob)]
    for reason, changed, header in rows:
        named = "nobody's" if header == "whole" and changed[:55] not in ours else header
        yield {"reason": reason, "header": named, "blob": changed.hex()}


def wrong_sizes(blob: bytes) -> Iterator[tuple[str, bytes, str]]:
    yield "nothing at all", b"", "damaged"
    yield "the version alone", blob[:1], "damaged"
    yield "a header without the rest", blob[:79], "damaged"
    yield "an empty plaintext: header, tag and commitment", blob[:79] + blob[88:], "damaged"
    yield "one byte too short for any plaintext", blob[:127], "damaged"
    yield "one byte appended: tag and commitment are elsewhere", blob + b"\0", "whole"
    yield "one byte missing at the end", blob[:-1], "whole"
    yield "one byte more than 65,536 of plaintext", blob + bytes(65664 - len(blob)), "damaged"


def wrong_fields(blob: bytes) -> Iterator[tuple[str, bytes, str]]:
    yield "version 0", b"\0" + blob[1:], "damaged"
    yield "version 2", b"\2" + blob[1:], "damaged"
    yield "suite 0", blob[:1] + b"\0" + blob[2:], "damaged"
    yield "suite 2", blob[:1] + b"\2" + blob[2:], "damaged"
    yield "a bit of the kid, check as it was", flipped(blob, 10), "damaged"
    yield "a bit of the material id, check as it was", flipped(blob, 30), "damaged"
    yield "a bit of the check", flipped(blob, 52), "damaged"
    yield "a bit of the nonce, in its derivation half", flipped(blob, 55), "whole"
    yield "a bit of the nonce, in its GCM half", flipped(blob, 78), "whole"
    yield "a bit of the ciphertext", flipped(blob, 80), "whole"
    yield "a bit of the tag", flipped(blob, 90), "whole"
    yield "a bit of the commitment's first block", flipped(blob, 110), "whole"
    yield "a bit of the commitment's second block", flipped(blob, len(blob) - 1), "whole"
    yield "tag and commitment exchanged", blob[:88] + blob[104:] + blob[88:104], "whole"


def flipped(blob: bytes, at: int) -> bytes:
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


def with_check(first_51: bytes, rest: bytes) -> bytes:
    return first_51 + check_of(first_51) + rest


def forged(key: Key, context: dict[str, str], blob: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yields blobs with a right check, which anybody can compute."""
    rest = blob[55:]
    yield "forged version 2", with_check(b"\2" + blob[1:51], rest), "damaged"
    yield "forged suite 2", with_check(blob[:1] + b"\2" + blob[2:51], rest), "damaged"
    yield "forged kid", with_check(blob[:2] + bytes(17) + blob[19:51], rest), "whole"
    yield "forged kid of a kind that isn't one", with_check(blob[:2] + b"\2" + blob[3:51], rest), "whole"
    yield "forged material id", with_check(blob[:19] + bytes(32), rest), "whole"
    other = with_check(blob[:2] + KEYS["other"].kid + blob[19:51], b"")
    yield "sealed under this key with another's header", key.seal(b"x", context, rest[:24], other), "whole"
    no_check = blob[:51] + bytes(4)
    yield "sealed under this key with a wrong check", key.seal(b"x", context, rest[:24], no_check), "damaged"


def exchanged(context: dict[str, str], blob: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Yields the blob with each part replaced by that of another blob: of this key, its other material, other keys."""
    others = {
        "this key": KEYS["first"],
        "this key's other material": KEYS["first, rotated"],
        "another key": KEYS["other"],
        "another key with the same material": KEYS["other, same material"],
    }
    parts = {"prefix": (0, 55), "nonce": (55, 79), "ciphertext": (79, 88), "tag": (88, 104), "commitment": (104, 136)}
    parts |= {"header": (0, 79), "trailer": (88, 136), "ciphertext and trailer": (79, 136)}
    for whose, key in others.items():
        other = key.seal(b"forty-two", context, drawn(f"nonce of {whose}, exchanged", 24))
        for part, (start, end) in parts.items():
            mixed = blob[:start] + other[start:end] + blob[end:]
            if mixed != blob:
                yield f"{part} of a blob of {whose}", mixed, "whole"


# --- contexts ----------------------------------------------------------------------------------------------------


def contexts() -> Iterator[dict[str, Any]]:
    rows = {
        **CONTEXTS,
        "the same letters, split elsewhere": {"ab": "c"},
        "split here": {"a": "bc"},
        "two keys, a prefix of each other": {"ab": "2", "a": "1"},
        "by bytes and not by UTF-16 units": {"\U00010000": "2", "\uffff": "1"},
        "composed": {"é": "1"},
        "decomposed, which is another": {"e\u0301": "1"},
        "NUL": {"\0": "\0"},
        "as long as may be": {"k" * 1000: "v" * 7180},
    }
    for name, context in rows.items():
        yield {"name": name, "context": context, "canonical": canonical_context(context).hex()}


def joined(*pairs: tuple[bytes, bytes], count: int | None = None) -> bytes:
    fields = [field for pair in pairs for field in pair]
    body = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return struct.pack(">I", len(pairs) if count is None else count) + body


def malformed_contexts() -> Iterator[dict[str, str]]:
    good = joined((b"a", b"1"))
    rows: list[tuple[str, bytes, str]] = [
        ("nothing at all", b"", "MALFORMED"),
        ("three bytes of a count", b"\0\0\0", "MALFORMED"),
        ("a count without pairs", joined(count=1), "MALFORMED"),
        ("a count too small", joined((b"a", b"1"), (b"b", b"2"), count=1), "MALFORMED"),
        ("a count too large", joined((b"a", b"1"), count=2), "MALFORMED"),
        ("a count as large as can be", joined((b"a", b"1"), count=2**32 - 1), "MALFORMED"),
        ("a byte appended", good + b"\0", "MALFORMED"),
        ("the last byte missing", good[:-1], "MALFORMED"),
        ("a key longer than the rest", b"\0\0\0\1\0\0\0\x09a\0\0\0\1" + b"1", "MALFORMED"),
        ("a length that wraps around", b"\0\0\0\1\xff\xff\xff\xffa\0\0\0\1" + b"1", "MALFORMED"),
        ("the same key twice", joined((b"a", b"1"), (b"a", b"2")), "DUPLICATE_KEY"),
        ("the empty key twice", joined((b"", b"1"), (b"b", b""), (b"", b"2")), "DUPLICATE_KEY"),
        ("a lone high surrogate", joined((b"\xed\xa0\x80", b"")), "NOT_UTF8"),
        ("a lone low surrogate in a value", joined((b"a", b"\xed\xbf\xbf")), "NOT_UTF8"),
        ("an overlong slash", joined((b"\xc0\xaf", b"")), "NOT_UTF8"),
        ("an overlong slash in three bytes", joined((b"\xe0\x80\xaf", b"")), "NOT_UTF8"),
        ("an overlong slash in four bytes", joined((b"\xf0\x80\x80\xaf", b"")), "NOT_UTF8"),
        ("beyond U+10FFFF", joined((b"\xf4\x90\x80\x80", b"")), "NOT_UTF8"),
        ("a start of five bytes", joined((b"\xf8\x88\x80\x80\x80", b"")), "NOT_UTF8"),
        ("a continuation alone", joined((b"\x80", b"")), "NOT_UTF8"),
        ("a sequence cut off", joined((b"\xe2\x82", b"")), "NOT_UTF8"),
        ("a sequence that a length cuts in two", joined((b"\xe2", b"\x82\xac")), "NOT_UTF8"),
        ("one byte too long", joined((b"k" * 1000, b"v" * 7181)), "TOO_LONG"),
    ]
    for reason, form, status in rows:
        yield {"reason": reason, "joined": form.hex(), "status": status}


FILES = {
    "keys_v1.json": keys,
    "blobs_v1.json": lambda: list(golden()),
    "malformed_blobs_v1.json": lambda: list(malformed()),
    "contexts_v1.json": lambda: list(contexts()),
    "malformed_contexts_v1.json": lambda: list(malformed_contexts()),
}


def text_of(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


# --- seeds of the fuzz targets -------------------------------------------------------------------------------------


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Yields target, name and input. native/fuzz/fuzz_blob.c has the key bytes 0-31, associated data "associated"."""
    for row in contexts():
        yield "context", row["name"], bytes.fromhex(row["canonical"])
    for row in malformed_contexts():
        yield "context", row["reason"], bytes.fromhex(row["joined"])
    blobs = [fuzzed_blob(size) for size in (1, 16, 33, 300)]
    for blob in blobs:
        yield "blob", f"opens, {len(blob)}", blob
        yield "blob", f"cut off, {len(blob)}", blob[:-1]
    lengths = b"".join(struct.pack(">H", len(blob)) for blob in blobs)
    yield "blob", "a batch", bytes([len(blobs)]) + lengths + b"".join(blobs)
    yield "blob", "to be sealed and changed", KEYS["first"].prefix + b"\0\x4f\1" + b"plaintext"
    yield "blob", "to be sealed and left", KEYS["first"].prefix + bytes(3) + b"plaintext"

    for name, raw in requests():
        yield "request", name, raw
    for name, raw in batches():
        yield "batch", name, raw


def requests() -> Iterator[tuple[str, bytes]]:
    """Yields Encrypt and Decrypt as protobuf writes them, after a byte for the operation. All lengths have one byte."""
    key, pair = b"\x0a\x03key", b"\x12\x07\x0a\x01a\x12\x0212"
    other = b"\x12\x06\x0a\x01b\x12\x01v"
    yield "encrypt", b"\0" + key + pair + b"\x1a\x05plain"
    yield "encrypt, two pairs and defaults", b"\0" + key + other + pair + b"\x1a\x05plain\x28\x01\x40\x00"
    yield "encrypt, the last value", b"\0" + key + b"\x1a\x01p" + b"\x0a\x01k" + b"\x1a\x02pq"
    yield "encrypt, an empty pair", b"\0" + key + b"\x12\x00\x1a\x01p"
    blob = fuzzed_blob(16)
    yield "decrypt", b"\1" + pair + b"\x22" + bytes([len(blob) & 0x7F | 0x80, len(blob) >> 7]) + blob
    yield "decrypt, a key", b"\1" + key + b"\x22" + bytes([len(blob) & 0x7F | 0x80, len(blob) >> 7]) + blob


def batches() -> Iterator[tuple[str, bytes]]:
    """Yields batches after a first byte: 0 to 3 for EncryptBatch, DecryptBatch, ReEncryptBatch, GenerateDataKeyBatch,
    plus 4 to group by context, plus 8 for a request that protobuf wrote."""
    key, other, pair = b"\x0a\x03key", b"\x0a\x01k", b"\x12\x07\x0a\x01a\x12\x0212"
    plain = b"\x1a\x05plain"
    blob = fuzzed_blob(16)
    sealed = b"\x22" + bytes([len(blob) & 0x7F | 0x80, len(blob) >> 7]) + blob
    yield "encrypt", b"\0" + key + pair + _item(plain) + _item(other + plain) + _item(pair + plain)
    yield "encrypt, by context", b"\4" + _item(key + plain) + _item(key + pair + plain) + key
    yield "encrypt, a bad item", b"\0" + key + _item(b"") + _item(plain)
    yield "decrypt", b"\1" + _item(sealed) * 3 + pair + _item(key + sealed)
    yield "re-encrypt", b"\2" + key + b"\x72\x07\x0a\x01a\x12\x0212" + _item(sealed) + _item(b"\x6a\x01s" + sealed)
    yield "data keys", b"\3" + key + b"\x38\x20" + _item(b"\x18\x05") + _item(other + pair)


def _item(content: bytes) -> bytes:
    size = len(content)
    return b"\x1a" + (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + content


def fuzzed_blob(size: int) -> bytes:
    nonce = drawn(f"nonce of a seed of {size}", 24)
    header = KEYS["first"].prefix + nonce
    return header + xaes_seal(bytes(range(32)), nonce, drawn("seed", size), header + b"associated")


def write_seeds() -> None:
    for target, name, content in seeds():
        folder = FOLDER / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / re.sub(r"[^a-z0-9]+", "-", name.lower())).write_bytes(content)


if __name__ == "__main__":
    for file in FILES:
        (FOLDER / file).write_text(text_of(file))
    write_seeds()
