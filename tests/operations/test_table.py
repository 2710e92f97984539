"""The table of operations agrees with the contract and with AWS's model: messages, permissions, columns."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from google.protobuf.descriptor import Descriptor

from kms_grpc.aws_members import is_map
from kms_grpc.model.key_state import RULES
from kms_grpc.operations import table
from kms_grpc.operations.admission.selectors import ByBlob, ById
from kms_grpc.operations.contract.descriptors import is_secret, limits, permissions
from kms_grpc.operations.kinds.batch import Batch
from kms_grpc.operations.kinds.batch_groups import ItemMaterials
from kms_grpc.operations.kinds.stream_work import StreamWork
from kms_grpc.operations.kinds.write import Write
from kms_grpc.operations.operation import Operation
from tests.aws_facts import TAKES_ALIASES, errors_of, members_of
from tests.examples import EXAMPLES, METHODS

RPCS = {f"/{method.containing_service.full_name}/{method.name}": method for method in METHODS.values()}
ROWS: dict[str, Operation] = {operation.path: operation for operation in table.TABLE}


def test_rows_are_the_rpcs_of_the_services() -> None:
    assert ROWS.keys() == RPCS.keys()
    assert len(table.TABLE) == len(ROWS), "two rows for one rpc"
    assert sorted(table.NAMES) == sorted(EXAMPLES)


@pytest.mark.parametrize("path", ROWS)
def test_a_row_has_the_messages_of_its_rpc(path: str) -> None:
    row, rpc = ROWS[path], RPCS[path]
    assert row.request.DESCRIPTOR is rpc.input_type
    assert row.response.DESCRIPTOR is rpc.output_type
    hints = typing.get_type_hints(row.kind.handler)  # type: ignore[attr-defined]
    if isinstance(row.kind, Batch):
        item = row.kind.items.item
        assert hints["return"] is ItemMaterials
        assert hints["item"] is item
        assert item.DESCRIPTOR is row.request.DESCRIPTOR.fields_by_name["items"].message_type
        return
    assert hints["return"] is (StreamWork if row.streams else row.response)
    assert hints["request"] is row.request, "the handler is written for another message"


@pytest.mark.parametrize("path", ROWS)
def test_a_row_requires_the_permissions_of_its_rpc(path: str) -> None:
    row = ROWS[path]
    asked = [row.action] if row.action else []
    asked += [key.action for key in row.keys]
    assert tuple(dict.fromkeys(asked)) == permissions(RPCS[path]), "in the order of the contract, each once"


@pytest.mark.parametrize("path", ROWS)
def test_a_row_names_fields_of_its_request(path: str) -> None:
    row = ROWS[path]
    named = [
        name
        for key in row.keys
        for name in (key.context, getattr(key, "field", None), getattr(key, "blob", None), getattr(key, "named", None))
    ]
    message = row.kind.items.item if isinstance(row.kind, Batch) else row.request
    assert {name for name in named if name} <= set(message.DESCRIPTOR.fields_by_name)
    contexts = {name for name in message.DESCRIPTOR.fields_by_name if name.endswith("encryption_context")}
    if row.name == "ExplainDecision":  # its context is that of another call (test_explaining.py)
        return
    assert contexts == {key.context for key in row.keys if key.context}, "a context that no authorizer sees"


NO_PLAINTEXT = {
    "CreateGrant": "a grant token, which is no credential",
    "GetParametersForImport": "its public key, which AWS's model calls sensitive",
}
"""Answers with a secret field that holds neither plaintext nor a plaintext key."""


def holds_a_secret(message: Descriptor) -> bool:
    inside = [field.message_type for field in message.fields if field.message_type and not is_map(field)]
    return any(is_secret(field) for field in message.fields) or any(map(holds_a_secret, inside))


def names_its_key(message: Descriptor) -> bool:
    """Says whether the request must name its key, or carry a ciphertext, which names its key."""
    fields = message.fields_by_name.values()
    return any(f.name == "ciphertext_blob" or (f.name.endswith("key_id") and limits(f).required) for f in fields)


def is_unary(row: Operation) -> bool:
    return "Batch" not in row.name and not RPCS[row.path].client_streaming


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_columns(row: Operation) -> None:
    """The expected columns come from the example, the contract or AWS's model, never from the row itself."""
    rpc, example = RPCS[row.path], EXAMPLES[row.name]
    assert row.writes is example.writes
    assert row.read_only is not example.writes
    idempotent = isinstance(row.kind, Write) and row.kind.idempotent
    assert idempotent is row.name.startswith("Create"), "a call that creates can be repeated"
    assert row.yields_secrets is (holds_a_secret(rpc.output_type) and row.name not in NO_PLAINTEXT)
    assert row.dry_run is ("DryRun" in members_of(row.name))
    assert row.warm is (is_unary(row) and not example.writes and names_its_key(rpc.input_type))


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_a_row_takes_aliases_and_answers_invalid_arns_as_aws_does(row: Operation) -> None:
    by_id = [key for key in row.keys if isinstance(key, ById)]
    takes_aliases = any(key.aliases for key in by_id) or any(isinstance(key, ByBlob) for key in row.keys)
    single = row.name.removesuffix("Batch")
    assert takes_aliases is (single in TAKES_ALIASES or row.streams)
    if by_id:
        assert any(key.invalid_arn for key in by_id) is ("InvalidArnException" in errors_of(row.name))


def test_every_row_with_a_key_has_its_rule() -> None:
    """A batch has the keys of its single operation; a stream the rule of the operation whose permission it needs."""
    for row in table.TABLE:
        single = row.name.removesuffix("Batch")
        for key in row.keys:
            name = key.action.removeprefix("kms:") if row.streams else single
            assert key.rule is RULES[name] or row.name == "UpdateAlias"
        assert not isinstance(row.kind, Batch) or row.keys == table.TABLE[table.NAMES.index(single)].keys


def test_streams_are_those_of_the_contract() -> None:
    streaming = {method.name for method in RPCS.values() if method.client_streaming or method.server_streaming}
    assert {row.name for row in table.TABLE if row.streams} == streaming


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keys": (), "action": None}, "a row without a permission would serve everybody"),
        ({"idempotent": True}, "an answer is remembered in the transaction of its write"),
    ],
)
def test_contradictory_rows_are_refused(changes: dict[str, object], reason: str) -> None:
    row = next(row for row in table.TABLE if row.name == "Encrypt")
    with pytest.raises(TypeError):
        dataclasses.replace(row.kind, **changes)


def test_a_row_without_an_rpc_is_refused() -> None:
    row = next(row for row in table.TABLE if row.name == "Encrypt")
    with pytest.raises(TypeError, match=r"Seal: kms_grpc\.v1\.KeyManagementService has no such rpc"):
        table.joined([dataclasses.replace(row.kind, name="Seal")])


def test_two_rows_of_one_name_are_refused() -> None:
    row = next(row for row in table.TABLE if row.name == "Encrypt")
    with pytest.raises(TypeError, match="Encrypt: two rows declare it"):
        table.joined([row.kind, row.kind])
