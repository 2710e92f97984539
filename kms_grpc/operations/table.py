"""All operations, a row each: what the executor asks before the handler runs. An rpc without a row cannot be served.

Limits of single fields are in the protos, key states in model/key_state.py.
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto import raw_request
from kms_grpc.model.key import KeyUsage
from kms_grpc.model.key_state import LET_GO, RULES
from kms_grpc.operations.admission.message_selector import ByMessage
from kms_grpc.operations.admission.selectors import ByAlias, ByBlob, ById, ByIdIfNamed
from kms_grpc.operations.contract.descriptors import field_limits
from kms_grpc.operations.handlers import (
    aliases,
    cryptography,
    deletion,
    importing,
    keys,
    limits,
    rotation,
    streams,
    tags,
)
from kms_grpc.operations.kinds.answering import RawForm
from kms_grpc.operations.kinds.batch import BatchForm
from kms_grpc.operations.operation import Operation
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb

ENCRYPT_DECRYPT = KeyUsage.ENCRYPT_DECRYPT
ENVELOPE = "kms_grpc.v1.EnvelopeService"


def _managed(operation: str) -> ById:
    """The key of an operation that changes it: by id or ARN, customer managed."""
    return ById(field="key_id", action=f"kms:{operation}", rule=RULES[operation], invalid_arn=True)


def _used(operation: str) -> ById:
    """The key that an operation encrypts with: by id, ARN or alias."""
    return ById(
        field="key_id",
        action=f"kms:{operation}",
        rule=RULES[operation],
        usage=ENCRYPT_DECRYPT,
        context="encryption_context",
        aliases=True,
    )


def _target(operation: str) -> ById:
    """The key that an alias is to point at: customer managed."""
    return ById(field="target_key_id", action=f"kms:{operation}", rule=RULES[operation])


def _pointed_at(operation: str) -> ByAlias:
    """The key that an alias points at so far; its state is no obstacle."""
    return ByAlias(field="alias_name", action=f"kms:{operation}", rule=LET_GO)


DESCRIBED = ById(field="key_id", action="kms:DescribeKey", rule=RULES["DescribeKey"], aliases=True, invalid_arn=True)
LISTED = ByIdIfNamed(field="key_id", action="kms:ListAliases", rule=RULES["ListAliases"], invalid_arn=True)
ENCRYPTED = _used("Encrypt")
DATA_KEY_WRAPPED = _used("GenerateDataKey")
DECRYPTED = ByBlob(
    blob="ciphertext_blob",
    named="key_id",
    action="kms:Decrypt",
    rule=RULES["Decrypt"],
    usage=ENCRYPT_DECRYPT,
    context="encryption_context",
)
MESSAGE = ByMessage(
    blob="ciphertext",
    named="key_id",
    action="kms:Decrypt",
    rule=RULES["Decrypt"],
    usage=ENCRYPT_DECRYPT,
    context="encryption_context",
)
SOURCE = ByBlob(
    blob="ciphertext_blob",
    named="source_key_id",
    action="kms:ReEncryptFrom",
    rule=RULES["ReEncrypt"],
    usage=ENCRYPT_DECRYPT,
    context="source_encryption_context",
)
DESTINATION = ById(
    field="destination_key_id",
    action="kms:ReEncryptTo",
    rule=RULES["ReEncrypt"],
    usage=ENCRYPT_DECRYPT,
    context="destination_encryption_context",
    aliases=True,
)

ENCRYPTS = RawForm(raw_request.ENCRYPT, field_limits(pb.EncryptRequest, "plaintext").max, cryptography.sealing_material)
DECRYPTS = RawForm(
    raw_request.DECRYPT, field_limits(pb.DecryptRequest, "ciphertext_blob").max, cryptography.opening_material
)

RE_ENCRYPTS = BatchForm(
    raw_request.RE_ENCRYPT, envelope_pb2.ReEncryptBatchItem, key="destination_key_id", source_key="source_key_id"
)

WRITES: Any = {"writes": True, "read_only": False}
CREATES: Any = WRITES | {"idempotent": True}
SECRET: Any = {"yields_secrets": True}

TABLE = (
    Operation("CreateKey", pb.CreateKeyRequest, keys.create_key, action="kms:CreateKey", **CREATES),
    Operation("DescribeKey", pb.DescribeKeyRequest, keys.describe_key, (DESCRIBED,)),
    Operation("ListKeys", pb.ListKeysRequest, keys.list_keys, action="kms:ListKeys"),
    Operation("EnableKey", pb.EnableKeyRequest, keys.enable_key, (_managed("EnableKey"),), **WRITES),
    Operation("DisableKey", pb.DisableKeyRequest, keys.disable_key, (_managed("DisableKey"),), **WRITES),
    Operation("UpdateKeyDescription", pb.UpdateKeyDescriptionRequest, keys.update_key_description,
              (_managed("UpdateKeyDescription"),), **WRITES),
    Operation("CreateAlias", pb.CreateAliasRequest, aliases.create_alias, (_target("CreateAlias"),), **CREATES),
    Operation("UpdateAlias", pb.UpdateAliasRequest, aliases.update_alias,
              (_pointed_at("UpdateAlias"), _target("UpdateAlias")), **WRITES),
    Operation("DeleteAlias", pb.DeleteAliasRequest, aliases.delete_alias, (_pointed_at("DeleteAlias"),), **WRITES),
    Operation("ListAliases", pb.ListAliasesRequest, aliases.list_aliases, (LISTED,), action="kms:ListAliases"),
    Operation("ScheduleKeyDeletion", pb.ScheduleKeyDeletionRequest, deletion.schedule_key_deletion,
              (_managed("ScheduleKeyDeletion"),), **WRITES),
    Operation("CancelKeyDeletion", pb.CancelKeyDeletionRequest, deletion.cancel_key_deletion,
              (_managed("CancelKeyDeletion"),), **WRITES),
    Operation("TagResource", pb.TagResourceRequest, tags.tag_resource, (_managed("TagResource"),), **WRITES),
    Operation("UntagResource", pb.UntagResourceRequest, tags.untag_resource, (_managed("UntagResource"),), **WRITES),
    Operation("ListResourceTags", pb.ListResourceTagsRequest, tags.list_resource_tags,
              (_managed("ListResourceTags"),)),
    Operation("EnableKeyRotation", pb.EnableKeyRotationRequest, rotation.enable_key_rotation,
              (_managed("EnableKeyRotation"),), **WRITES),
    Operation("DisableKeyRotation", pb.DisableKeyRotationRequest, rotation.disable_key_rotation,
              (_managed("DisableKeyRotation"),), **WRITES),
    Operation("GetKeyRotationStatus", pb.GetKeyRotationStatusRequest, rotation.get_key_rotation_status,
              (_managed("GetKeyRotationStatus"),)),
    Operation("RotateKeyOnDemand", pb.RotateKeyOnDemandRequest, rotation.rotate_key_on_demand,
              (_managed("RotateKeyOnDemand"),), **WRITES),
    Operation("ListKeyRotations", pb.ListKeyRotationsRequest, rotation.list_key_rotations,
              (_managed("ListKeyRotations"),)),
    Operation("GetParametersForImport", pb.GetParametersForImportRequest, importing.get_parameters_for_import,
              (_managed("GetParametersForImport"),), prepare=importing.take_pair, **WRITES),
    Operation("ImportKeyMaterial", pb.ImportKeyMaterialRequest, importing.import_key_material,
              (_managed("ImportKeyMaterial"),), **WRITES),
    Operation("DeleteImportedKeyMaterial", pb.DeleteImportedKeyMaterialRequest,
              importing.delete_imported_key_material, (_managed("DeleteImportedKeyMaterial"),), **WRITES),
    Operation("Encrypt", pb.EncryptRequest, cryptography.encrypt, (ENCRYPTED,), form=ENCRYPTS),
    Operation("Decrypt", pb.DecryptRequest, cryptography.decrypt, (DECRYPTED,), form=DECRYPTS, **SECRET),
    Operation("ReEncrypt", pb.ReEncryptRequest, cryptography.re_encrypt, (SOURCE, DESTINATION)),
    Operation("GenerateDataKey", pb.GenerateDataKeyRequest, cryptography.generate_data_key,
              (DATA_KEY_WRAPPED,), **SECRET),
    Operation("GenerateDataKeyWithoutPlaintext", pb.GenerateDataKeyWithoutPlaintextRequest,
              cryptography.generate_data_key_without_plaintext, (_used("GenerateDataKeyWithoutPlaintext"),)),
    Operation("GenerateRandom", pb.GenerateRandomRequest, cryptography.generate_random,
              action="kms:GenerateRandom", **SECRET),
    Operation("EncryptBatch", envelope_pb2.EncryptBatchRequest, cryptography.encrypt_batch, (ENCRYPTED,),
              batch=BatchForm(raw_request.ENCRYPT, envelope_pb2.EncryptBatchItem), service=ENVELOPE),
    Operation("DecryptBatch", envelope_pb2.DecryptBatchRequest, cryptography.decrypt_batch, (DECRYPTED,),
              batch=BatchForm(raw_request.DECRYPT, envelope_pb2.DecryptBatchItem), service=ENVELOPE, **SECRET),
    Operation("ReEncryptBatch", envelope_pb2.ReEncryptBatchRequest, cryptography.re_encrypt_batch,
              (SOURCE, DESTINATION), batch=RE_ENCRYPTS, service=ENVELOPE),
    Operation("GenerateDataKeyBatch", envelope_pb2.GenerateDataKeyBatchRequest, cryptography.generate_data_key_batch,
              (DATA_KEY_WRAPPED,),
              batch=BatchForm(raw_request.DATA_KEY, envelope_pb2.GenerateDataKeyBatchItem), service=ENVELOPE, **SECRET),
    Operation("EncryptStream", envelope_pb2.EncryptStreamRequest, streams.encrypt_stream,
              (DATA_KEY_WRAPPED,), service=ENVELOPE),
    Operation("DecryptStream", envelope_pb2.DecryptStreamRequest, streams.decrypt_stream, (MESSAGE,),
              service=ENVELOPE, **SECRET),
    Operation("GetLimits", envelope_pb2.GetLimitsRequest, limits.get_limits, service=ENVELOPE),
)  # fmt: skip
"""In this order operations are numbered in the counter files."""

NAMES = tuple(operation.name for operation in TABLE)
