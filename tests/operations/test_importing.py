"""Imported key material, end to end: wrapped by the real `openssl` or by `cryptography`, unwrapped by the service.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys.html
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms_grpc import errors
from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import ImportPair, KeyState
from kms_grpc.operations.handlers.importing import FAILURES
from kms_grpc.registry.sql.pairs import SqlWritablePairs
from kms_grpc.v1 import keys_pb2
from tests.operations.external_keys import (
    ALGORITHMS,
    EXISTING,
    EXPIRES,
    NEVER,
    NEW,
    OAEP,
    SECOND_NS,
    SIZES,
    bring_in,
    expiring,
    external,
    in_days,
    lay_ready,
    materials,
    package,
    parameters,
    provide_pair,
    row,
    state_of,
    stored,
    wanted,
    wrap,
    wrap_with_openssl,
)
from tests.operations.service import Host, Refusal, Worker, together

ROOT = Path(__file__).resolve().parents[2]
IMPORT = "ImportKeyMaterial"
DELETE = "DeleteImportedKeyMaterial"
NO_TOKEN = "InvalidImportTokenException"
NOT_OF_THIS_KEY = "The import token is not for this key."
WRONG = "IncorrectKeyMaterialException"
EVERYTHING = keys_pb2.INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL


def metadata(worker: Worker, key_id: str) -> Any:
    return worker.call("DescribeKey", key_id=key_id).key_metadata


def opens(worker: Worker, blob: bytes) -> bool:
    try:
        return bool(worker.call("Decrypt", ciphertext_blob=blob).plaintext == b"plaintext")
    except Exception:
        return False


def is_usable(worker: Worker, key_id: str) -> bool:
    """Returns whether the key can be used, and checks that its state agrees."""
    usable = state_of(worker, key_id) == "Enabled"
    try:
        worker.encrypt(key_id)
    except Exception:
        assert not usable
        return False
    assert usable
    return True


# --- all specs and algorithms ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready(shared: Worker) -> Callable[[str], None]:
    """Makes a pair of a given size available; the module's tests share one per size."""
    pairs: dict[str, ImportPair] = {}

    def lay(size: str) -> None:
        shard = shared.shard()
        if size not in pairs:
            provide_pair(shard, size)
            with shard.registry.writing() as transaction:
                pair = transaction.pairs.oldest_ready(size)
            assert pair is not None
            pairs[size] = pair
        lay_ready(shard, pairs[size])

    return lay


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_import_by_every_spec_and_algorithm(
    shared: Worker, ready: Callable[[str], None], tmp_path: Path, algorithm: str, size: str
) -> None:
    """Each of twelve combinations is imported and used; `openssl pkeyutl` does RSA, and `rsautl` where it can."""
    made, material = external(shared), os.urandom(32)
    assert made.key_state == keys_pb2.KEY_STATE_PENDING_IMPORT
    assert not (made.enabled or made.current_key_material_id or made.expiration_model)
    pending = Refusal("KMSInvalidStateException", f"{made.arn} is pending import.", made.arn, "PendingImport")
    assert shared.refusal("Encrypt", key_id=made.key_id, plaintext=b"p") == pending
    commands = ["pkeyutl", "rsautl"] if algorithm == "RSAES_OAEP_SHA_1" and size == "RSA_2048" else ["pkeyutl"]
    blobs: list[bytes] = []
    for command in commands:
        ready(size)
        got = shared.call("GetParametersForImport", **wanted(made.key_id, algorithm, size))
        assert (got.key_id, got.parameters_valid_to.ToNanoseconds()) == (made.arn, in_days(shared, 1))
        public = load_der_public_key(got.public_key)
        assert isinstance(public, RSAPublicKey)
        assert f"RSA_{public.key_size}" == size
        encrypted = wrap_with_openssl(tmp_path, got.public_key, algorithm, material, command)
        fields = {"import_token": got.import_token, "encrypted_key_material": encrypted, "expiration_model": NEVER}
        answer = shared.call(IMPORT, key_id=made.key_id, **fields)
        described = metadata(shared, made.key_id)
        assert answer.key_id == made.arn
        assert answer.key_material_id == described.current_key_material_id
        assert (described.expiration_model, described.enabled) == (NEVER, True)
        blobs.append(shared.encrypt(made.key_id))
        assert {blob[19:51].hex() for blob in blobs} == {answer.key_material_id}
        assert all(opens(shared, blob) for blob in blobs)


