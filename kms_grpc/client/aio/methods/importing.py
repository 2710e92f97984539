# Made by `python build.py --client` from kms_grpc/client/methods/importing.py: do not edit.
"""Methods that import key material into keys of origin EXTERNAL. DeleteImportedKeyMaterial is in plain.py.

ImportKeyMaterial is not retried: a second one with the same import token is refused.
"""

from __future__ import annotations

from datetime import datetime

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import by_aws_name, expiration_model, timestamp
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class AsyncImportMethods(AsyncServiceClient):
    """Imported key material. A key is named by its id or ARN, not by an alias."""

    async def get_parameters_for_import(
        self, key_id: str, *, wrapping_algorithm: str = "RSAES_OAEP_SHA_256", wrapping_key_spec: str = "RSA_3072"
    ) -> pb.GetParametersForImportResponse:
        """Returns a wrapping public key (DER, SubjectPublicKeyInfo) and its import token, for one import within 24
        hours. `kms_grpc.client.wrapping.wrap` wraps key material with that key."""
        request = pb.GetParametersForImportRequest(
            key_id=key_id,
            wrapping_algorithm=by_aws_name(keys_pb2.AlgorithmSpec, wrapping_algorithm),
            wrapping_key_spec=by_aws_name(keys_pb2.WrappingKeySpec, wrapping_key_spec),
        )
        return await self._call(self._keys.GetParametersForImport, request)

    async def import_key_material(
        self,
        key_id: str,
        import_token: bytes,
        encrypted_key_material: bytes,
        *,
        valid_to: datetime | None = None,
        import_type: str | None = None,
        key_material_description: str | None = None,
        key_material_id: str | None = None,
    ) -> pb.ImportKeyMaterialResponse:
        """Imports wrapped key material into a key of origin EXTERNAL.

        valid_to: when the key material expires, a datetime with a time zone, at most 365 days ahead. None: never.
        import_type: NEW_KEY_MATERIAL or EXISTING_KEY_MATERIAL. None: the service chooses the one that fits.
        """
        request = pb.ImportKeyMaterialRequest(
            key_id=key_id,
            import_token=import_token,
            encrypted_key_material=encrypted_key_material,
            valid_to=None if valid_to is None else timestamp(valid_to),
            expiration_model=expiration_model(valid_to),
            import_type=by_aws_name(keys_pb2.ImportType, import_type),
            key_material_description=key_material_description,
            key_material_id=key_material_id,
        )
        return await self._call(self._keys.ImportKeyMaterial, request)
