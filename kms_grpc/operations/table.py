"""All operations, a row each: what the executor asks before the handler runs. An rpc without a row cannot be served.

Limits of single fields are in the protos, key states in model/key_state.py.
"""

from __future__ import annotations

from kms_grpc.model.key import KeyUsage
from kms_grpc.model.key_state import READ, RULES
from kms_grpc.operations.handlers import aliases, cryptography, keys, limits
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.selectors import ByAlias, ByBlob, ById
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb

ENCRYPT_DECRYPT = KeyUsage.ENCRYPT_DECRYPT


def _managed(operation: str) -> ById:
    """The key of an operation that changes it: by id or ARN, customer managed."""
    return ById("key_id", f"kms:{operation}", RULES[operation], changes=True, invalid_arn=True)


def _used(operation: str) -> ById:
    """The key that an operation encrypts with: by id, ARN or alias."""
    return ById("key_id", f"kms:{operation}", RULES[operation], ENCRYPT_DECRYPT, "encryption_context", aliases=True)


TABLE = (
    Operation("CreateKey", pb.CreateKeyRequest, keys.create_key,
              action="kms:CreateKey", writes=True, idempotent=True, read_only=False),
    Operation("DescribeKey", pb.DescribeKeyRequest, keys.describe_key,
              (ById("key_id", "kms:DescribeKey", RULES["DescribeKey"], aliases=True, invalid_arn=True),)),
    Operation("ListKeys", pb.ListKeysRequest, keys.list_keys, action="kms:ListKeys"),
    Operation("EnableKey", pb.EnableKeyRequest, keys.enable_key, (_managed("EnableKey"),), writes=True, read_only=False),
    Operation("DisableKey", pb.DisableKeyRequest, keys.disable_key, (_managed("DisableKey"),), writes=True, read_only=False),
    Operation("UpdateKeyDescription", pb.UpdateKeyDescriptionRequest, keys.update_key_description,
              (_managed("UpdateKeyDescription"),), writes=True, read_only=False),
    Operation("CreateAlias", pb.CreateAliasRequest, aliases.create_alias,
              (ById("target_key_id", "kms:CreateAlias", RULES["CreateAlias"], changes=True),),
              writes=True, idempotent=True, read_only=False),
    Operation("UpdateAlias", pb.UpdateAliasRequest, aliases.update_alias,
              (ByAlias("alias_name", "kms:UpdateAlias", READ),
               ById("target_key_id", "kms:UpdateAlias", RULES["UpdateAlias"], changes=True)),
              writes=True, read_only=False),
    Operation("DeleteAlias", pb.DeleteAliasRequest, aliases.delete_alias,
              (ByAlias("alias_name", "kms:DeleteAlias", RULES["DeleteAlias"]),), writes=True, read_only=False),
    Operation("ListAliases", pb.ListAliasesRequest, aliases.list_aliases,
              (ById("key_id", "kms:ListAliases", RULES["ListAliases"], invalid_arn=True, optional=True),), action="kms:ListAliases"),
    Operation("Encrypt", pb.EncryptRequest, cryptography.encrypt, (_used("Encrypt"),)),
    Operation("Decrypt", pb.DecryptRequest, cryptography.decrypt,
              (ByBlob("ciphertext_blob", "key_id", "kms:Decrypt", RULES["Decrypt"], ENCRYPT_DECRYPT, "encryption_context"),),
              yields_secrets=True),
    Operation("ReEncrypt", pb.ReEncryptRequest, cryptography.re_encrypt,
              (ByBlob("ciphertext_blob", "source_key_id", "kms:ReEncryptFrom", RULES["ReEncrypt"], ENCRYPT_DECRYPT,
                      "source_encryption_context"),
               ById("destination_key_id", "kms:ReEncryptTo", RULES["ReEncrypt"], ENCRYPT_DECRYPT,
                    "destination_encryption_context", aliases=True))),
    Operation("GenerateDataKey", pb.GenerateDataKeyRequest, cryptography.generate_data_key, (_used("GenerateDataKey"),),
              yields_secrets=True),
    Operation("GenerateDataKeyWithoutPlaintext", pb.GenerateDataKeyWithoutPlaintextRequest,
              cryptography.generate_data_key_without_plaintext, (_used("GenerateDataKeyWithoutPlaintext"),)),
    Operation("GenerateRandom", pb.GenerateRandomRequest, cryptography.generate_random,
              action="kms:GenerateRandom", yields_secrets=True),
    Operation("GetLimits", envelope_pb2.GetLimitsRequest, limits.get_limits, service="kms_grpc.v1.EnvelopeService"),
)  # fmt: skip
"""In this order operations are numbered in the counter files."""

NAMES = tuple(operation.name for operation in TABLE)
