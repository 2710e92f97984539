"""A refusal hides whether a key, an alias or a blob's key exists in another account or region.

Two refusals that must not be told apart are compared byte for byte, as they leave by the gRPC door.
"""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc import errors
from kms_grpc.crypto.ciphertext_blob import header_prefix, kid_of
from kms_grpc.endpoints import rich_errors
from kms_grpc.model.key import KeyState, KeyUsage
from kms_grpc.operations.admission.selectors import ById
from tests.aws_facts import TAKES_ALIASES
from tests.operations.scenes import SINGLE, Scene
from tests.operations.service import ALICE, AWAY, EVE, HOME, OPERATIONS, Caller, Refusal, Worker

ABSENT = "12345678-90ab-4cde-8f01-234567890abc"
UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not "
    "allowed to access."
)
INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."


def on_the_wire(worker: Worker, name: str, /, *, region: str | None = None, **fields: Any) -> rich_errors.Refusal:
    try:
        worker.call(name, region=region, **fields)
    except errors.KMSError as error:
        return rich_errors.refusal(error, region or HOME)
    raise AssertionError(f"{name} was answered")


def forged(key_id: str, material_id: bytes = bytes(32), size: int = 127 + 32) -> bytes:
    """Returns a forged blob with a valid header: the header's checksum needs no key."""
    prefix = header_prefix(kid_of(key_id), material_id)
    return prefix + bytes(size - len(prefix))


class World:
    """A key of Alice, one of Eve with an alias, and blobs under both."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.own = worker.create(alias="alias/own")
        self.foreign = worker.create(by=EVE, alias="alias/secret-plan")
        self.own_blob = worker.encrypt(self.own.key_id)
        self.foreign_blob = worker.encrypt(self.foreign.key_id, by=EVE)
        self.foreign_alias = f"arn:aws:kms:{HOME}:{EVE.account}:alias/secret-plan"
        self.absent_alias = f"arn:aws:kms:{HOME}:{EVE.account}:alias/not-a-plan"
        self.absent = self.foreign.arn.replace(self.foreign.key_id, ABSENT)


@pytest.fixture(scope="module")
def world(shared: Worker) -> World:
    return World(shared)


BY_ID = [(row.name, key.field, key.action) for row in (OPERATIONS[name] for name in SINGLE)
         for key in row.keys if isinstance(key, ById)]  # fmt: skip
"""(operation, field, permission) for every key that a field names. Keys that a blob names are tested below."""


@pytest.mark.parametrize(("name", "field", "action"), BY_ID)
def test_keys_of_another_account_by_arn(world: World, name: str, field: str, action: str) -> None:
    """The answer is AccessDeniedException, whether the key exists or not."""
    fields = Scene(world.worker, name).fields
    present = on_the_wire(world.worker, name, **fields | {field: world.foreign.arn})
    absent = on_the_wire(world.worker, name, **fields | {field: world.absent})
    assert present == absent
    assert present.text.startswith(f"User: {ALICE.arn} is not authorized to perform: {action} on this resource because")
    assert present.code.name == "PERMISSION_DENIED"


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.PENDING_DELETION])
def test_state_and_usage_of_a_foreign_key_are_hidden(shared: Worker, state: KeyState) -> None:
    foreign = shared.create(by=EVE, state=state)
    usage = shared.create(by=EVE)
    shared.change(usage.key_id, usage=KeyUsage.SIGN_VERIFY)
    absent = on_the_wire(shared, "Encrypt", key_id=foreign.arn.replace(foreign.key_id, ABSENT), plaintext=b"p")
    for key in (foreign, usage):
        assert on_the_wire(shared, "Encrypt", key_id=key.arn, plaintext=b"p") == absent


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, field, _ in BY_ID if name in TAKES_ALIASES])
def test_aliases_of_another_account_by_arn(world: World, name: str, field: str) -> None:
    fields = Scene(world.worker, name).fields
    present = on_the_wire(world.worker, name, **fields | {field: world.foreign_alias})
    assert present == on_the_wire(world.worker, name, **fields | {field: world.absent_alias})
    assert present.code.name == "PERMISSION_DENIED"


def test_ids_of_another_account_are_absent(world: World) -> None:
    """Key ids and alias names are looked up in the caller's own account only."""
    text = f"Key 'arn:aws:kms:{HOME}:{ALICE.account}:key/{world.foreign.key_id}' does not exist"
    assert world.worker.refusal("DescribeKey", key_id=world.foreign.key_id) == Refusal("NotFoundException", text)


