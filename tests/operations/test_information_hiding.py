"""What a refusal must not tell: whether a key, an alias or a blob's key exists where the caller may not look.

Two refusals that must not be told apart are compared byte for byte, as they leave by the gRPC door.
"""

from __future__ import annotations

from typing import Any

import pytest

from kms_grpc import errors
from kms_grpc.crypto.ciphertext_blob import header_prefix, kid_of
from kms_grpc.endpoints import rich_errors
from kms_grpc.model.key import KeyState, KeyUsage
from tests.operations.service import ALICE, AWAY, EVE, HOME, Caller, Refusal, Worker

ABSENT = "12345678-90ab-4cde-8f01-234567890abc"
UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not "
    "allowed to access."
)
INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."


def on_the_wire(worker: Worker, name: str, *, region: str | None = None, **fields: Any) -> rich_errors.Refusal:
    try:
        worker.call(name, region=region, **fields)
    except errors.KMSError as error:
        return rich_errors.refusal(error, region or HOME)
    raise AssertionError(f"{name} was answered")


def forged(key_id: str, material_id: bytes = bytes(32), size: int = 127 + 32) -> bytes:
    """A blob that nobody made, with a header as good as any: the check in it needs no key."""
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


BY_ARN: dict[str, dict[str, Any]] = {
    "DescribeKey": {},
    "EnableKey": {},
    "DisableKey": {},
    "UpdateKeyDescription": {"description": "mine"},
    "ListAliases": {},
    "CreateAlias": {"alias_name": "alias/mine"},
    "UpdateAlias": {"alias_name": "alias/own"},
    "Encrypt": {"plaintext": b"p"},
    "GenerateDataKey": {"number_of_bytes": 16},
    "GenerateDataKeyWithoutPlaintext": {"number_of_bytes": 16},
    "ReEncrypt": {},
}
FIELD = {"CreateAlias": "target_key_id", "UpdateAlias": "target_key_id", "ReEncrypt": "destination_key_id"}


@pytest.mark.parametrize("name", BY_ARN)
def test_keys_of_another_account_by_arn(world: World, name: str) -> None:
    """AccessDeniedException whether there is such a key or not."""
    fields, field = BY_ARN[name], FIELD.get(name, "key_id")
    if name == "ReEncrypt":
        fields = {"ciphertext_blob": world.own_blob}
    present = on_the_wire(world.worker, name, **fields, **{field: world.foreign.arn})
    absent = on_the_wire(world.worker, name, **fields, **{field: world.absent})
    assert present == absent
    action = {"ReEncrypt": "ReEncryptTo"}.get(name, name)
    assert present.text.startswith(
        f"User: {ALICE.arn} is not authorized to perform: kms:{action} on this resource because"
    )
    assert present.code.name == "PERMISSION_DENIED"


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.PENDING_DELETION])
def test_the_state_of_a_foreign_key_is_nobodys_business(shared: Worker, state: KeyState) -> None:
    foreign = shared.create(by=EVE, state=state)
    usage = shared.create(by=EVE)
    shared.change(usage.key_id, usage=KeyUsage.SIGN_VERIFY)
    absent = on_the_wire(shared, "Encrypt", key_id=foreign.arn.replace(foreign.key_id, ABSENT), plaintext=b"p")
    for key in (foreign, usage):
        assert on_the_wire(shared, "Encrypt", key_id=key.arn, plaintext=b"p") == absent


@pytest.mark.parametrize(
    "name", ["DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt"]
)
def test_aliases_of_another_account_by_arn(world: World, name: str) -> None:
    fields, field = BY_ARN[name], FIELD.get(name, "key_id")
    if name == "ReEncrypt":
        fields = {"ciphertext_blob": world.own_blob}
    present = on_the_wire(world.worker, name, **fields, **{field: world.foreign_alias})
    assert present == on_the_wire(world.worker, name, **fields, **{field: world.absent_alias})
    assert present.code.name == "PERMISSION_DENIED"


