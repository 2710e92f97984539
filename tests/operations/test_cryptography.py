"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kms_grpc.v1 import keys_pb2
from tests.operations.service import OPERATIONS, Refusal, Worker, violation

SYMMETRIC = keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT
BAD_BLOB = ("InvalidCiphertextException", "")


def code_and_text(refusal: Refusal) -> tuple[str, str]:
    return refusal.code, refusal.text


@pytest.fixture(scope="module")
def key(shared: Worker) -> Any:
    return shared.create(alias="alias/for-encryption")


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4095, 4096])
def test_encrypt_and_decrypt(shared: Worker, key: Any, size: int) -> None:
    plaintext = bytes(range(256)) * 16
    sealed = shared.call(
        "Encrypt", key_id="alias/for-encryption", plaintext=plaintext[:size], encryption_algorithm=SYMMETRIC
    )
    assert (sealed.key_id, sealed.encryption_algorithm) == (key.arn, SYMMETRIC)
    assert len(sealed.ciphertext_blob) == size + 127
    opened = shared.call("Decrypt", ciphertext_blob=sealed.ciphertext_blob, encryption_algorithm=SYMMETRIC)
    assert (opened.plaintext, opened.key_id, opened.encryption_algorithm) == (plaintext[:size], key.arn, SYMMETRIC)
    assert opened.key_material_id == key.current_key_material_id


def test_encrypt_never_gives_the_same_twice(shared: Worker, key: Any) -> None:
    blobs = {shared.encrypt(key.key_id) for _ in range(100)}
    assert len({blob[55:79] for blob in blobs}) == 100, "nonces"
    assert len({blob[79:] for blob in blobs}) == 100


SIZES = [
    ("Encrypt", "plaintext", b"", violation("plaintext", "have length greater than or equal to 1")),
    ("Encrypt", "plaintext", bytes(4097), violation("plaintext", "have length less than or equal to 4096")),
    ("Decrypt", "ciphertext_blob", b"", violation("ciphertextBlob", "have length greater than or equal to 1")),
    (
        "Decrypt",
        "ciphertext_blob",
        bytes(65_664),
        violation("ciphertextBlob", "have length less than or equal to 65663"),
    ),
    (
        "ReEncrypt",
        "ciphertext_blob",
        bytes(65_664),
        violation("ciphertextBlob", "have length less than or equal to 65663"),
    ),
    ("GenerateDataKey", "number_of_bytes", 0, violation("numberOfBytes", "have value greater than or equal to 1", "0")),
    (
        "GenerateDataKey",
        "number_of_bytes",
        1025,
        violation("numberOfBytes", "have value less than or equal to 1024", "1025"),
    ),
    (
        "GenerateDataKeyWithoutPlaintext",
        "number_of_bytes",
        -1,
        violation("numberOfBytes", "have value greater than or equal to 1", "-1"),
    ),
    ("GenerateRandom", "number_of_bytes", 0, violation("numberOfBytes", "have value greater than or equal to 1", "0")),
    (
        "GenerateRandom",
        "number_of_bytes",
        1025,
        violation("numberOfBytes", "have value less than or equal to 1024", "1025"),
    ),
]


def good(name: str, key: Any, blob: bytes = b"blob") -> dict[str, Any]:
    fields = {
        "key_id": key.key_id,
        "destination_key_id": key.key_id,
        "plaintext": b"p",
        "ciphertext_blob": blob,
        "number_of_bytes": 16,
    }
    return {
        field: value for field, value in fields.items() if field in OPERATIONS[name].request.DESCRIPTOR.fields_by_name
    }


@pytest.mark.parametrize(("name", "field", "value", "text"), SIZES)
def test_sizes(shared: Worker, key: Any, name: str, field: str, value: Any, text: str) -> None:
    refusal = shared.refusal(name, **(good(name, key) | {field: value}))
    assert refusal == Refusal("ValidationException", text)