@pytest.mark.parametrize(
    ("algorithm", "spec"),
    [("RSAES_PKCS1_V1_5", "RSA_2048"), ("SM2PKE", "SM2"), ("RSAES_OAEP_SHA_1", "SM2"), ("SM2PKE", "RSA_2048")],
)
def test_withdrawn_algorithms(shared: Worker, algorithm: str, spec: str) -> None:
    key_id = external(shared).key_id
    refusal = shared.refusal("GetParametersForImport", **wanted(key_id, algorithm, spec))
    assert refusal.code in ("ValidationException", "UnsupportedOperationException")
    assert algorithm in refusal.text or spec in refusal.text


def test_same_material_in_two_keys_reads_neither_others_data(shared: Worker) -> None:
    material = os.urandom(32)
    first, second = (external(shared).key_id for _ in range(2))
    ids = {bring_in(shared, key_id, material) for key_id in (first, second)}
    assert len(ids) == 2
    blob = shared.encrypt(first)
    kid = shared.encrypt(second)[:55]
    assert shared.refusal("Decrypt", ciphertext_blob=kid + blob[55:]).code == "InvalidCiphertextException"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"])
def test_material_has_32_bytes(shared: Worker, algorithm: str, length: int) -> None:
    if length == 0 and algorithm not in OAEP:
        return  # RFC 5649 wraps at least one byte
    key_id = external(shared).key_id
    got = parameters(shared, key_id, algorithm)
    encrypted = wrap(got.public_key, algorithm, os.urandom(length))
    fields = {"import_token": got.import_token, "encrypted_key_material": encrypted, "expiration_model": NEVER}
    assert shared.refusal(IMPORT, key_id=key_id, **fields) == Refusal("InvalidCiphertextException", "")


# --- refusals, and their effect on the token ------------------------------------------------------------------------

SET = "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"
NOT_SET = "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"
DATES: list[tuple[Callable[[Worker], dict[str, Any]], str | None, str]] = [
    (lambda w: {"expiration_model": 0}, SET, "expiring is the default, and needs a date"),
    (lambda w: {"expiration_model": EXPIRES}, SET, "no date"),
    (lambda w: expiring(in_days(w, 1)) | {"expiration_model": NEVER}, NOT_SET, "a date for nothing"),
    (lambda w: expiring(in_days(w, 0)), "in the future", "now is over"),
    (lambda w: expiring(in_days(w, -1)), "in the future", "past"),
    (lambda w: expiring(in_days(w, 365) + 1), "at most 365 days", "a nanosecond more than a year"),
    (lambda w: {"valid_to": {"seconds": -1}, "expiration_model": EXPIRES}, "in the future", "before 1970"),
    (lambda w: {"valid_to": {"seconds": 1 << 62}, "expiration_model": EXPIRES}, "at most", "after all"),
    (lambda w: {"key_material_id": "a" * 64}, "KeyMaterialId", "no material has an id before its import"),
    (lambda w: {"key_material_id": "a" * 64, "import_type": NEW}, "KeyMaterialId", "nor has new material"),
    (lambda w: {"key_material_id": "xyz"}, "keyMaterialId", "no id at all"),
    (lambda w: {"key_material_description": "ä"}, "keyMaterialDescription", "not of the characters there are"),
    (lambda w: {"key_material_description": "a" * 257}, "keyMaterialDescription", "256 at most"),
    (lambda w: {"encrypted_key_material": b""}, "encryptedKeyMaterial", "nothing"),
    (lambda w: {"encrypted_key_material": b"x" * 6145}, "encryptedKeyMaterial", "too much"),
    (lambda w: {"import_token": b""}, "importToken", "no token"),
    (lambda w: expiring(in_days(w, 0) + 1), None, "a nanosecond is future"),
    (lambda w: expiring(in_days(w, 365)), None, "a year is allowed"),
]


