"""Rules between the fields of a request. Each raises ValidationException.

The texts are AWS's where they are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from kms_grpc.aws_members import aws_names
from kms_grpc.errors import ValidationException
from kms_grpc.model.arn import ALIAS_PREFIX, Arn
from kms_grpc.model.grant import PAIRS_LIMIT, VALUE_LENGTH
from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT, USAGES, is_symmetric_encryption
from kms_grpc.operations.contract.constraints import not_null
from kms_grpc.operations.contract.descriptors import field_named
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb

SPEC_NAMES = aws_names(keys_pb2.KeySpec.DESCRIPTOR)
USAGE_NAMES = aws_names(keys_pb2.KeyUsageType.DESCRIPTOR)


def key_kind(request: pb.CreateKeyRequest) -> None:
    """Requires one key spec, under one of its two names, and a key usage that it allows."""
    if request.key_spec and request.customer_master_key_spec:
        raise ValidationException(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    spec = SPEC_NAMES.get(request.key_spec or request.customer_master_key_spec, SYMMETRIC_DEFAULT)
    usage = USAGE_NAMES.get(request.key_usage)
    if usage is None and not is_symmetric_encryption(spec):
        raise ValidationException(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    if usage is not None and usage not in USAGES[spec]:
        raise ValidationException(f"KeyUsage {usage} is not compatible with KeySpec {spec}")


def data_key_length(
    request: pb.GenerateDataKeyRequest
    | pb.GenerateDataKeyWithoutPlaintextRequest
    | envelope_pb2.GenerateDataKeyBatchRequest,
) -> None:
    """Requires exactly one of KeySpec and NumberOfBytes."""
    if bool(request.key_spec) is request.HasField("number_of_bytes"):
        raise ValidationException("Please specify either number of bytes or key spec.")


def random_length(request: pb.GenerateRandomRequest) -> None:
    """Requires NumberOfBytes. AWS has no default for it, and its own text for its absence."""
    if not request.HasField("number_of_bytes"):
        raise ValidationException("NumberOfBytes is required.")


def ciphertext(request: pb.DecryptRequest | pb.ReEncryptRequest) -> None:
    """Requires a blob, unless the call is a dry run that ignores it."""
    if request.HasField("ciphertext_blob"):
        return
    if not (request.dry_run and keys_pb2.DRY_RUN_MODIFIER_TYPE_IGNORE_CIPHERTEXT in request.dry_run_modifiers):
        raise ValidationException(not_null(field_named(type(request), "ciphertext_blob")))


def alias_target(request: pb.CreateAliasRequest | pb.UpdateAliasRequest) -> None:
    """Refuses an alias as the target of an alias."""
    arn = Arn.parse(request.target_key_id)
    if request.target_key_id.startswith(ALIAS_PREFIX) or (arn is not None and arn.is_alias):
        raise ValidationException("Aliases must refer to keys. Not aliases")


def import_of_material(request: pb.ImportKeyMaterialRequest) -> None:
    """Requires ValidTo exactly where the material expires, and no KeyMaterialId for new material."""
    expires = request.expiration_model != keys_pb2.EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE
    if expires and not request.HasField("valid_to"):
        raise ValidationException("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if not expires and request.HasField("valid_to"):
        raise ValidationException(
            "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"
        )
    if not 0 <= request.valid_to.nanos < 10**9:
        raise ValidationException("The validTo date is invalid: its nanos must be between 0 and 999,999,999")
    if request.HasField("key_material_id") and request.import_type == keys_pb2.IMPORT_TYPE_NEW_KEY_MATERIAL:
        raise ValidationException("A KeyMaterialId must not be set if the ImportType is NEW_KEY_MATERIAL")


def _exactly_one(request: Message, one: str, other: str) -> None:
    """Requires one of two fields, and not both."""
    if request.HasField(one) is request.HasField(other):
        names = (field_named(type(request), field).json_name for field in (one, other))
        raise ValidationException("You must specify either {} or {}, but not both.".format(*names))


def grant(request: pb.CreateGrantRequest) -> None:
    """Requires one grantee, and constraints within AWS's bounds. A service needs a resource on whose behalf it calls,
    and somebody who may retire the grant."""
    _exactly_one(request, "grantee_principal", "grantee_service_principal")
    if request.HasField("retiring_principal") and request.HasField("retiring_service_principal"):
        raise ValidationException("You cannot specify both RetiringPrincipal and RetiringServicePrincipal.")
    limits = request.constraints
    if request.HasField("constraints") and not limits.ByteSize():
        raise ValidationException("Constraints must have a constraint that is not empty.")
    for pairs in (limits.encryption_context_subset, limits.encryption_context_equals):
        if len(pairs) > PAIRS_LIMIT or any(len(pairs[name]) > VALUE_LENGTH for name in pairs):
            raise ValidationException(
                f"A constraint on the encryption context has at most {PAIRS_LIMIT} pairs, whose values have at most"
                f" {VALUE_LENGTH} characters."
            )
    if request.HasField("grantee_service_principal"):
        _service_grant(request)


def _service_grant(request: pb.CreateGrantRequest) -> None:
    if not request.constraints.HasField("source_arn"):
        raise ValidationException("A grant with a GranteeServicePrincipal must have a SourceArn constraint.")
    if not (request.HasField("retiring_principal") or request.HasField("retiring_service_principal")):
        raise ValidationException(
            "A grant with a GranteeServicePrincipal must have a RetiringPrincipal or a RetiringServicePrincipal."
        )


def listed_grants(request: pb.ListGrantsRequest) -> None:
    """Refuses two grantees."""
    if request.HasField("grantee_principal") and request.HasField("grantee_service_principal"):
        raise ValidationException("You cannot specify both GranteePrincipal and GranteeServicePrincipal.")


def retirable_grants(request: pb.ListRetirableGrantsRequest) -> None:
    """Requires one retiring principal."""
    _exactly_one(request, "retiring_principal", "retiring_service_principal")


def retired_grant(request: pb.RetireGrantRequest) -> None:
    """Requires a token, or key and grant id together."""
    named = request.HasField("key_id"), request.HasField("grant_id")
    if named != (not request.HasField("grant_token"),) * 2:
        raise ValidationException("You must specify either GrantToken, or KeyId and GrantId together.")


CROSS_FIELD_RULES: dict[type[Message], Callable[[Any], None]] = {
    pb.CreateAliasRequest: alias_target,
    pb.CreateGrantRequest: grant,
    pb.CreateKeyRequest: key_kind,
    pb.DecryptRequest: ciphertext,
    pb.GenerateDataKeyRequest: data_key_length,
    pb.GenerateDataKeyWithoutPlaintextRequest: data_key_length,
    pb.GenerateRandomRequest: random_length,
    pb.ImportKeyMaterialRequest: import_of_material,
    pb.ListGrantsRequest: listed_grants,
    pb.ListRetirableGrantsRequest: retirable_grants,
    pb.RetireGrantRequest: retired_grant,
    envelope_pb2.GenerateDataKeyBatchRequest: data_key_length,
    pb.ReEncryptRequest: ciphertext,
    pb.UpdateAliasRequest: alias_target,
}