MISSING = [
    ("Encrypt", "plaintext", violation("plaintext", "not be null", None)),
    ("Decrypt", "ciphertext_blob", violation("ciphertextBlob", "not be null", None)),
    ("ReEncrypt", "ciphertext_blob", violation("ciphertextBlob", "not be null", None)),
    ("GenerateRandom", "number_of_bytes", "NumberOfBytes is required."),
    ("GenerateDataKey", "number_of_bytes", "Please specify either number of bytes or key spec."),
    ("GenerateDataKeyWithoutPlaintext", "number_of_bytes", "Please specify either number of bytes or key spec."),
]


@pytest.mark.parametrize(("name", "field", "text"), MISSING)
def test_required_members(shared: Worker, key: Any, name: str, field: str, text: str) -> None:
    fields = good(name, key)
    del fields[field]
    assert shared.refusal(name, **fields) == Refusal("ValidationException", text)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"key_spec": keys_pb2.DATA_KEY_SPEC_AES_128}, 16),
        ({"key_spec": keys_pb2.DATA_KEY_SPEC_AES_256}, 32),
        ({"number_of_bytes": 1}, 1),
        ({"number_of_bytes": 1024}, 1024),
    ],
)
def test_data_keys(shared: Worker, key: Any, fields: dict[str, Any], size: int) -> None:
    """Decrypt returns the data key, only under its context, and each call makes another one."""
    context = {"purpose": "test"}
    made = shared.call("GenerateDataKey", key_id="alias/for-encryption", encryption_context=context, **fields)
    assert (made.key_id, made.key_material_id, len(made.plaintext)) == (key.arn, key.current_key_material_id, size)
    opened = shared.call("Decrypt", ciphertext_blob=made.ciphertext_blob, encryption_context=context)
    assert opened.plaintext == made.plaintext
    assert code_and_text(shared.refusal("Decrypt", ciphertext_blob=made.ciphertext_blob)) == BAD_BLOB
    silent = shared.call("GenerateDataKeyWithoutPlaintext", key_id=key.arn, encryption_context=context, **fields)
    assert (silent.key_id, silent.key_material_id) == (key.arn, key.current_key_material_id)
    other = shared.call("Decrypt", ciphertext_blob=silent.ciphertext_blob, encryption_context=context).plaintext
    assert len(other) == size
    if size >= 16:
        assert other != made.plaintext


