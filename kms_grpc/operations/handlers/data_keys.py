"""GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateDataKeyBatch.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateDataKey.html and its siblings.
"""

from __future__ import annotations

from kms_grpc.crypto import envelope, raw_request
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.model.key import Key
from kms_grpc.operations.admission.selectors import encrypting_key
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.data_key_length import data_key_bytes
from kms_grpc.operations.handlers.encryption import sealing_material
from kms_grpc.operations.kinds.batch import Batch
from kms_grpc.operations.kinds.batch_groups import BatchItems, ItemMaterials
from kms_grpc.operations.kinds.steps import note_material
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb


def generate_data_key(call: Call, request: pb.GenerateDataKeyRequest, key: Key) -> pb.GenerateDataKeyResponse:
    """Makes a data key of 1 to 1,024 bytes; returns its plaintext and its ciphertext blob."""
    length = data_key_bytes(request)
    material = sealing_material(call, request, key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    plaintext, blob = envelope.data_key(material.handle, material.prefix, associated, length)
    note_material(call, material)
    return pb.GenerateDataKeyResponse(
        key_id=key.arn, plaintext=plaintext, ciphertext_blob=blob, key_material_id=material.material_id.hex()
    )


def generate_data_key_without_plaintext(
    call: Call, request: pb.GenerateDataKeyWithoutPlaintextRequest, key: Key
) -> pb.GenerateDataKeyWithoutPlaintextResponse:
    """Makes a data key of 1 to 1,024 bytes and returns its ciphertext blob. The plaintext never leaves C."""
    length = data_key_bytes(request)
    material = sealing_material(call, request, key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    blob = envelope.data_key_without_plaintext(material.handle, material.prefix, associated, length)
    note_material(call, material)
    return pb.GenerateDataKeyWithoutPlaintextResponse(
        key_id=key.arn, ciphertext_blob=blob, key_material_id=material.material_id.hex()
    )


def generate_data_key_batch(call: Call, item: envelope_pb2.GenerateDataKeyBatchItem, key: Key) -> ItemMaterials:
    """Makes `count` data keys per item."""
    return ItemMaterials(sealing=sealing_material(call, item, key))


DATA_KEY_WRAPPING = encrypting_key("GenerateDataKey")

ROWS = (
    Unary(
        "GenerateDataKey",
        pb.GenerateDataKeyRequest,
        generate_data_key,
        keys=(DATA_KEY_WRAPPING,),
        yields_secrets=True,
    ),
    Unary(
        "GenerateDataKeyWithoutPlaintext",
        pb.GenerateDataKeyWithoutPlaintextRequest,
        generate_data_key_without_plaintext,
        keys=(encrypting_key("GenerateDataKeyWithoutPlaintext"),),
    ),
    Batch(
        "GenerateDataKeyBatch",
        envelope_pb2.GenerateDataKeyBatchRequest,
        generate_data_key_batch,
        BatchItems(raw_request.DATA_KEY, envelope_pb2.GenerateDataKeyBatchItem),
        keys=(DATA_KEY_WRAPPING,),
        yields_secrets=True,
    ),
)
