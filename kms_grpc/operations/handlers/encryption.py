"""Encrypt, Decrypt, ReEncrypt, and their batches.

Each call is one call into the C core. The encryption context and the key's ARN are the blob's associated data; the ARN
comes from the key's row, never from the request. Source:
https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html and its siblings.
"""

from __future__ import annotations

from typing import Any, Final

from kms_grpc.crypto import envelope, raw_request
from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import InvalidCiphertextException
from kms_grpc.model.key import Key, KeyUsage
from kms_grpc.model.key_spec import SYMMETRIC_DEFAULT
from kms_grpc.model.key_state import RULES
from kms_grpc.operations.admission.selectors import ByBlob, ById, encrypting_key
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.descriptors import field_limits, numbers
from kms_grpc.operations.kinds.batch import Batch
from kms_grpc.operations.kinds.batch_groups import BatchItems, ItemMaterials
from kms_grpc.operations.kinds.sealed import Sealed
from kms_grpc.operations.kinds.steps import note_material
from kms_grpc.operations.kinds.unary import Unary
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb

ALGORITHM: Final[Any] = numbers(keys_pb2.EncryptionAlgorithmSpec.DESCRIPTOR)[SYMMETRIC_DEFAULT]


def encrypt(call: Call, request: pb.EncryptRequest, key: Key, material: LoadedMaterial) -> pb.EncryptResponse:
    """Encrypts 1 to 4,096 bytes under the key's current material."""
    associated = material.associated_prefix + canonical(request.encryption_context)
    blob = envelope.seal(material.handle, material.prefix, associated, request.plaintext)
    return pb.EncryptResponse(key_id=key.arn, ciphertext_blob=blob, encryption_algorithm=ALGORITHM)


def decrypt(call: Call, request: pb.DecryptRequest, key: Key, material: LoadedMaterial) -> pb.DecryptResponse:
    """Opens a blob under the key and material that its header names. Raises InvalidCiphertextException, always with an
    empty text."""
    associated = material.associated_prefix + canonical(request.encryption_context)
    plaintext = envelope.open_blob(material.handle, associated, request.ciphertext_blob)
    return pb.DecryptResponse(
        key_id=key.arn, plaintext=plaintext, encryption_algorithm=ALGORITHM, key_material_id=material.material_id.hex()
    )


def re_encrypt(call: Call, request: pb.ReEncryptRequest, source: Key, destination: Key) -> pb.ReEncryptResponse:
    """Decrypts and encrypts in one call into C: the plaintext never reaches Python."""
    old, new = opening_material(call, request, source), sealing_material(call, request, destination)
    blob = envelope.reseal(
        old.handle,
        old.associated_prefix + canonical(request.source_encryption_context),
        request.ciphertext_blob,
        new.handle,
        new.prefix,
        new.associated_prefix + canonical(request.destination_encryption_context),
    )
    note_material(call, new)
    return pb.ReEncryptResponse(
        key_id=destination.arn,
        ciphertext_blob=blob,
        source_key_id=source.arn,
        source_encryption_algorithm=ALGORITHM,
        destination_encryption_algorithm=ALGORITHM,
        source_key_material_id=old.material_id.hex(),
        destination_key_material_id=new.material_id.hex(),
    )


def encrypt_batch(call: Call, item: envelope_pb2.EncryptBatchItem, key: Key) -> ItemMaterials:
    """Encrypts items of up to 64 KiB each."""
    return ItemMaterials(sealing=sealing_material(call, item, key))


def decrypt_batch(call: Call, item: envelope_pb2.DecryptBatchItem, key: Key) -> ItemMaterials:
    """Opens the blobs of a batch."""
    return ItemMaterials(opening=opening_material(call, item, key))


def re_encrypt_batch(call: Call, item: envelope_pb2.ReEncryptBatchItem, source: Key, destination: Key) -> ItemMaterials:
    """Encrypts the blobs of a batch under another key."""
    return ItemMaterials(sealing_material(call, item, destination), opening_material(call, item, source))


def sealing_material(call: Call, request: Any, key: Key) -> LoadedMaterial:
    """Returns the key's current material."""
    return call.shard.current_material(key)


def opening_material(call: Call, request: Any, key: Key) -> LoadedMaterial:
    """Returns the material that the header of `request.ciphertext_blob` names. Materials are never tried in turn."""
    return named_material(call, key, request.ciphertext_blob)


def named_material(call: Call, key: Key, blob: bytes) -> LoadedMaterial:
    """Returns the material that a blob's header names. Raises InvalidCiphertextException if the key does not have
    it."""
    material = call.shard.material(key, blob[:PREFIX_SIZE])
    if material is None:
        raise InvalidCiphertextException(key=key.arn)
    return material


ENCRYPTING = encrypting_key("Encrypt")
DECRYPTING = ByBlob(
    blob="ciphertext_blob",
    named="key_id",
    action="kms:Decrypt",
    rule=RULES["Decrypt"],
    usage=KeyUsage.ENCRYPT_DECRYPT,
    context="encryption_context",
)
SOURCE = ByBlob(
    blob="ciphertext_blob",
    named="source_key_id",
    action="kms:ReEncryptFrom",
    rule=RULES["ReEncrypt"],
    usage=KeyUsage.ENCRYPT_DECRYPT,
    context="source_encryption_context",
)
DESTINATION = ById(
    field="destination_key_id",
    action="kms:ReEncryptTo",
    rule=RULES["ReEncrypt"],
    usage=KeyUsage.ENCRYPT_DECRYPT,
    context="destination_encryption_context",
    aliases=True,
)

ROWS = (
    Sealed(
        "Encrypt",
        pb.EncryptRequest,
        encrypt,
        sealing_material,
        raw_request.ENCRYPT,
        field_limits(pb.EncryptRequest, "plaintext").max,
        keys=(ENCRYPTING,),
    ),
    Sealed(
        "Decrypt",
        pb.DecryptRequest,
        decrypt,
        opening_material,
        raw_request.DECRYPT,
        field_limits(pb.DecryptRequest, "ciphertext_blob").max,
        keys=(DECRYPTING,),
        yields_secrets=True,
    ),
    Unary("ReEncrypt", pb.ReEncryptRequest, re_encrypt, keys=(SOURCE, DESTINATION)),
    Batch(
        "EncryptBatch",
        envelope_pb2.EncryptBatchRequest,
        encrypt_batch,
        BatchItems(raw_request.ENCRYPT, envelope_pb2.EncryptBatchItem),
        keys=(ENCRYPTING,),
    ),
    Batch(
        "DecryptBatch",
        envelope_pb2.DecryptBatchRequest,
        decrypt_batch,
        BatchItems(raw_request.DECRYPT, envelope_pb2.DecryptBatchItem),
        keys=(DECRYPTING,),
        yields_secrets=True,
    ),
    Batch(
        "ReEncryptBatch",
        envelope_pb2.ReEncryptBatchRequest,
        re_encrypt_batch,
        BatchItems(raw_request.RE_ENCRYPT, envelope_pb2.ReEncryptBatchItem, "destination_key_id", "source_key_id"),
        keys=(SOURCE, DESTINATION),
    ),
)