@pytest.mark.parametrize(("changed", "text", "reason"), DATES, ids=[reason for *_, reason in DATES])
def test_parameters(shared: Worker, changed: Callable[[Worker], dict[str, Any]], text: str | None, reason: str) -> None:
    """A call refused for its parameters does not count against its token: token and material are accepted
    afterwards."""
    key_id = external(shared).key_id
    fields, before = package(shared, key_id, os.urandom(32)), stored(shared, key_id)
    if text is None:
        shared.call(IMPORT, **fields | changed(shared))
        assert metadata(shared, key_id).valid_to.ToNanoseconds() == row(shared, key_id).expires_ns
        return
    refusal = shared.refusal(IMPORT, **fields | changed(shared))
    assert refusal.code == "ValidationException", reason
    assert text in refusal.text
    assert stored(shared, key_id) == before
    shared.call(IMPORT, **fields)
    assert state_of(shared, key_id) == "Enabled"


def flipped(token: bytes, at: int) -> bytes:
    return token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]


def token_cases(worker: Worker, fields: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    token: bytes = fields["import_token"]
    other = package(worker, external(worker).key_id, os.urandom(32))
    sealed_by_caller = worker.encrypt(worker.create().key_id, token[:25])
    return [
        *((f"bit of byte {at} flipped", {"import_token": flipped(token, at)}, NO_TOKEN)
          for at in (0, 1, 2, 30, 54, 60, len(token) // 2, len(token) - 1)),
        ("cut", {"import_token": token[:-1]}, NO_TOKEN),
        ("longer", {"import_token": token + b"\0"}, NO_TOKEN),
        ("random bytes", {"import_token": os.urandom(len(token))}, NO_TOKEN),
        ("a blob of the caller's", {"import_token": sealed_by_caller}, NO_TOKEN),
        ("of another key", {"import_token": other["import_token"]}, NO_TOKEN),
        ("of another key, with its material", other | {"key_id": fields["key_id"]}, NO_TOKEN),
        ("material wrapped for another key", {"encrypted_key_material": other["encrypted_key_material"]},
         "InvalidCiphertextException"),
        ("material of one bit changed",
         {"encrypted_key_material": flipped(fields["encrypted_key_material"], 100)}, "InvalidCiphertextException"),
    ]  # fmt: skip


def test_tokens(shared: Worker) -> None:
    """Each bad token has its own error and changes nothing: the right token and material are accepted afterwards."""
    key_id = external(shared).key_id
    fields = package(shared, key_id, os.urandom(32))
    before = stored(shared, key_id)
    for reason, changed, code in token_cases(shared, fields):
        refusal = shared.refusal(IMPORT, **fields | changed)
        assert refusal.code == code, reason
        assert refusal.text == ("" if code == "InvalidCiphertextException" else NOT_OF_THIS_KEY), reason
        assert stored(shared, key_id) == before, reason
    shared.call(IMPORT, **fields)


def test_a_token_expires_after_a_day(host: Host) -> None:
    worker = host.worker()
    key_id = external(worker).key_id
    fields = package(worker, key_id, os.urandom(32))
    last = package(worker, key_id, os.urandom(32))
    host.clock.step(DAY_NS - 1)
    worker.call(IMPORT, **last)
    host.clock.step(1)
    worker.call(DELETE, key_id=key_id)
    before = stored(worker, key_id)
    assert worker.refusal(IMPORT, **fields).code == "ExpiredImportTokenException"
    assert stored(worker, key_id) == before


def test_a_token_is_used_once_even_if_the_material_was_deleted(shared: Worker) -> None:
    key_id, material = external(shared).key_id, os.urandom(32)
    fields = package(shared, key_id, material)
    shared.call(IMPORT, **fields)
    used = Refusal(NO_TOKEN, "The import token was used before: get new parameters.", metadata(shared, key_id).arn)
    assert shared.refusal(IMPORT, **fields) == used
    shared.call(DELETE, key_id=key_id)
    before = stored(shared, key_id)
    assert shared.refusal(IMPORT, **fields) == used
    assert stored(shared, key_id) == before
    bring_in(shared, key_id, material)
    assert state_of(shared, key_id) == "Enabled"


def test_ten_failed_imports_invalidate_a_token(shared: Worker) -> None:
    """Failed calls are counted, and each has one audit record."""
    for failures, code in ((FAILURES - 1, None), (FAILURES, NO_TOKEN)):
        key_id = external(shared).key_id
        fields = package(shared, key_id, os.urandom(32))
        shared.outbox()
        for _ in range(failures):
            refusal = shared.refusal(IMPORT, **fields | {"encrypted_key_material": os.urandom(256)})
            assert refusal == Refusal("InvalidCiphertextException", "")
        recorded = [(record["eventName"], record["errorCode"]) for record in shared.outbox()]
        assert recorded == [(IMPORT, "InvalidCiphertextException")] * failures
        if code is None:
            shared.call(IMPORT, **fields)
        else:
            assert shared.refusal(IMPORT, **fields).code == code


def test_one_of_thirty_two_concurrent_imports_succeeds(host: Host) -> None:
    workers = host.worker(), host.worker()
    key_id = external(workers[0]).key_id
    fields = package(workers[0], key_id, os.urandom(32))
    results = together(*(lambda w=w: w.call(IMPORT, **fields) for w in workers * 16))
    codes = [getattr(result, "code", "OK") for result in results]
    assert sorted(codes) == sorted(["OK", *[NO_TOKEN] * 31])
    assert all(is_usable(worker, key_id) for worker in workers)
    assert len(materials(workers[0], key_id)) == 1


IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from tests.operations.service import Host
worker = Host(Path(sys.argv[1])).worker()
fields = json.loads(sys.argv[2])
named = {name: bytes.fromhex(fields.pop(name)) for name in ("import_token", "encrypted_key_material")}
worker.call("ImportKeyMaterial", **fields, **named)
"""


@pytest.mark.parametrize(
    ("point", "imported"),
    [("commit.before", False), ("commit.after", True), ("epoch.after", True), ("answer.before", True)],
)
def test_killed_before_its_answer(host: Host, point: str, imported: bool) -> None:
    """Either the key is Enabled, the token used and the call recorded, or none of it, and then the same token still
    imports."""
    worker = host.worker()
    key_id = external(worker).key_id
    fields, before = package(worker, key_id, os.urandom(32)), stored(worker, key_id)
    worker.outbox()
    sent = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(host.settings.data_dir), json.dumps(sent)]
    environment = os.environ | {"KMS_GRPC_FAULT": point}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL
    records = [record["eventName"] for record in worker.outbox()]
    worker.shard().words.announce_all()  # as the supervisor does for a worker that died
    if imported:
        assert records == [IMPORT]
        assert is_usable(worker, key_id)
        assert worker.refusal(IMPORT, **fields).code == NO_TOKEN
    else:
        assert records == []
        assert stored(worker, key_id) == before
        worker.call(IMPORT, **fields)


@pytest.mark.parametrize("name", ["GetParametersForImport", IMPORT, DELETE])
def test_keys_of_another_origin(shared: Worker, name: str) -> None:
    made = shared.create()
    fields: dict[str, Any] = {"key_id": made.key_id}
    if name == "GetParametersForImport":
        fields = wanted(made.key_id)
    if name == IMPORT:
        fields |= {"import_token": b"t", "encrypted_key_material": b"m", "expiration_model": NEVER}
    text = f"{made.arn} origin is AWS_KMS which is not valid for this operation."
    assert shared.refusal(name, **fields) == Refusal("UnsupportedOperationException", text, made.arn, "Enabled")


def test_a_pair_is_made_for_the_call_where_none_was_made_ahead(host: Host) -> None:
    """The service is new, and several callers ask at the same time."""
    workers, material = [host.worker(), host.worker()], os.urandom(32)
    key_id = external(workers[0]).key_id
    provide_pair(workers[0].shard(), "RSA_3072")
    asked = wanted(key_id, "RSAES_OAEP_SHA_256", "RSA_2048")
    got = together(*(lambda w=w: w.call("GetParametersForImport", **asked) for w in workers * 2))
    assert len({answer.public_key for answer in got}) == len(got), "each call has a pair of its own"
    for answer in got:
        encrypted = wrap(answer.public_key, "RSAES_OAEP_SHA_256", material)
        fields = {"import_token": answer.import_token, "encrypted_key_material": encrypted}
        workers[1].call(IMPORT, key_id=key_id, expiration_model=NEVER, **fields)
    assert is_usable(workers[0], key_id)


@pytest.mark.parametrize("unwraps", [True, False])
def test_a_pair_that_a_concurrent_call_has_used(shared: Worker, monkeypatch: pytest.MonkeyPatch, unwraps: bool) -> None:
    """A storage engine whose writers do not wait for each other reports it when the row is written."""

    def moved_on(self: object, pair: ImportPair) -> None:
        raise errors.ConflictException("The wrapping key has been changed by another call meanwhile.")

    key_id = external(shared).key_id
    fields = package(shared, key_id, os.urandom(32))
    before = stored(shared, key_id)
    monkeypatch.setattr(SqlWritablePairs, "remove" if unwraps else "change", moved_on)
    wrong = {} if unwraps else {"encrypted_key_material": os.urandom(256)}
    assert shared.refusal(IMPORT, **fields | wrong).code == NO_TOKEN
    assert stored(shared, key_id) == before


# --- deletion, expiry, and import again -----------------------------------------------------------------------------


def test_only_the_same_bytes_can_be_imported_again(shared: Worker) -> None:
    key_id, material = external(shared).key_id, os.urandom(32)
    material_id = bring_in(shared, key_id, material, key_material_description="from the safe")
    blob = shared.encrypt(key_id)
    assert shared.call(DELETE, key_id=key_id).key_material_id == material_id
    described = metadata(shared, key_id)
    assert (described.key_state, described.enabled) == (keys_pb2.KEY_STATE_PENDING_IMPORT, False)
    assert (described.expiration_model, described.current_key_material_id) == (0, material_id), (
        "the material id stays, the expiration model goes"
    )
    assert shared.refusal("Decrypt", ciphertext_blob=blob).text == f"{described.arn} is pending import."
    answer = shared.call(DELETE, key_id=key_id)
    assert answer.key_id == described.arn, "deleting again has no effect and is no error"
    fields, before = package(shared, key_id, os.urandom(32)), stored(shared, key_id)
    assert shared.refusal(IMPORT, **fields).code == WRONG
    assert stored(shared, key_id) == before
    got = package(shared, key_id, material)
    assert shared.call(IMPORT, **got).key_material_id == material_id
    assert opens(shared, blob)
    assert materials(shared, key_id)[0].description == "from the safe", "the description stays"


def test_deleting_acts_at_once_in_every_worker(host: Host) -> None:
    first, second = host.worker(), host.worker()
    key_id = external(first).key_id
    bring_in(first, key_id, os.urandom(32))
    blob = second.encrypt(key_id)
    assert opens(second, blob)
    assert second.is_warm("Decrypt", ciphertext_blob=blob)
    first.call(DELETE, key_id=key_id)
    assert not second.is_warm("Decrypt", ciphertext_blob=blob)
    assert second.refusal("Decrypt", ciphertext_blob=blob).code == "KMSInvalidStateException"


def test_expiry_acts_at_its_very_moment_also_through_a_permit(host: Host) -> None:
    """No keeper runs here; only the clock moves."""
    worker, material = host.worker(), os.urandom(32)
    key_id = external(worker).key_id
    bring_in(worker, key_id, material, **expiring(in_days(worker, 1)))
    described = metadata(worker, key_id)
    assert (described.expiration_model, described.valid_to.ToNanoseconds()) == (EXPIRES, in_days(worker, 1))
    blob = worker.encrypt(key_id)
    host.clock.step(DAY_NS - 1)
    assert opens(worker, blob)
    assert worker.is_warm("Decrypt", ciphertext_blob=blob)
    host.clock.step(1)
    assert not worker.is_warm("Decrypt", ciphertext_blob=blob)
    assert worker.refusal("Decrypt", ciphertext_blob=blob).text == f"{described.arn} is pending import."
    described = metadata(worker, key_id)
    assert (described.key_state, described.enabled, described.expiration_model) == (
        keys_pb2.KEY_STATE_PENDING_IMPORT,
        False,
        0,
    )
    assert not described.HasField("valid_to")
    bring_in(worker, key_id, material)
    assert opens(worker, blob)


def test_importing_again_changes_the_expiry(host: Host) -> None:
    """This also holds while the key has the material."""
    worker, material = host.worker(), os.urandom(32)
    key_id = external(worker).key_id
    bring_in(worker, key_id, material, **expiring(in_days(worker, 1)))
    bring_in(worker, key_id, material, **expiring(in_days(worker, 2)))
    host.clock.step(DAY_NS)
    assert is_usable(worker, key_id)
    bring_in(worker, key_id, material)
    host.clock.step(3 * DAY_NS)
    assert is_usable(worker, key_id)
    bring_in(worker, key_id, material, **expiring(in_days(worker, 1)))
    host.clock.step(DAY_NS)
    assert not is_usable(worker, key_id)


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.PENDING_DELETION])
def test_states_that_an_import_does_not_change(shared: Worker, state: KeyState) -> None:
    """A disabled key stays disabled; a key pending deletion accepts no material."""
    key_id, material = external(shared).key_id, os.urandom(32)
    bring_in(shared, key_id, material)
    fields = package(shared, key_id, material)
    shared.call("DisableKey" if state is KeyState.DISABLED else "ScheduleKeyDeletion", key_id=key_id)
    if state is KeyState.DISABLED:
        shared.call(IMPORT, **fields)
    else:
        assert shared.refusal(IMPORT, **fields).text.endswith("is pending deletion.")
        assert shared.refusal("GetParametersForImport", **wanted(key_id)).text.endswith("is pending deletion.")
    assert state_of(shared, key_id) == state


# --- several materials ----------------------------------------------------------------------------------------------


@pytest.fixture
def rotated(worker: Worker) -> tuple[Worker, str, list[bytes], list[bytes]]:
    """Returns a key with two current or former materials, the materials, and a blob under each."""
    key_id, secrets = external(worker).key_id, [os.urandom(32), os.urandom(32)]
    bring_in(worker, key_id, secrets[0], key_material_description="first")
    blobs = [worker.encrypt(key_id)]
    bring_in(worker, key_id, secrets[1], import_type=NEW)
    worker.call("RotateKeyOnDemand", key_id=key_id)
    return worker, key_id, secrets, [*blobs, worker.encrypt(key_id)]


def test_new_material_is_pending_until_rotation(shared: Worker) -> None:
    made, secrets = external(shared), [os.urandom(32) for _ in range(3)]
    key_id = made.key_id
    first = bring_in(shared, key_id, secrets[0])
    blob = shared.encrypt(key_id)
    bound = package(shared, key_id, secrets[0], import_type=NEW)
    assert shared.refusal(IMPORT, **bound).code == WRONG, "the material is bound to the key already"
    second = bring_in(shared, key_id, secrets[1], import_type=NEW, **expiring(in_days(shared, 9)))
    assert metadata(shared, key_id).current_key_material_id == first, "material pending rotation encrypts nothing"
    assert not metadata(shared, key_id).HasField("valid_to"), "and its expiry is not the key's"
    fields = package(shared, key_id, secrets[2], import_type=NEW)
    refusal = shared.refusal(IMPORT, **fields)
    assert refusal.code == "KMSInvalidStateException"
    assert refusal.text.startswith("New key material (id: ")
    assert refusal.text.endswith(
        f") cannot be imported into KMS key {made.arn}, because another key material (id: {second}) is pending"
        " rotation."
    )
    entries = shared.call("ListKeyRotations", key_id=key_id, include_key_material=EVERYTHING).rotations
    assert [(e.key_material_id, keys_pb2.KeyMaterialState.Name(e.key_material_state)) for e in entries] == [
        (first, "KEY_MATERIAL_STATE_CURRENT"), (second, "KEY_MATERIAL_STATE_PENDING_ROTATION"),
    ]  # fmt: skip
    assert [(entry.import_state, entry.expiration_model) for entry in entries] == [
        (keys_pb2.IMPORT_STATE_IMPORTED, NEVER), (keys_pb2.IMPORT_STATE_IMPORTED, EXPIRES),
    ]  # fmt: skip
    assert not shared.call("ListKeyRotations", key_id=key_id).rotations
    shared.call("RotateKeyOnDemand", key_id=key_id)
    described = metadata(shared, key_id)
    assert (described.current_key_material_id, described.valid_to.ToNanoseconds()) == (second, in_days(shared, 9))
    assert opens(shared, blob)
    assert shared.encrypt(key_id)[19:51].hex() == second
    refused = shared.refusal("RotateKeyOnDemand", key_id=key_id)
    assert refused.text == f"No available key material pending rotation for the key: {made.arn}."


def test_material_pending_rotation_can_be_deleted_and_replaced(shared: Worker) -> None:
    key_id = external(shared).key_id
    bring_in(shared, key_id, os.urandom(32))
    for _ in range(2):
        waiting = bring_in(shared, key_id, os.urandom(32), import_type=NEW)
        assert shared.call(DELETE, key_id=key_id, key_material_id=waiting).key_material_id == waiting
        assert is_usable(shared, key_id)
        assert shared.refusal("RotateKeyOnDemand", key_id=key_id).code == "KMSInvalidStateException"
    assert len(materials(shared, key_id)) == 1


def test_expired_material_pending_rotation_is_not_rotated_to(host: Host) -> None:
    """The keeper has not removed it yet; it counts as gone, and another may take its place."""
    worker = host.worker()
    made, lost = external(worker), os.urandom(32)
    bring_in(worker, made.key_id, os.urandom(32))
    bring_in(worker, made.key_id, lost, import_type=NEW, **expiring(in_days(worker, 1)))
    host.clock.step(DAY_NS)
    before = stored(worker, made.key_id)
    refusal = worker.refusal("RotateKeyOnDemand", key_id=made.key_id)
    assert refusal.text == f"No available key material pending rotation for the key: {made.arn}."
    assert stored(worker, made.key_id) == before
    assert is_usable(worker, made.key_id)
    again = bring_in(worker, made.key_id, lost, import_type=NEW)
    worker.call("RotateKeyOnDemand", key_id=made.key_id)
    assert is_usable(worker, made.key_id)
    assert metadata(worker, made.key_id).current_key_material_id == again


def describe(worker: Worker, key_id: str) -> None:
    worker.call("UpdateKeyDescription", key_id=key_id, description="meanwhile")


def schedule_and_cancel(worker: Worker, key_id: str) -> None:
    worker.call("ScheduleKeyDeletion", key_id=key_id)
    worker.call("CancelKeyDeletion", key_id=key_id)


def bring_in_and_delete_another(worker: Worker, key_id: str) -> None:
    another = bring_in(worker, key_id, os.urandom(32), import_type=NEW)
    worker.call(DELETE, key_id=key_id, key_material_id=another)


@pytest.mark.parametrize(
    ("change", "state"),
    [(describe, "Enabled"), (schedule_and_cancel, "Disabled"), (bring_in_and_delete_another, "Enabled")],
)
def test_a_change_while_the_clock_is_a_year_ahead_makes_no_expiry_final(
    host: Host, change: Callable[[Worker, str], None], state: str
) -> None:
    """The key still has its material: with the clock set right, the key is usable again without an import."""
    worker = host.worker()
    key_id = external(worker).key_id
    bring_in(worker, key_id, os.urandom(32), **expiring(in_days(worker, 30)))
    host.clock.now_ns += 365 * DAY_NS
    assert state_of(worker, key_id) == "PendingImport"
    change(worker, key_id)
    assert state_of(worker, key_id) == "PendingImport"
    host.clock.now_ns -= 365 * DAY_NS
    describe(worker, key_id)
    assert state_of(worker, key_id) == state


@pytest.mark.parametrize("which", [0, 1])
def test_enabled_only_with_every_permanent_material(rotated: Any, which: int) -> None:
    """With one missing the whole key is unusable, even for blobs under the other."""
    worker, key_id, secrets, blobs = rotated
    assert [opens(worker, blob) for blob in blobs] == [True, True]
    ids = [material.material_id.hex() for material in materials(worker, key_id)]
    worker.call(DELETE, key_id=key_id, key_material_id=ids[which])
    assert not is_usable(worker, key_id)
    assert [opens(worker, blob) for blob in blobs] == [False, False]
    states = [keys_pb2.ImportState.Name(entry.import_state) for entry in
              worker.call("ListKeyRotations", key_id=key_id, include_key_material=EVERYTHING).rotations]  # fmt: skip
    assert states[which] == "IMPORT_STATE_PENDING_IMPORT"
    assert states[1 - which] == "IMPORT_STATE_IMPORTED"
    wrong_id = package(worker, key_id, secrets[which], import_type=EXISTING, key_material_id=ids[1 - which])
    assert worker.refusal(IMPORT, **wrong_id).code == WRONG
    bring_in(worker, key_id, secrets[1 - which])  # importing the material that the key has changes nothing
    assert not is_usable(worker, key_id)
    bring_in(worker, key_id, secrets[which], import_type=EXISTING, key_material_id=ids[which])
    assert [opens(worker, blob) for blob in blobs] == [True, True]
    assert is_usable(worker, key_id)


def test_where_both_are_missing_both_must_be_imported_again(rotated: Any) -> None:
    worker, key_id, secrets, blobs = rotated
    for material in materials(worker, key_id):
        worker.call(DELETE, key_id=key_id, key_material_id=material.material_id.hex())
    for secret, usable in zip(secrets, (False, True), strict=True):
        bring_in(worker, key_id, secret)
        assert is_usable(worker, key_id) is usable
    assert [opens(worker, blob) for blob in blobs] == [True, True]


def test_the_first_expiry_ends_the_key(rotated: Any) -> None:
    worker, key_id, secrets, blobs = rotated
    bring_in(worker, key_id, secrets[0], **expiring(in_days(worker, 3)))
    bring_in(worker, key_id, secrets[1], **expiring(in_days(worker, 5)))
    assert metadata(worker, key_id).valid_to.ToNanoseconds() == in_days(worker, 3)
    worker.service.clock.step(3 * DAY_NS - SECOND_NS)
    assert opens(worker, blobs[1])
    worker.service.clock.step(SECOND_NS)
    assert [opens(worker, blob) for blob in blobs] == [False, False]
    bring_in(worker, key_id, secrets[0])
    assert [opens(worker, blob) for blob in blobs] == [True, True]
    worker.service.clock.step(2 * DAY_NS)
    assert not is_usable(worker, key_id)


def test_deleting_an_unknown_material_is_refused(rotated: Any) -> None:
    worker, key_id, _, _ = rotated
    assert worker.refusal(DELETE, key_id=key_id, key_material_id="0" * 64).code == "NotFoundException"
    assert worker.call(DELETE, key_id=key_id).key_material_id == metadata(worker, key_id).current_key_material_id


def test_no_material_and_no_token_is_in_the_audit(shared: Worker) -> None:
    key_id, material = external(shared).key_id, os.urandom(32)
    fields = package(shared, key_id, material)
    shared.outbox()
    shared.call(IMPORT, **fields)
    (record,) = shared.outbox()
    assert record["requestParameters"] == {"keyId": key_id, "expirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    assert record["additionalEventData"] == {"keyMaterialId": materials(shared, key_id)[0].material_id.hex()}
