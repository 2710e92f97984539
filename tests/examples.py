"""One valid request for each operation, and what must exist before it is sent. All tables of operations in tests/ draw
on `EXAMPLES`: bad requests, identifiers, key states, audit records, both front doors, information hiding.

A new operation gets one entry here. Values that must be made first are named by a `Thing`; the sender of the request
makes them: `World` for the generator of bad requests, `Scene` in this process, tests/aws/world.py through a front door.

This file states what must be written by hand. Facts that AWS publishes are in aws_facts.py; what the protos state
(permissions, required fields, limits, secrets) is read from their descriptors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kms_grpc.v1 import envelope_pb2, key_management_pb2

SERVICES = (
    key_management_pb2.DESCRIPTOR.services_by_name["KeyManagementService"],
    envelope_pb2.DESCRIPTOR.services_by_name["EnvelopeService"],
)
METHODS: dict[str, MethodDescriptor] = {method.name: method for service in SERVICES for method in service.methods}
"""All rpcs of the contract, by operation."""


class Thing(NamedTuple):
    """A value that must be made before the request is sent.

    `kind` is "key_id", "grant" (the id of a grant on the key), "alias" (of the key), "new_alias" (a name that is free),
    "blob" (ciphertext of PLAINTEXT under the key and CONTEXT), "message" (an encrypted message under the same),
    "import_token" or "wrapped_material". `key` tells the keys of an operation apart where it has two: "from" and "to".
    """

    kind: str
    key: str = ""


KEY, ALIAS, BLOB = Thing("key_id"), Thing("alias"), Thing("blob")
CONTEXT = {"dept": "it"}
ORDERS = "arn:aws:iam::111122223333:role/orders"
"""A principal, who need not exist."""
PLAINTEXT = b"attack at dawn, bring the \x00\xff grapes"
MATERIAL = b"thirty-two bytes of key material"


@dataclass(frozen=True)
class Example:
    """A valid request as the fields of its message, with a `Thing` for every value that must be made."""

    fields: Mapping[str, Any]
    state: str = "Enabled"
    """State of the key before the call."""
    origin: str = "AWS_KMS"
    """Origin of the key."""
    writes: bool = False
    """The call changes the registry; CloudTrail's readOnly is false."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Members of the audit record's requestParameters that the request leaves to their default."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the request is about, as `Thing.key` names them: ("",), ("from", "to"), or none."""
        return tuple(dict.fromkeys(thing.key for thing in _things(self.fields)))

    @property
    def named(self) -> dict[str, str]:
        """The fields that name a key by id, ARN or alias, each with the key's `Thing.key`."""
        things = {name: thing for name, thing in self.fields.items() if isinstance(thing, Thing)}
        return {name: thing.key for name, thing in things.items() if thing.kind == "key_id"}


def write(fields: Mapping[str, Any], **more: Any) -> Example:
    return Example(fields, writes=True, **more)


def _things(value: Any) -> Iterator[Thing]:
    if isinstance(value, Thing):
        yield value
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _things(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _things(inside)


def filled(value: Any, make: Callable[[Thing], Any]) -> Any:
    """Returns `value` with every Thing replaced by `make(thing)`."""
    if isinstance(value, Thing):
        return make(value)
    if isinstance(value, Mapping):
        return {name: filled(inside, make) for name, inside in value.items()}
    return [filled(inside, make) for inside in value] if isinstance(value, list) else value


def request(name: str, make: Callable[[Thing], Any]) -> Any:
    """Returns the example's message. Enum values of an example are given by name."""
    return request_class(name)(**filled(EXAMPLES[name].fields, make))


def request_class(name: str) -> type[Message]:
    return GetMessageClass(METHODS[name].input_type)


SYMMETRIC = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
SEALED = {"encryption_context": CONTEXT}
MOVED = {"source_encryption_context": CONTEXT, "destination_encryption_context": {"to": "x"}}

OPEN_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}],
    }
)
"""A key policy that lets everybody do everything."""