def test_a_blobs_key_that_is_absent_foreign_or_elsewhere(world: World) -> None:
    """All reasons have the same answer, and so have both operations that read blobs."""
    away = world.worker.create(region=AWAY)
    blobs = [
        world.foreign_blob,
        forged(ABSENT),
        forged(world.foreign.key_id),
        world.worker.encrypt(away.key_id, region=AWAY),
        forged("mrk-1234567890ab4cde8f01234567890abc"),
    ]
    decrypted = {on_the_wire(world.worker, "Decrypt", ciphertext_blob=blob) for blob in blobs}
    moved = {
        on_the_wire(world.worker, "ReEncrypt", ciphertext_blob=blob, destination_key_id=world.own.key_id)
        for blob in blobs
    }
    assert len(decrypted | moved) == 1
    assert {answer.text for answer in decrypted} == {UNREADABLE}


CODE_OF_NAMED = {
    "own": "IncorrectKeyException",
    "absent-own": "NotFoundException",
    "foreign": "AccessDeniedException",
    "absent-foreign": "AccessDeniedException",
    "foreign-alias": "AccessDeniedException",
    "absent-alias": "AccessDeniedException",
    "malformed": "NotFoundException",
    "other-region": "NotFoundException",
}
"""How a call names a key, and the error of a Decrypt that does so for another key's blob."""


def name_of(world: World, kind: str) -> str:
    return {
        "own": world.own.key_id,
        "absent-own": ABSENT,
        "foreign": world.foreign.arn,
        "absent-foreign": world.absent,
        "foreign-alias": world.foreign_alias,
        "absent-alias": world.absent_alias,
        "malformed": "no-such-form",
        "other-region": world.own.arn.replace(HOME, AWAY),
    }[kind]


@pytest.mark.parametrize("kind", CODE_OF_NAMED)
def test_no_other_member_of_a_call_tells_a_foreign_blobs_key_from_an_absent_one(world: World, kind: str) -> None:
    """A header can be forged for any key id, so every other member of a call could be an oracle. The answer is about
    the key that the call names; the blob's key counts where it names none."""
    other, code = name_of(world, kind), CODE_OF_NAMED[kind]
    for fields in ({"key_id": other}, {"key_id": other, "dry_run": True}):
        answers = {
            on_the_wire(world.worker, "Decrypt", ciphertext_blob=forged(key), **fields)
            for key in (world.foreign.key_id, ABSENT)
        }
        assert len(answers) == 1
        refusal = world.worker.refusal("Decrypt", ciphertext_blob=forged(ABSENT), **fields)
        assert refusal.code == code
    for fields in ({"destination_key_id": other}, {"destination_key_id": world.own.key_id, "source_key_id": other}):
        answers = {
            on_the_wire(world.worker, "ReEncrypt", ciphertext_blob=forged(key), **fields)
            for key in (world.foreign.key_id, ABSENT)
        }
        assert len(answers) == 1
        refusal = world.worker.refusal("ReEncrypt", ciphertext_blob=forged(ABSENT), **fields)
        assert refusal.code == (code if "source_key_id" in fields else "AccessDeniedException")


@pytest.mark.parametrize("name", ["Decrypt", "ReEncrypt"])
def test_own_blob_with_the_name_of_a_foreign_key(world: World, name: str) -> None:
    """The answer does not show whether the named key exists, nor which key an alias points at."""
    field = {"Decrypt": "key_id", "ReEncrypt": "source_key_id"}[name]
    more = {} if name == "Decrypt" else {"destination_key_id": world.own.key_id}
    answers = {
        on_the_wire(world.worker, name, ciphertext_blob=world.own_blob, **more, **{field: text})
        for text in (world.foreign.arn, world.absent, world.foreign_alias, world.absent_alias)
    }
    assert len(answers) == 1
    assert {answer.code.name for answer in answers} == {"PERMISSION_DENIED"}


# --- the order of a blob's errors --------------------------------------------------------------------------------


