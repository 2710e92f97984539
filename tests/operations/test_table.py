"""The table of operations agrees with the contract: rows, messages, permissions, and what is served."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from google.protobuf.descriptor import MethodDescriptor

from kms_grpc.model.key_state import RULES
from kms_grpc.operations import table
from kms_grpc.operations.admission.selectors import ByBlob, ById
from kms_grpc.operations.contract.descriptors import permissions
from kms_grpc.operations.kinds.batch import Batch
from kms_grpc.operations.kinds.batch_groups import Materials
from kms_grpc.operations.kinds.stream_work import StreamWork
from kms_grpc.operations.kinds.write import Write
from kms_grpc.operations.operation import Operation
from kms_grpc.v1 import envelope_pb2, key_management_pb2

SERVICES = (
    key_management_pb2.DESCRIPTOR.services_by_name["KeyManagementService"],
    envelope_pb2.DESCRIPTOR.services_by_name["EnvelopeService"],
)
RPCS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods
}
ROWS: dict[str, Operation] = {operation.path: operation for operation in table.TABLE}
SPINE = [
    "CreateKey",
    "DescribeKey",
    "ListKeys",
    "EnableKey",
    "DisableKey",
    "UpdateKeyDescription",
    "CreateAlias",
    "UpdateAlias",
    "DeleteAlias",
    "ListAliases",
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateRandom",
    "GetLimits",
]
LIFE = [
    "ScheduleKeyDeletion",
    "CancelKeyDeletion",
    "TagResource",
    "UntagResource",
    "ListResourceTags",
    "EnableKeyRotation",
    "DisableKeyRotation",
    "GetKeyRotationStatus",
    "RotateKeyOnDemand",
    "ListKeyRotations",
    "GetParametersForImport",
    "ImportKeyMaterial",
    "DeleteImportedKeyMaterial",
]
BATCHES = ["EncryptBatch", "DecryptBatch", "ReEncryptBatch", "GenerateDataKeyBatch"]


STREAMS = ["EncryptStream", "DecryptStream"]


def test_rows_are_the_rpcs_of_the_services() -> None:
    assert ROWS.keys() == RPCS.keys()
    assert len(table.TABLE) == len(ROWS), "a row stands twice"
    assert sorted(table.NAMES) == sorted(SPINE + LIFE + BATCHES + STREAMS)


@pytest.mark.parametrize("path", ROWS)
def test_row_speaks_the_messages_of_its_rpc(path: str) -> None:
    row, rpc = ROWS[path], RPCS[path]
    assert row.request.DESCRIPTOR is rpc.input_type
    assert row.response.DESCRIPTOR is rpc.output_type
    hints = typing.get_type_hints(row.kind.handler)  # type: ignore[attr-defined]
    if isinstance(row.kind, Batch):
        item = row.kind.items.item
        assert hints["return"] is Materials
        assert hints["item"] is item
        assert item.DESCRIPTOR is row.request.DESCRIPTOR.fields_by_name["items"].message_type
        return
    assert hints["return"] is (StreamWork if row.streams else row.response)
    assert hints["request"] is row.request, "the handler is written for another message"


@pytest.mark.parametrize("path", ROWS)
def test_row_asks_for_the_permissions_of_its_rpc(path: str) -> None:
    row = ROWS[path]
    asked = [row.action] if row.action else []
    asked += [key.action for key in row.keys]
    assert tuple(dict.fromkeys(asked)) == permissions(RPCS[path]), "in the order of the contract, each once"


@pytest.mark.parametrize("path", ROWS)
def test_row_reads_fields_that_its_request_has(path: str) -> None:
    row = ROWS[path]
    named = [
        name
        for key in row.keys
        for name in (key.context, getattr(key, "field", None), getattr(key, "blob", None), getattr(key, "named", None))
    ]
    message = row.kind.items.item if isinstance(row.kind, Batch) else row.request
    assert {name for name in named if name} <= set(message.DESCRIPTOR.fields_by_name)
    contexts = {name for name in message.DESCRIPTOR.fields_by_name if name.endswith("encryption_context")}
    assert contexts == {key.context for key in row.keys if key.context}, "a context that no authorizer sees"


IDEMPOTENT = {"CreateKey", "CreateAlias"}  # what creates can be repeated by its request id
LIFE_READ = {"ListResourceTags", "GetKeyRotationStatus", "ListKeyRotations"}
WRITES = IDEMPOTENT | {"EnableKey", "DisableKey", "UpdateKeyDescription", "UpdateAlias", "DeleteAlias"}
WRITES |= set(LIFE) - LIFE_READ
# answers that hold plaintext wait for their audit record
SECRETS = {"Decrypt", "DecryptStream", "DecryptBatch", "GenerateDataKey", "GenerateDataKeyBatch", "GenerateRandom"}
USES = {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
WARM = {"DescribeKey"} | USES | LIFE_READ
# may name a key by alias
ALIASES = {
    "DescribeKey",
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    *BATCHES,
    *STREAMS,
}
# know InvalidArnException
INVALID_ARN = {
    "DescribeKey",
    "EnableKey",
    "DisableKey",
    "UpdateKeyDescription",
    "ListAliases",
    *LIFE,
}


@pytest.mark.parametrize(
    ("column", "operations"),
    [
        ("writes", WRITES),
        ("yields_secrets", SECRETS),
        ("warm", WARM),
        ("dry_run", USES),
    ],
)
def test_columns(column: str, operations: set[str]) -> None:
    assert {row.name for row in table.TABLE if getattr(row, column)} == operations


def test_creating_operations_are_idempotent() -> None:
    assert {row.name for row in table.TABLE if isinstance(row.kind, Write) and row.kind.idempotent} == IDEMPOTENT


def test_read_only_is_all_that_does_not_write() -> None:
    assert {row.name for row in table.TABLE if not row.read_only} == WRITES


def test_aliases_and_invalid_arns_are_known_where_the_catalogue_says() -> None:
    by_id = {row.name: [key for key in row.keys if isinstance(key, ById)] for row in table.TABLE}
    takes_aliases = {name for name, keys in by_id.items() if any(key.aliases for key in keys)}
    takes_aliases |= {row.name for row in table.TABLE if any(isinstance(key, ByBlob) for key in row.keys)}
    assert takes_aliases == ALIASES
    assert {name for name, keys in by_id.items() if any(key.invalid_arn for key in keys)} == INVALID_ARN


def test_every_row_with_a_key_has_its_rule() -> None:
    """A batch's and a stream's is that of the operation whose permission it needs; a batch has the same keys."""
    for row in table.TABLE:
        single = row.name.removesuffix("Batch")
        for key in row.keys:
            name = key.action.removeprefix("kms:") if row.streams else single
            assert key.rule is RULES[name] or row.name == "UpdateAlias"
        assert not isinstance(row.kind, Batch) or row.keys == table.TABLE[table.NAMES.index(single)].keys


def test_streams_are_those_of_the_contract() -> None:
    streaming = {method.name for method in RPCS.values() if method.client_streaming or method.server_streaming}
    assert {row.name for row in table.TABLE if row.streams} == streaming == set(STREAMS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keys": (), "action": None}, "a row that asks for nothing would serve everybody"),
        ({"idempotent": True}, "what is remembered must be written with the work"),
    ],
)
def test_rows_that_make_no_sense_are_refused(changes: dict[str, object], reason: str) -> None:
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
        table.joined([row.kind], [row.kind])
