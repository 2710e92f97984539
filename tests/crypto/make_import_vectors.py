"""Writes tests/vectors/imports_v1.json: wrapping pairs, valid and invalid material wrapped under them.

    .venv/bin/python -m tests.crypto.make_import_vectors

The inputs are hashes of their names, as in make_vectors.py, and a stored pair must open for ever. The prime of a name
is the first prime from that name's hash on; PRIMES has the distance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding

from tests.crypto.make_vectors import FOLDER, KEYS, REGION_SECRET, drawn, flipped
from tests.crypto.second_wrapper import PAIR, Pair, hash_of, wrap, wrap_for

NAME, KEY = "imports_v1.json", KEYS["first"]
ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
PRIMES = {2048: {"p": 80, "q": 372}, 3072: {"p": 606, "q": 506}, 4096: {"p": 1010, "q": 1120}}
MATERIAL, SEED, AES_KEY = KEY.material, drawn("OAEP seed", 32), drawn("AES key", 32)


def prime(bits: int, name: str) -> int:
    size = bits // 16
    first = int.from_bytes(drawn(f"{name} of RSA-{bits}", size), "big") | 0xC0 << 8 * (size - 1) | 1
    return first + PRIMES[bits][name]


PAIRS = {bits: Pair(prime(bits, "p"), prime(bits, "q")) for bits in PRIMES}


def pair_row(bits: int) -> dict[str, Any]:
    pair, place = PAIRS[bits], f"pair of {bits}".encode()
    wrapped = wrap(REGION_SECRET, PAIR, pair.pkcs8, place, drawn(f"nonce of the pair of {bits}", 24))
    imports = {name: wrap_for(pair, name, MATERIAL, SEED, AES_KEY).hex() for name in ALGORITHMS}
    public_key = pair.public_key.hex()
    return {"bits": bits, "place": place.hex(), "public_key": public_key, "wrapped": wrapped.hex(), "imports": imports}


def malformed() -> Iterator[dict[str, str]]:
    for algorithm in ALGORITHMS:
        rows = [*wrong_blocks(algorithm), *wrong_paddings(algorithm)]
        if algorithm.startswith("RSA_AES"):
            rows += [*wrong_transport_keys(algorithm), *wrong_key_wraps(algorithm)]
        else:
            rows += wrong_materials(algorithm)
        for reason, encrypted in rows:
            yield {"algorithm": algorithm, "reason": reason, "encrypted": encrypted.hex()}


def tail(algorithm: str) -> bytes:
    """Returns the bytes after the RSA block: none, or the right AES-KWP."""
    return aes_key_wrap_with_padding(AES_KEY, MATERIAL) if algorithm.startswith("RSA_AES") else b""


def wrong_blocks(algorithm: str) -> Iterator[tuple[str, bytes]]:
    pair, rest = PAIRS[2048], tail(algorithm)
    n, right = pair.n, wrap_for(pair, algorithm, MATERIAL, SEED, AES_KEY)
    yield "nothing at all", b""
    yield "the last byte missing", right[:-1]
    yield "the first byte missing", right[1:]
    yield "a byte appended", right + b"\0"
    yield "half of it", right[: len(right) // 2]
    yield "a zero before it", b"\0" + right
    for name, number in [("0", 0), ("1", 1), ("n - 1", n - 1), ("n", n), ("n + 1", n + 1), ("all ones", 256**256 - 1)]:
        yield f"a block that is {name}", pair.block(number) + rest
    smaller = int.from_bytes(right[:256], "big")
    yield "the right block and n, when that fits", pair.block(min(smaller + n, 256**256 - 1)) + rest
    yield "the right block negated", pair.block(n - smaller) + rest
    yield "wrapped under another pair", wrap_for(PAIRS[3072], algorithm, MATERIAL, SEED, AES_KEY)
    yield "the other kind of wrapping", wrap_for(pair, other_kind(algorithm), MATERIAL, SEED, AES_KEY)
    yield "the other hash", wrap_for(pair, other_hash(algorithm), MATERIAL, SEED, AES_KEY)


def other_kind(algorithm: str) -> str:
    return ALGORITHMS[(ALGORITHMS.index(algorithm) + 2) % 4]


def other_hash(algorithm: str) -> str:
    return ALGORITHMS[ALGORITHMS.index(algorithm) ^ 1]


def wrong_paddings(algorithm: str) -> Iterator[tuple[str, bytes]]:
    pair, rest, name = PAIRS[2048], tail(algorithm), hash_of(algorithm)
    secret = AES_KEY if rest else MATERIAL
    wrongs: dict[str, dict[str, Any]] = {
        "a first byte of 1": {"first": 1},
        "a label": {"label": b"label"},
        "MGF1 with the other hash": {"mgf_hash": "sha256" if name == "sha1" else "sha1"},
        "no separator": {"separator": 0},
        "another separator": {"separator": 2},
        "the separator's highest bit": {"separator": 0x81},
        "a byte of the zeros, the first": {"padding_at": 0},
        "a byte of the zeros, the last": {"padding_at": -1},
    }
    for reason, wrong in wrongs.items():
        yield reason, pair.oaep(secret, name, SEED, **wrong) + rest
    yield "PKCS#1 v1.5", pair.encrypt(b"\0\2" + b"\x77" * (256 - 3 - 32) + b"\0" + secret) + rest
    yield "no padding", pair.encrypt(bytes(256 - 32) + secret) + rest


def wrong_materials(algorithm: str) -> Iterator[tuple[str, bytes]]:
    for size in (0, 1, 16, 24, 31, 33, 64, 190):
        yield f"{size} bytes of material", PAIRS[2048].oaep(drawn("long", size), hash_of(algorithm), SEED)


def wrong_transport_keys(algorithm: str) -> Iterator[tuple[str, bytes]]:
    for size in (0, 16, 24, 31, 33, 64):
        key = drawn("transport key", size)
        wrapping = key if size in (16, 24) else key[:32].ljust(32, b"\0")
        block = PAIRS[2048].oaep(key, hash_of(algorithm), SEED)
        yield f"an AES key of {size} bytes", block + aes_key_wrap_with_padding(wrapping, MATERIAL)


def wrong_key_wraps(algorithm: str) -> Iterator[tuple[str, bytes]]:
    right = wrap_for(PAIRS[2048], algorithm, MATERIAL, SEED, AES_KEY)
    block, wrapped = right[:256], right[256:]
    for size in (1, 8, 16, 24, 25, 31, 33, 40, 64):
        yield f"{size} bytes of material", block + aes_key_wrap_with_padding(AES_KEY, drawn("long", size))
    yield "key wrap without padding, RFC 3394", block + aes_key_wrap(AES_KEY, MATERIAL)
    yield "under another AES key", block + aes_key_wrap_with_padding(drawn("another", 32), MATERIAL)
    yield "no key wrap", block
    yield "the key wrap first", wrapped + block
    yield "two key wraps", right + wrapped
    for at in range(40):
        yield f"byte {at} of the key wrap", block + flipped(wrapped, at)


def text() -> str:
    key = {"kid": KEY.kid.hex(), "material": MATERIAL.hex(), "material_id": KEY.material_id.hex()}
    rows = {"key": key, "pairs": [pair_row(bits) for bits in PRIMES], "malformed": list(malformed())}
    return json.dumps(rows, indent=1) + "\n"


if __name__ == "__main__":
    (FOLDER / NAME).write_text(text())