def flip(blob: bytes, offset: int) -> bytes:
    return blob[:offset] + bytes([blob[offset] ^ 1]) + blob[offset + 1 :]


@pytest.mark.parametrize("name", ["Decrypt", "ReEncrypt"])
def test_order_of_a_blobs_errors(shared: Worker, name: str) -> None:
    """The order is the named key's errors, InvalidCiphertext (header), AccessDenied, IncorrectKey, key state,
    InvalidCiphertext (the rest)."""
    key, other, good = shared.create(), shared.create(), shared.create()
    blob = shared.encrypt(key.key_id)
    shared.call("DisableKey", key_id=key.key_id)
    field = {"Decrypt": "key_id", "ReEncrypt": "source_key_id"}[name]
    more = {} if name == "Decrypt" else {"destination_key_id": good.key_id}

    def refusal(sent: bytes, named: str | None, by: Caller = ALICE) -> tuple[str, str]:
        found = shared.refusal(name, by=by, ciphertext_blob=sent, **more, **({field: named} if named else {}))
        return found.code, found.text

    damaged, tampered = flip(blob, 51), flip(blob, len(blob) - 1)
    assert refusal(damaged, ABSENT)[0] == "NotFoundException"
    assert refusal(damaged, key.arn, by=EVE)[0] == "AccessDeniedException"
    assert refusal(damaged, other.key_id) == ("InvalidCiphertextException", "")
    assert refusal(damaged, None, by=EVE) == ("InvalidCiphertextException", "")
    if name == "Decrypt":
        assert refusal(tampered, None, by=EVE) == ("AccessDeniedException", UNREADABLE)
        assert refusal(tampered, other.key_id, by=EVE)[0] == "NotFoundException"
    assert refusal(tampered, other.key_id) == ("IncorrectKeyException", INCORRECT_KEY)
    assert refusal(tampered, key.key_id) == ("DisabledException", f"{key.arn} is disabled.")
    shared.call("EnableKey", key_id=key.key_id)
    assert refusal(tampered, key.key_id) == ("InvalidCiphertextException", "")


@pytest.mark.parametrize("name", ["Decrypt", "ReEncrypt"])
def test_a_blob_of_unknown_key_material_is_invalid(world: World, name: str) -> None:
    """The header is forged and well-formed. The key is the caller's own, so AccessDenied would hide nothing."""
    more = {} if name == "Decrypt" else {"destination_key_id": world.own.key_id}
    refusal = world.worker.refusal(name, ciphertext_blob=forged(world.own.key_id), **more)
    assert (refusal.code, refusal.text) == ("InvalidCiphertextException", "")


def test_a_named_key_that_cannot_decrypt_is_an_incorrect_key(world: World) -> None:
    mac_key = world.worker.create()
    world.worker.change(mac_key.key_id, usage=KeyUsage.GENERATE_VERIFY_MAC, spec="HMAC_256")
    assert world.worker.refusal("Decrypt", ciphertext_blob=world.own_blob, key_id=mac_key.key_id).text == INCORRECT_KEY


def test_order_of_all_checks(shared: Worker) -> None:
    """The first request has every fault; each following one has one fault less."""
    key = shared.create(state=KeyState.DISABLED)
    shared.change(key.key_id, usage=KeyUsage.SIGN_VERIFY)
    bad: dict[str, Any] = {"by": "no-such-token-at-all", "region": "mars-north-1", "key_id": "x", "plaintext": b""}

    def code_of(**corrected: Any) -> str:
        bad.update(corrected)
        return shared.refusal("Encrypt", **bad).code

    assert code_of() == "UnrecognizedClientException"
    assert code_of(by=ALICE) == "ValidationException"
    assert code_of(region=HOME) == "ValidationException"
    assert code_of(plaintext=b"p", grant_tokens=["t"]) == "InvalidGrantTokenException"
    assert code_of(grant_tokens=[]) == "NotFoundException"
    assert code_of(key_id=shared.create(by=EVE).arn) == "AccessDeniedException"
    assert code_of(key_id=key.key_id, dry_run=True) == "InvalidKeyUsageException"
    shared.change(key.key_id, usage=KeyUsage.ENCRYPT_DECRYPT)
    assert code_of() == "DisabledException"
    shared.call("EnableKey", key_id=key.key_id)
    assert code_of() == "DryRunOperationException"
