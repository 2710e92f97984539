"""AWS owned keys are invisible: by id, ARN, alias, blob and in lists. The service's own account audits their use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.crypto.envelope import seal
from kms_grpc.errors import KMSError
from kms_grpc.model.arn import alias_arn
from kms_grpc.model.key import Key
from kms_grpc.registry.owned_keys import IMPORT_TOKENS, IMPORT_WRAPPING_KEYS, find_owned_key, owned_key
from tests.operations.external_keys import external, package, wanted
from tests.operations.service import HOME, Host, Worker

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
ALIAS = "alias/import-tokens"
ASKED: list[tuple[str, Callable[[Key], dict[str, Any]], str]] = [
    ("DescribeKey", lambda key: {"key_id": key.key_id}, "NotFoundException"),
    ("DescribeKey", lambda key: {"key_id": key.arn}, "AccessDeniedException"),
    ("DescribeKey", lambda key: {"key_id": ALIAS}, "NotFoundException"),
    ("Encrypt", lambda key: {"key_id": key.arn, "plaintext": b"p"}, "AccessDeniedException"),
    ("DisableKey", lambda key: {"key_id": key.key_id}, "NotFoundException"),
    ("CreateAlias", lambda key: {"target_key_id": key.key_id, "alias_name": "alias/mine"}, "NotFoundException"),
    ("ListAliases", lambda key: {"key_id": key.key_id}, "NotFoundException"),
]


@pytest.mark.parametrize(("name", "fields", "code"), ASKED)
def test_no_request_finds_one(shared: Worker, name: str, fields: Callable[[Key], dict[str, Any]], code: str) -> None:
    """The error is exactly that of a key that does not exist."""
    key = owned_key(shared.shard(HOME), "import-tokens", 7)
    asked = fields(key)
    refusal = shared.refusal(name, **asked)
    assert refusal.code == code
    absent = {
        member: value.replace(key.key_id, UNKNOWN_ID) if isinstance(value, str) else value
        for member, value in asked.items()
    }
    assert shared.refusal(name, **absent).text.replace(UNKNOWN_ID, key.key_id) == refusal.text


def test_its_alias_cannot_be_named_across_accounts(shared: Worker) -> None:
    shard = shared.shard(HOME)
    owned_key(shard, "import-tokens", 7)
    named, absent = (alias_arn(shard.partition, shard.region, shard.account, name) for name in (ALIAS, "alias/nothing"))
    there, nothing = (shared.refusal("DescribeKey", key_id=arn) for arn in (named, absent))
    assert (there.code, there.text) == (nothing.code, nothing.text) == ("AccessDeniedException", nothing.text)


def test_its_blobs_cannot_be_decrypted(shared: Worker) -> None:
    shard = shared.shard(HOME)
    key = owned_key(shard, "import-tokens", 7)
    loaded = shard.current_material(key)
    blob = seal(loaded.handle, loaded.prefix, loaded.associated_prefix + b"\0\0\0\0", b"token")
    assert shared.refusal("Decrypt", ciphertext_blob=blob).code == "AccessDeniedException"


def test_no_list_shows_one(shared: Worker) -> None:
    key = owned_key(shared.shard(HOME), "import-tokens", 7)
    shared.create()
    listed = shared.call("ListKeys", limit=1000).keys
    assert listed
    assert key.key_id not in {entry.key_id for entry in listed}
    assert ALIAS not in {entry.alias_name for entry in shared.call("ListAliases", limit=100).aliases}


# --- the service's own audit ----------------------------------------------------------------------------------------

Event = tuple[str, str, str | None, str]
"""(eventName, purpose, errorCode, requestID)."""
PAIR_MADE = "GenerateDataKeyPairWithoutPlaintext"


def uses(worker: Worker) -> list[Event]:
    """Returns the records of the service's own account since the last call, and checks that each is complete."""
    worker.audit(), worker.outbox()
    records, worker.of_the_service = worker.of_the_service, []
    for record in records:
        purpose = record["serviceEventDetails"]["purpose"]
        key = find_owned_key(worker.shard(), purpose)
        assert key is not None
        assert record["resources"] == [{"accountId": key.account, "type": "AWS::KMS::Key", "ARN": key.arn}]
        assert record["userIdentity"] == {"accountId": key.account, "invokedBy": "AWS Internal"}
        assert (record["eventType"], record["recipientAccountId"]) == ("AwsServiceEvent", worker.shard().account)
        assert record["readOnly"] is (record["eventName"] != "CreateKey")
    details = [record["serviceEventDetails"] for record in records]
    return [
        (record["eventName"], detail["purpose"], record.get("errorCode"), detail.get("requestID"))
        for record, detail in zip(records, details, strict=True)
    ]


def test_each_use_is_in_the_services_own_audit(host: Host) -> None:
    """Every use is recorded from the first pair to the import, also in refused calls; in the call's transaction if it
    commits."""
    worker = host.worker()
    key_id, material = external(worker).key_id, os.urandom(32)
    fields = package(worker, key_id, material)
    first = [("CreateKey", purpose, None, None) for purpose in (IMPORT_WRAPPING_KEYS, IMPORT_TOKENS)]
    (sealed,) = [
        event for event in uses(worker) if event not in [*first, (PAIR_MADE, IMPORT_WRAPPING_KEYS, None, None)]
    ]
    assert sealed[:3] == ("Encrypt", IMPORT_TOKENS, None)

    def recorded(request_id: str, **changed: Any) -> list[Event]:
        try:
            worker.call("ImportKeyMaterial", request_id=request_id, **fields | changed)
        except KMSError as error:
            assert error.code in ("InvalidImportTokenException", "InvalidCiphertextException")
        return uses(worker)

    opened = ("Decrypt", IMPORT_TOKENS, None)
    unwrapped = ("Decrypt", IMPORT_WRAPPING_KEYS, None)
    assert recorded("forged", import_token=b"x" * 200) == [
        ("Decrypt", IMPORT_TOKENS, "InvalidCiphertextException", "forged")
    ]
    assert recorded("rubbish", encrypted_key_material=b"x" * 256) == [(*opened, "rubbish"), (*unwrapped, "rubbish")]
    assert recorded("right") == [(*opened, "right"), (*unwrapped, "right")]
    assert recorded("again") == [(*opened, "again")]
    worker.call("GetParametersForImport", request_id="fresh", **wanted(key_id))
    assert uses(worker) == [(PAIR_MADE, IMPORT_WRAPPING_KEYS, None, "fresh"), ("Encrypt", IMPORT_TOKENS, None, "fresh")]


def test_a_use_is_recorded_in_the_transaction_it_belongs_to(host: Host) -> None:
    worker = host.worker()
    fields = package(worker, external(worker).key_id, os.urandom(32))
    uses(worker)
    worker.call("ImportKeyMaterial", **fields)
    rows = [json.loads(row.record) for row in worker.shard().registry.outbox.oldest(9)]
    assert [row["eventName"] for row in rows] == ["Decrypt", "Decrypt", "ImportKeyMaterial"]
    assert {row["serviceEventDetails"]["requestID"] for row in rows[:2]} == {rows[2]["requestID"]}
