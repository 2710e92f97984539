"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom.

Each is one call into the C core. The encryption context and the key's ARN are the blob's associated data; the ARN
comes from the key's row, never from the request. Source:
https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html and its siblings.
"""

from __future__ import annotations

from typing import Any

from kms_grpc.crypto import envelope
from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.errors import InvalidCiphertextException
from kms_grpc.model.key import Key
from kms_grpc.operations.call import Call
from kms_grpc.operations.kinds.batch import DATA_KEY_BYTES, Materials
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb

SYMMETRIC = keys_pb2.ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT


def encrypt(call: Call, request: pb.EncryptRequest, key: Key) -> pb.EncryptResponse:
    """1 to 4,096 bytes under the key's current material, bound to the encryption context."""
    material = sealing_material(call, request, key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    blob = envelope.seal(material.handle, material.prefix, associated, request.plaintext)
    note_material(call, material)
    return pb.EncryptResponse(key_id=key.arn, ciphertext_blob=blob, encryption_algorithm=SYMMETRIC)


def decrypt(call: Call, request: pb.DecryptRequest, key: Key) -> pb.DecryptResponse:
    """Open a blob with the key and material that its header names. InvalidCiphertextException, always without text."""
    material = opening_material(call, request, key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    plaintext = envelope.open_blob(material.handle, associated, request.ciphertext_blob)
    note_material(call, material)
    return pb.DecryptResponse(
        key_id=key.arn, plaintext=plaintext, encryption_algorithm=SYMMETRIC, key_material_id=material.material_id.hex()
    )


def re_encrypt(call: Call, request: pb.ReEncryptRequest, source: Key, destination: Key) -> pb.ReEncryptResponse:
    """Decrypt and encrypt in one call into C: the plaintext never reaches Python."""
    old = opening_material(call, request, source)
    new = call.shard.current_material(destination)
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
        source_encryption_algorithm=SYMMETRIC,
        destination_encryption_algorithm=SYMMETRIC,
        source_key_material_id=old.material_id.hex(),
        destination_key_material_id=new.material_id.hex(),
    )


def generate_data_key(call: Call, request: pb.GenerateDataKeyRequest, key: Key) -> pb.GenerateDataKeyResponse:
    """A fresh data key of 1 to 1,024 bytes, in clear and sealed."""
    length = _data_key_bytes(request)
    material = call.shard.current_material(key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    plaintext, blob = envelope.data_key(material.handle, material.prefix, associated, length)
    note_material(call, material)
    return pb.GenerateDataKeyResponse(
        key_id=key.arn, plaintext=plaintext, ciphertext_blob=blob, key_material_id=material.material_id.hex()
    )


def generate_data_key_without_plaintext(
    call: Call, request: pb.GenerateDataKeyWithoutPlaintextRequest, key: Key
) -> pb.GenerateDataKeyWithoutPlaintextResponse:
    """The data key itself never leaves C."""
    length = _data_key_bytes(request)
    material = call.shard.current_material(key)
    associated = material.associated_prefix + canonical(request.encryption_context)
    blob = envelope.data_key_without_plaintext(material.handle, material.prefix, associated, length)
    note_material(call, material)
    return pb.GenerateDataKeyWithoutPlaintextResponse(
        key_id=key.arn, ciphertext_blob=blob, key_material_id=material.material_id.hex()
    )


def generate_random(call: Call, request: pb.GenerateRandomRequest) -> pb.GenerateRandomResponse:
    """1 to 1,024 random bytes."""
    return pb.GenerateRandomResponse(plaintext=envelope.random_bytes(request.number_of_bytes))


# --- batches: the materials of a group -----------------------------------------------------------------------------


def encrypt_batch(call: Call, item: envelope_pb2.EncryptBatchItem, key: Key) -> Materials:
    """Up to 64 KiB each, as Encrypt."""
    return Materials(sealing=sealing_material(call, item, key))


def decrypt_batch(call: Call, item: envelope_pb2.DecryptBatchItem, key: Key) -> Materials:
    """As Decrypt."""
    return Materials(opening=opening_material(call, item, key))


def re_encrypt_batch(call: Call, item: envelope_pb2.ReEncryptBatchItem, source: Key, destination: Key) -> Materials:
    """As ReEncrypt."""
    return Materials(sealing_material(call, item, destination), opening_material(call, item, source))


def generate_data_key_batch(call: Call, item: envelope_pb2.GenerateDataKeyBatchItem, key: Key) -> Materials:
    """As GenerateDataKey, `count` of them."""
    return Materials(sealing=sealing_material(call, item, key))


# --- materials ------------------------------------------------------------------------------------------------------


def sealing_material(call: Call, request: Any, key: Key) -> LoadedMaterial:
    """The key's current one."""
    return call.shard.current_material(key)


def opening_material(call: Call, request: Any, key: Key) -> LoadedMaterial:
    """The one that the blob's header names: never found by trial."""
    return named_material(call, key, request.ciphertext_blob)


def named_material(call: Call, key: Key, blob: bytes) -> LoadedMaterial:
    """The same of any blob."""
    material = call.shard.material(key, blob[:PREFIX_SIZE])
    if material is None:
        raise InvalidCiphertextException(key=key.arn)
    return material


def note_material(call: Call, material: LoadedMaterial) -> None:
    """For the audit record: which material did the work."""
    call.record.additionalEventData = {"keyMaterialId": material.material_id.hex()}


def _data_key_bytes(request: Any) -> int:
    """KeySpec or NumberOfBytes says how long the data key is; validation saw to it that one of them does."""
    return DATA_KEY_BYTES.get(request.key_spec) or int(request.number_of_bytes)
