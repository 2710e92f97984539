"""The ciphers against published vectors, in the test build, which takes nonces.

XAES-256-GCM: https://c2sp.org/XAES-256-GCM. The commitments: AWS-LC's vectors for its KC variant. AES-256-GCM: NIST
CAVP, as cryptography-vectors carries it. The KDF: `cryptography`'s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

import build
from kms_grpc.crypto._native import lib
from tests.crypto import core_with_nonces, second_reader

LETTERS, XAES = bytes(range(0x41, 0x59)).hex(), "584145532d3235362d47434d"

# key, nonce, plaintext, associated data, ciphertext, tag, commitment
COMMITTING = [
    pytest.param(
        "01" * 32,
        "42" * 24,
        "48656c6c6f2c20584145532d3235362d47434d21",
        "",
        "01e5f78bc99de880bd2eeff2870d361f0eab5b2f",
        "c55268f34b14045878fe3668db980319",
        "bf37571be1b43aeca64a95d99a2f162e24f8bfd79bbb71fa7d943e6fc060a8ae",
        id="AWS-LC, most significant bit of L clear",
    ),
    pytest.param(
        "01" * 32,
        LETTERS,
        XAES,
        "",
        "ce546ef63c9cc60765923609",
        "b33a9a1974e96e52daf2fcf7075e2271",
        "04076b6085eebab138855fe57811c04112eff989d44120dfff662d5475a383c3",
        id="c2sp and AWS-LC, key of ones",
    ),
    pytest.param(
        "03" * 32,
        LETTERS,
        XAES,
        "633273702e6f72672f584145532d3235362d47434d",
        "986ec1832593df5443a17943",
        "7fd083bf3fdb41abd740a21f71eb769d",
        "5553cd21d1592b422e3129632a3187eee8a658cdca5c5b32ce86308dcc18e9d1",
        id="c2sp and AWS-LC, associated data, most significant bit of L set",
    ),
]


class Sealed(NamedTuple):
    status: int
    out: bytes


def xaes_seal(core: ModuleType, key: bytes, nonce: bytes, associated: bytes, plaintext: bytes) -> Sealed:
    out = core.ffi.new("uint8_t[]", len(plaintext) + 48)
    status = core.lib.kms_test_xaes_seal(out, key, nonce, associated, len(associated), plaintext, len(plaintext))
    return Sealed(status, bytes(core.ffi.buffer(out)))


def xaes_open(core: ModuleType, key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> Sealed:
    size = len(sealed) - 48
    out = core.ffi.new("uint8_t[]", size or 1)
    status = core.lib.kms_test_xaes_open(out, key, nonce, associated, len(associated), sealed, size)
    return Sealed(status, bytes(core.ffi.buffer(out))[:size])


@pytest.mark.parametrize(("key", "nonce", "plain", "associated", "cipher", "tag", "commitment"), COMMITTING)
def test_kc_xaes_matches_published_vectors(
    core: ModuleType, key: str, nonce: str, plain: str, associated: str, cipher: str, tag: str, commitment: str
) -> None:
    k, n, p, a = (bytes.fromhex(text) for text in (key, nonce, plain, associated))
    expected = bytes.fromhex(cipher + tag + commitment)
    assert xaes_seal(core, k, n, a, p) == (lib.KMS_OK, expected)
    assert xaes_open(core, k, n, a, expected) == (lib.KMS_OK, p)
    assert second_reader.xaes_seal(k, n, p, a) == expected


ACCUMULATED = {10_000: "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"}
if "KMS_GRPC_SANITIZED" not in os.environ:  # under the sanitizers the larger number takes a minute and adds nothing
    ACCUMULATED[1_000_000] = "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15"


@pytest.mark.parametrize(("iterations", "expected"), ACCUMULATED.items())
def test_xaes_matches_the_accumulated_vectors(core: ModuleType, iterations: int, expected: str) -> None:
    out = core.ffi.new("uint8_t[32]")
    assert core.lib.kms_test_xaes_accumulated(out, iterations) == lib.KMS_OK
    assert bytes(core.ffi.buffer(out)).hex() == expected


@pytest.mark.parametrize("at", range(4 + 48))
def test_changed_bytes_do_not_open_and_leave_no_plaintext(core: ModuleType, at: int) -> None:
    key, nonce = bytes(32), bytes(24)
    sealed = bytearray(xaes_seal(core, key, nonce, b"aad", b"text").out)
    sealed[at] ^= 0x80
    assert xaes_open(core, key, nonce, b"aad", bytes(sealed)) == (lib.KMS_INVALID_CIPHERTEXT, bytes(4))


def test_tag_and_commitment_must_both_be_right(core: ModuleType) -> None:
    """Under the first key the commitment is right and the tag wrong; under the second key the reverse."""
    first, second, nonce = b"\1" * 32, b"\2" * 32, bytes(24)
    sealed = second_reader.xaes_seal(second, nonce, b"text", b"")[:-32] + second_reader.commitment(first, nonce)
    for key in (first, second):
        assert xaes_open(core, key, nonce, b"", sealed).status == lib.KMS_INVALID_CIPHERTEXT


def test_the_product_has_no_way_to_set_a_nonce() -> None:
    """The product's declarations and library have no function of the test build and no nonce parameter."""
    declared = (build.ROOT / "native" / "core.cdef.h").read_text()
    parameters = re.findall(r"\b(\w+)\s*[,)\[]", re.sub(r"/\*.*?\*/", "", declared, flags=re.S))
    assert "prefix" in parameters, "the pattern no longer finds parameters"
    assert not [name for name in [*parameters, *dir(lib)] if "nonce" in name.lower() or "test" in name.lower()]