def test_ids_of_another_account_are_absent(world: World) -> None:
    """By id and by alias name only the caller's own account is looked into."""
    text = f"Key 'arn:aws:kms:{HOME}:{ALICE.account}:key/{world.foreign.key_id}' does not exist"
    assert world.worker.refusal("DescribeKey", key_id=world.foreign.key_id) == Refusal("NotFoundException", text)


def test_a_blobs_key_that_is_absent_foreign_or_elsewhere(world: World) -> None:
    """One answer for four reasons, and for both operations that read blobs."""
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
def test_nothing_else_in_a_call_tells_a_foreign_blobs_key_from_an_absent_one(world: World, kind: str) -> None:
    """A header can be forged for any id, so every other member of a call is a possible oracle. The answer is about the
    key that the call names, where it names one, and about the blob's else."""
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
    """The named key is not the blob's; that it exists, and which key its alias means, is not told."""
    field = {"Decrypt": "key_id", "ReEncrypt": "source_key_id"}[name]
    more = {} if name == "Decrypt" else {"destination_key_id": world.own.key_id}
    answers = {
        on_the_wire(world.worker, name, ciphertext_blob=world.own_blob, **more, **{field: text})
        for text in (world.foreign.arn, world.absent, world.foreign_alias, world.absent_alias)
    }
    assert len(answers) == 1
    assert {answer.code.name for answer in answers} == {"PERMISSION_DENIED"}


# --- the order in which a blob's errors come ------------------------------------------------------------------------


def flip(blob: bytes, offset: int) -> bytes:
    return blob[:offset] + bytes([blob[offset] ^ 1]) + blob[offset + 1 :]


@pytest.mark.parametrize("name", ["Decrypt", "ReEncrypt"])
def test_order_of_a_blobs_errors(shared: Worker, name: str) -> None:
    """The named key's errors · InvalidCiphertext (header) · AccessDenied · IncorrectKey · state · InvalidCiphertext
    (all else)."""
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
def test_a_material_that_the_key_has_not_is_a_damaged_blob(world: World, name: str) -> None:
    """A forged header with a right check: the key is the caller's own, so nothing is hidden by AccessDenied."""
    more = {} if name == "Decrypt" else {"destination_key_id": world.own.key_id}
    refusal = world.worker.refusal(name, ciphertext_blob=forged(world.own.key_id), **more)
    assert (refusal.code, refusal.text) == ("InvalidCiphertextException", "")


def test_incorrect_key_also_where_the_named_key_could_never_decrypt(world: World) -> None:
    mac_key = world.worker.create()
    world.worker.change(mac_key.key_id, usage=KeyUsage.GENERATE_VERIFY_MAC, spec="HMAC_256")
    assert world.worker.refusal("Decrypt", ciphertext_blob=world.own_blob, key_id=mac_key.key_id).text == INCORRECT_KEY


def test_order_of_all_checks(shared: Worker) -> None:
    """Each request is wrong in everything from its place on; one fault after another is mended."""
    key = shared.create(state=KeyState.DISABLED)
    shared.change(key.key_id, usage=KeyUsage.SIGN_VERIFY)
    bad: dict[str, Any] = {"by": "no-such-token-at-all", "region": "mars-north-1", "key_id": "x", "plaintext": b""}

    def told(**mended: Any) -> str:
        bad.update(mended)
        return shared.refusal("Encrypt", **bad).code

    assert told() == "UnrecognizedClientException"
    assert told(by=ALICE) == "ValidationException"
    assert told(region=HOME) == "ValidationException"
    assert told(plaintext=b"p", grant_tokens=["t"]) == "UnsupportedOperationException"
    assert told(grant_tokens=[]) == "NotFoundException"
    assert told(key_id=shared.create(by=EVE).arn) == "AccessDeniedException"
    assert told(key_id=key.key_id, dry_run=True) == "InvalidKeyUsageException"
    shared.change(key.key_id, usage=KeyUsage.ENCRYPT_DECRYPT)
    assert told() == "DisabledException"
    shared.call("EnableKey", key_id=key.key_id)
    assert told() == "DryRunOperationException"