@pytest.mark.parametrize("name", ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"])
def test_data_keys_have_one_length(shared: Worker, key: Any, name: str) -> None:
    text = "Please specify either number of bytes or key spec."
    both = {"key_spec": keys_pb2.DATA_KEY_SPEC_AES_256, "number_of_bytes": 32}
    assert shared.refusal(name, key_id=key.key_id, **both) == Refusal("ValidationException", text)
    assert shared.refusal(name, key_id=key.key_id, key_spec=99).code == "ValidationException"


def test_random(shared: Worker) -> None:
    drawn = {shared.call("GenerateRandom", number_of_bytes=32).plaintext for _ in range(100)}
    assert len(drawn) == 100
    assert {len(some) for some in drawn} == {32}


# --- encryption context ---------------------------------------------------------------------------------------------

SAME = [
    ({"b": "2", "a": "1"}, {"a": "1", "b": "2"}, "order does not matter"),
    ({}, {}, "none"),
    ({"": ""}, {"": ""}, "empty keys and values are pairs"),
    ({"ключ": "värde", "\U0001f511": "\u0000"}, {"\U0001f511": "\u0000", "ключ": "värde"}, "Unicode"),
]
DIFFERENT = [
    ({"a": "bc"}, {"ab": "c"}, "lengths count, not the joined text"),
    ({"a": "1"}, {"A": "1"}, "keys are case-sensitive"),
    ({"a": "x"}, {"a": "X"}, "values are case-sensitive"),
    ({"a": "1", "b": "2"}, {"a": "1"}, "a pair is missing"),
    ({"a": "1"}, {"a": "1", "b": "2"}, "a pair too many"),
    ({}, {"": ""}, "an empty pair is not no pair"),
    ({"a": "1"}, {}, "missing altogether"),
    ({"a": "1", "b": "2"}, {"a": "2", "b": "1"}, "values exchanged"),
    ({"é": "1"}, {"e\u0301": "1"}, "no Unicode normalisation"),
]


@pytest.mark.parametrize(("sealed", "opened", "reason"), SAME)
def test_contexts_in_another_order_are_equal(
    shared: Worker, key: Any, sealed: dict[str, str], opened: dict[str, str], reason: str
) -> None:
    blob = shared.encrypt(key.key_id, encryption_context=sealed)
    assert shared.call("Decrypt", ciphertext_blob=blob, encryption_context=opened).plaintext == b"plaintext"


@pytest.mark.parametrize(("sealed", "opened", "reason"), DIFFERENT)
def test_contexts_that_differ(
    shared: Worker, key: Any, sealed: dict[str, str], opened: dict[str, str], reason: str
) -> None:
    for one, other in ((sealed, opened), (opened, sealed)):
        blob = shared.encrypt(key.key_id, encryption_context=one)
        assert code_and_text(shared.refusal("Decrypt", ciphertext_blob=blob, encryption_context=other)) == BAD_BLOB
        moved = shared.refusal(
            "ReEncrypt", ciphertext_blob=blob, source_encryption_context=other, destination_key_id=key.key_id
        )
        assert code_and_text(moved) == BAD_BLOB


LONGEST = 8192 - 4 - 8 - 1
CONTEXT_FIELDS = [
    ("Encrypt", "encryption_context"),
    ("Decrypt", "encryption_context"),
    ("GenerateDataKey", "encryption_context"),
    ("GenerateDataKeyWithoutPlaintext", "encryption_context"),
    ("ReEncrypt", "source_encryption_context"),
    ("ReEncrypt", "destination_encryption_context"),
]


def test_every_operation_with_a_context_is_tested_here() -> None:
    singles = [row for row in OPERATIONS.values() if not row.batches]  # test_batches.py has the batches
    used = [(row.name, key.context) for row in singles for key in row.keys if key.context]
    assert sorted(CONTEXT_FIELDS) == sorted(used)


@pytest.mark.parametrize(("name", "field"), CONTEXT_FIELDS)
@pytest.mark.parametrize("dry_run", [False, True])
def test_contexts_over_8_kib(shared: Worker, key: Any, name: str, field: str, dry_run: bool) -> None:
    """The canonical form counts. It is refused before any key is looked up, and in a dry run too."""
    longest = {"k": "v" * LONGEST}
    blob = shared.encrypt(key.key_id, encryption_context=longest if field != "destination_encryption_context" else {})
    fits = shared.refusal(name, **good(name, key, blob), **{field: longest}, dry_run=True)
    assert fits.code == "DryRunOperationException"
    for context in ({"k": "v" * (LONGEST + 1)}, {"k": "é" * (LONGEST // 2 + 1)}, {str(i): "" for i in range(1000)}):
        refusal = shared.refusal(name, **good(name, key, blob), **{field: context}, dry_run=dry_run)
        assert refusal == Refusal("ValidationException", "EncryptionContext is longer than 8192 bytes")
        nowhere = good(name, key, blob) | (
            {"key_id": "no-such-key"} if name != "ReEncrypt" else {"destination_key_id": "no-such-key"}
        )
        assert shared.refusal(name, **nowhere, **{field: context}) == refusal


# --- ReEncrypt ------------------------------------------------------------------------------------------------------


def test_re_encrypt_to_another_key(shared: Worker, key: Any) -> None:
    other = shared.create()
    blob = shared.encrypt(key.key_id, encryption_context={"from": "1"})
    moved = shared.call(
        "ReEncrypt",
        ciphertext_blob=blob,
        source_key_id="alias/for-encryption",
        source_encryption_context={"from": "1"},
        destination_key_id=other.key_id,
        destination_encryption_context={"to": "2"},
    )
    assert (moved.source_key_id, moved.key_id) == (key.arn, other.arn)
    assert (moved.source_key_material_id, moved.destination_key_material_id) == (
        key.current_key_material_id,
        other.current_key_material_id,
    )
    assert moved.source_encryption_algorithm == moved.destination_encryption_algorithm == SYMMETRIC
    opened = shared.call("Decrypt", ciphertext_blob=moved.ciphertext_blob, encryption_context={"to": "2"})
    assert (opened.plaintext, opened.key_id) == (b"plaintext", other.arn)


def test_re_encrypt_to_the_same_key_with_another_context(shared: Worker, key: Any) -> None:
    blob = shared.encrypt(key.key_id, encryption_context={"old": "1"})
    moved = shared.call(
        "ReEncrypt",
        ciphertext_blob=blob,
        source_encryption_context={"old": "1"},
        destination_key_id=key.key_id,
        destination_encryption_context={"new": "2"},
    ).ciphertext_blob
    assert shared.call("Decrypt", ciphertext_blob=moved, encryption_context={"new": "2"}).plaintext == b"plaintext"
    assert code_and_text(shared.refusal("Decrypt", ciphertext_blob=moved, encryption_context={"old": "1"})) == BAD_BLOB
    assert shared.call("Decrypt", ciphertext_blob=blob, encryption_context={"old": "1"}).plaintext == b"plaintext"


def test_incorrect_key(shared: Worker, key: Any) -> None:
    other, blob = shared.create(), shared.encrypt(key.key_id)
    expected = (
        "IncorrectKeyException",
        "The key ID in the request does not identify a CMK that can perform this operation.",
    )
    for text in (other.key_id, other.arn):
        assert code_and_text(shared.refusal("Decrypt", ciphertext_blob=blob, key_id=text)) == expected
        assert (
            code_and_text(
                shared.refusal("ReEncrypt", ciphertext_blob=blob, source_key_id=text, destination_key_id=key.key_id)
            )
            == expected
        )


# --- damage ---------------------------------------------------------------------------------------------------------


def test_every_damaged_blob_gets_the_same_error(shared: Worker, key: Any) -> None:
    """Damage is: each byte flipped, truncations, appended bytes, halves of two blobs; with and without a KeyId."""
    blob, other = shared.encrypt(key.key_id, b"p" * 8), shared.encrypt(key.key_id, b"q" * 8)
    flipped = [blob[:i] + bytes([blob[i] ^ 0x10]) + blob[i + 1 :] for i in range(len(blob))]
    cut = [blob[:i] for i in range(1, len(blob), 7)]
    spliced = [blob[:i] + other[i:] for i in (79, 87, 103)]
    for bad in itertools.chain(flipped, cut, [blob + b"\0", blob + blob], spliced, [b"\1", bytes(135), bytes(65_663)]):
        for named in ({}, {"key_id": key.key_id}):
            assert code_and_text(shared.refusal("Decrypt", ciphertext_blob=bad, **named)) == BAD_BLOB
        assert (
            code_and_text(shared.refusal("ReEncrypt", ciphertext_blob=bad, destination_key_id=key.key_id)) == BAD_BLOB
        )


@pytest.mark.parametrize(
    "algorithm", [keys_pb2.ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_256, keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SM2PKE]
)
def test_algorithms_of_other_keys_are_not_supported(shared: Worker, key: Any, algorithm: int) -> None:
    refusal = shared.refusal("Encrypt", key_id=key.key_id, plaintext=b"p", encryption_algorithm=algorithm)
    assert refusal.code == "UnsupportedOperationException"
    assert refusal.text.startswith("EncryptionAlgorithm ")


# --- DryRun ---------------------------------------------------------------------------------------------------------

DRY_RUNS = [row.name for row in OPERATIONS.values() if row.dry_run and not row.writes]
"""The dry runs of grants are in test_grants.py."""
SUCCEEDS = Refusal("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")


@pytest.mark.parametrize("name", DRY_RUNS)
def test_dry_run(shared: Worker, key: Any, name: str) -> None:
    """A dry run makes and opens nothing, warm or not. Other errors come before its own."""
    fields = good(name, key, shared.encrypt(key.key_id))
    for _ in range(2):
        assert shared.refusal(name, **fields, dry_run=True) == SUCCEEDS
        shared.call(name, **fields)
    field = "destination_key_id" if name == "ReEncrypt" else "key_id"
    refusal = shared.refusal(name, **(fields | {field: "fake-key-id"}), dry_run=True)
    assert refusal == Refusal("NotFoundException", "Invalid keyId 'fake-key-id'")
