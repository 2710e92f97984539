"""Wycheproof's vectors of AES-GCM, AES-KWP and RSA-OAEP, of the sizes that the product uses.

tests/vectors/wycheproof/README.md says where they come from.
"""

from __future__ import annotations

import json
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

from kms_grpc.crypto import import_wrapping
from kms_grpc.crypto._native import lib
from kms_grpc.errors import InvalidCiphertextException
from tests.crypto import second_reader, second_wrapper
from tests.crypto.conftest import VECTORS
from tests.crypto.make_import_vectors import KEY
from tests.crypto.make_vectors import REGION_SECRET

PLACE = b"a place"
MATERIAL_SIZE = 32
OAEP = {
    "rsa_oaep_2048_sha1_mgf1sha1_test.json": "RSAES_OAEP_SHA_1",
    "rsa_oaep_2048_sha256_mgf1sha256_test.json": "RSAES_OAEP_SHA_256",
    "rsa_oaep_3072_sha256_mgf1sha256_test.json": "RSAES_OAEP_SHA_256",
    "rsa_oaep_4096_sha256_mgf1sha256_test.json": "RSAES_OAEP_SHA_256",
}


def groups(name: str, **sizes: int) -> list[dict[str, Any]]:
    """Returns a file's groups of the given sizes, in bits."""
    every = json.loads((VECTORS / "wycheproof" / name).read_text())["testGroups"]
    return [group for group in every if all(group[size] == bits for size, bits in sizes.items())]


def vectors_of(name: str, **sizes: int) -> list[dict[str, Any]]:
    return [test for group in groups(name, **sizes) for test in group["tests"]]


def of(test: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(test[name]) for name in names]


def test_aes_256_gcm(core: ModuleType) -> None:
    """Opens each, and of the valid ones seals each."""
    every = vectors_of("aes_gcm_test.json", keySize=256, ivSize=96, tagSize=128)
    for test in every:
        key, nonce, associated, message, ciphertext, tag = of(test, "key", "iv", "aad", "msg", "ct", "tag")
        out = core.ffi.new("uint8_t[]", len(ciphertext) + 16)
        head = (out, key, nonce, associated, len(associated))
        opened = core.lib.kms_test_gcm_open(*head, ciphertext + tag, len(ciphertext))
        if test["result"] == "invalid":
            assert opened == lib.KMS_INVALID_CIPHERTEXT, test
            continue
        assert opened == lib.KMS_OK and bytes(core.ffi.buffer(out))[: len(message)] == message, test
        assert core.lib.kms_test_gcm_seal(*head, message, len(message)) == lib.KMS_OK
        assert bytes(core.ffi.buffer(out)) == ciphertext + tag, test
    assert Counter(test["result"] for test in every) == {"valid": 39, "invalid": 27}


def test_aes_256_kwp(core: ModuleType) -> None:
    """Results that Wycheproof calls acceptable depend on the range of lengths: the core must give the key or refuse."""
    every = vectors_of("aes_kwp_test.json", keySize=256)
    for test in every:
        key, wrapped, message = of(test, "key", "ct", "msg")
        out, size = core.ffi.new("uint8_t[]", len(wrapped) or 1), core.ffi.new("size_t *")
        status = core.lib.kms_test_kwp_open(out, size, key, wrapped, len(wrapped))
        opened = bytes(core.ffi.buffer(out))[: size[0]]
        well, refused = (lib.KMS_OK, message), (lib.KMS_INVALID_CIPHERTEXT, b"")
        allowed = {"valid": [well], "invalid": [refused], "acceptable": [well, refused]}[test["result"]]
        assert (status, opened) in allowed, test
    assert set(Counter(test["result"] for test in every)) >= {"valid", "invalid"} and len(every) == 94


@pytest.mark.parametrize(("name", "algorithm"), OAEP.items())
def test_rsa_oaep(region: int, name: str, algorithm: str) -> None:
    """Imports each as key material. Only what is valid, has 32 bytes and no label may be imported."""
    imported = refused = 0
    for number, group in enumerate(groups(name)):
        pkcs8, place = bytes.fromhex(group["privateKeyPkcs8"]), b"pair %d" % number
        pair = second_wrapper.wrap(REGION_SECRET, second_wrapper.PAIR, pkcs8, place, bytes(24))
        head = (region, KEY.kid, PLACE, region, place, pair, algorithm)
        for test in group["tests"]:
            message, ciphertext = of(test, "msg", "ct")
            if test["result"] == "valid" and len(message) == MATERIAL_SIZE and not test["label"]:
                _, stored = import_wrapping.unwrap_material(*head, ciphertext)
                assert second_reader.unwrap(REGION_SECRET, second_reader.MATERIAL, stored, PLACE) == message, test
                imported += 1
            else:
                with pytest.raises(InvalidCiphertextException):
                    import_wrapping.unwrap_material(*head, ciphertext)
                refused += 1
    assert imported == 1 and refused >= 35