EXAMPLES: dict[str, Example] = {
    "CreateKey": write({"description": "an example", "key_spec": "KEY_SPEC_SYMMETRIC_DEFAULT"}),
    "DescribeKey": Example({"key_id": KEY}),
    "ListKeys": Example({"limit": 10}),
    "EnableKey": write({"key_id": KEY}, state="Disabled"),
    "DisableKey": write({"key_id": KEY}),
    "UpdateKeyDescription": write({"key_id": KEY, "description": "new words"}),
    "ScheduleKeyDeletion": write({"key_id": KEY, "pending_window_in_days": 7}),
    "CancelKeyDeletion": write({"key_id": KEY}, state="PendingDeletion"),
    "TagResource": write({"key_id": KEY, "tags": [{"tag_key": "team", "tag_value": "payroll"}]}),
    "UntagResource": write({"key_id": KEY, "tag_keys": ["team"]}),
    "ListResourceTags": Example({"key_id": KEY, "limit": 10}),
    "PutKeyPolicy": write({"key_id": KEY, "policy": OPEN_POLICY}),
    "GetKeyPolicy": Example({"key_id": KEY, "policy_name": "default"}),
    "ListKeyPolicies": Example({"key_id": KEY, "limit": 10}),
    "EnableKeyRotation": write({"key_id": KEY, "rotation_period_in_days": 90}),
    "DisableKeyRotation": write({"key_id": KEY}),
    "GetKeyRotationStatus": Example({"key_id": KEY}),
    "RotateKeyOnDemand": write({"key_id": KEY}),
    "ListKeyRotations": Example({"key_id": KEY, "limit": 10}),
    "GetParametersForImport": write(
        {
            "key_id": KEY,
            "wrapping_algorithm": "ALGORITHM_SPEC_RSAES_OAEP_SHA_256",
            "wrapping_key_spec": "WRAPPING_KEY_SPEC_RSA_2048",
        },
        state="PendingImport",
        origin="EXTERNAL",
    ),
    "ImportKeyMaterial": write(
        {
            "key_id": KEY,
            "import_token": Thing("import_token"),
            "encrypted_key_material": Thing("wrapped_material"),
            "expiration_model": "EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE",
        },
        state="PendingImport",
        origin="EXTERNAL",
    ),
    "DeleteImportedKeyMaterial": write({"key_id": KEY}, state="PendingImport", origin="EXTERNAL"),
    "CreateAlias": write({"alias_name": Thing("new_alias"), "target_key_id": KEY}),
    "UpdateAlias": write({"alias_name": Thing("alias", "from"), "target_key_id": Thing("key_id", "to")}),
    "DeleteAlias": write({"alias_name": ALIAS}),
    "ListAliases": Example({"key_id": KEY, "limit": 10}),
    "CreateGrant": write(
        {"key_id": KEY, "grantee_principal": ORDERS, "operations": ["GRANT_OPERATION_DECRYPT"], "name": "orders"}
    ),
    "ListGrants": Example({"key_id": KEY, "limit": 10}),
    "ListRetirableGrants": Example({"retiring_service_principal": "s3.amazonaws.com", "limit": 10}),
    "RetireGrant": write({"key_id": KEY, "grant_id": Thing("grant")}),
    "RevokeGrant": write({"key_id": KEY, "grant_id": Thing("grant")}),
    "Encrypt": Example({"key_id": KEY, "plaintext": PLAINTEXT, **SEALED}, recorded=SYMMETRIC),
    "Decrypt": Example({"key_id": KEY, "ciphertext_blob": BLOB, **SEALED}, recorded=SYMMETRIC),
    "ReEncrypt": Example(
        {
            "source_key_id": Thing("key_id", "from"),
            "ciphertext_blob": Thing("blob", "from"),
            "destination_key_id": Thing("key_id", "to"),
            **MOVED,
        },
        recorded={
            "sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        },
    ),
    "GenerateDataKey": Example({"key_id": KEY, "number_of_bytes": 32, **SEALED}),
    "GenerateDataKeyWithoutPlaintext": Example({"key_id": KEY, "number_of_bytes": 24, **SEALED}),
    "GenerateRandom": Example({"number_of_bytes": 16}),
    "EncryptBatch": Example({"key_id": KEY, "items": [{"plaintext": PLAINTEXT}] * 3, **SEALED}),
    "DecryptBatch": Example({"items": [{"ciphertext_blob": BLOB}] * 2, **SEALED}),
    "ReEncryptBatch": Example(
        {
            "destination_key_id": Thing("key_id", "to"),
            "items": [{"ciphertext_blob": Thing("blob", "from")}] * 2,
            **MOVED,
        }
    ),
    "GenerateDataKeyBatch": Example({"key_id": KEY, "number_of_bytes": 32, "items": [{"count": 2}]}),
    "EncryptStream": Example({"key_id": KEY, "plaintext": PLAINTEXT, "last": True, **SEALED}),
    "DecryptStream": Example({"ciphertext": Thing("message")}),
    "GetLimits": Example({}),
    "ExplainDecision": Example({"principal": "arn:aws:iam::111122223333:user/bob", "action": "kms:ListKeys"}),
}
"""A stream's example is its first and only message."""
