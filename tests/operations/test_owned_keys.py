"""Keys that AWS owns are there for nobody: not by id, ARN, alias or blob, and not in any list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.crypto.envelope import seal
from kms_grpc.model.arn import alias_arn
from kms_grpc.model.key import Key
from kms_grpc.registry.owned_keys import owned_key
from tests.operations.service import HOME, Worker

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
    """The answer is that of a key that does not exist, word for word."""
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


def test_its_blobs_are_opened_for_nobody(shared: Worker) -> None:
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