# --- AES-256-GCM -------------------------------------------------------------------------------------------------

CAVP = Path(cryptography_vectors.__file__).parent / "ciphers" / "AES" / "GCM"


def cases(name: str) -> Iterator[dict[str, str]]:
    """Yields a file's cases with a nonce of 96 bits and a tag of 128, the sizes that the product uses."""
    case: dict[str, str] = {}
    section: dict[str, str] = {}
    for line in [*(CAVP / name).read_text().splitlines(), ""]:
        field, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            section[field] = value
        elif line:
            case[field] = "yes" if line.strip() == "FAIL" else value
        elif case and section.get("IVlen") == "96" and section.get("Taglen") == "128":
            yield case
        if not line:
            case = {}


def gcm(core: ModuleType, call: str, case: dict[str, str], data: bytes, size: int) -> Sealed:
    key, nonce, associated = (bytes.fromhex(case[name]) for name in ("Key", "IV", "AAD"))
    out = core.ffi.new("uint8_t[]", size + 16)
    plain_size = len(bytes.fromhex(case["CT"]))
    status = getattr(core.lib, call)(out, key, nonce, associated, len(associated), data, plain_size)
    return Sealed(status, bytes(core.ffi.buffer(out))[:size])


def test_aes_256_gcm_encrypts_nists_vectors(core: ModuleType) -> None:
    every = list(cases("gcmEncryptExtIV256.rsp"))
    assert len(every) == 375
    for case in every:
        expected = bytes.fromhex(case["CT"] + case["Tag"])
        sealed = gcm(core, "kms_test_gcm_seal", case, bytes.fromhex(case["PT"]), len(expected))
        assert sealed == (lib.KMS_OK, expected), case


def test_aes_256_gcm_decrypts_nists_vectors_and_rejects_the_invalid(core: ModuleType) -> None:
    every = list(cases("gcmDecrypt256.rsp"))
    refused = 0
    for case in every:
        opened = gcm(core, "kms_test_gcm_open", case, bytes.fromhex(case["CT"] + case["Tag"]), len(case["CT"]) // 2)
        if "FAIL" in case:
            refused += 1
            assert opened.status == lib.KMS_INVALID_CIPHERTEXT, case
        else:
            assert opened == (lib.KMS_OK, bytes.fromhex(case["PT"])), case
    assert len(every) == 375
    assert 100 < refused < 275


# --- against the second implementation ---------------------------------------------------------------------------

CORE = core_with_nonces.load()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24), st.binary(), st.binary(max_size=700))
def test_kc_xaes_equals_the_second_implementation(
    key: bytes, nonce: bytes, plaintext: bytes, associated: bytes
) -> None:
    sealed = second_reader.xaes_seal(key, nonce, plaintext, associated)
    assert xaes_seal(CORE, key, nonce, associated, plaintext) == (lib.KMS_OK, sealed)
    assert xaes_open(CORE, key, nonce, associated, sealed) == (lib.KMS_OK, plaintext)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["kms-grpc v1 encryption", "x"]), st.binary())
def test_the_kdf_equals_that_of_cryptography(key: bytes, label: str, context: bytes) -> None:
    out = CORE.ffi.new("uint8_t[32]")
    assert CORE.lib.kms_test_derive(out, key, label.encode(), context, len(context)) == lib.KMS_OK
    assert bytes(CORE.ffi.buffer(out)) == second_reader.derive(key, label, context)
