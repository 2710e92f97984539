"""The operations of a key's life as Python calls: deletion, tags, rotation, importing.

Only those whose contract has an idempotency level are repeated when the connection breaks: a second
ScheduleKeyDeletion, RotateKeyOnDemand or ImportKeyMaterial would be refused, or do more than the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from kms_grpc.client.arguments import by_aws_name, expiration_model, tags_of, timestamp
from kms_grpc.client.calls import Caller
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class KeyLifeCalls(Caller):
    """Deletion, tags, rotation and imported material. KEY is an id or an ARN here, never an alias."""

    # --- deletion -------------------------------------------------------------------------------------------------

    def schedule_key_deletion(
        self, key_id: str, pending_window_in_days: int | None = None
    ) -> pb.ScheduleKeyDeletionResponse:
        """Delete the key in 7 to 30 days (default 30). Until then nothing can be done with it."""
        request = pb.ScheduleKeyDeletionRequest(key_id=key_id, pending_window_in_days=pending_window_in_days)
        return self._call(self._keys.ScheduleKeyDeletion, request)

    def cancel_key_deletion(self, key_id: str) -> pb.CancelKeyDeletionResponse:
        """Call the deletion off. The key is Disabled afterwards."""
        return self._call(self._keys.CancelKeyDeletion, pb.CancelKeyDeletionRequest(key_id=key_id))

    # --- tags -----------------------------------------------------------------------------------------------------

    def tag_resource(self, key_id: str, tags: Mapping[str, str]) -> pb.TagResourceResponse:
        """Set tags: those that are there already get the new value."""
        return self._call(self._keys.TagResource, pb.TagResourceRequest(key_id=key_id, tags=tags_of(tags)))

    def untag_resource(self, key_id: str, tag_keys: Sequence[str]) -> pb.UntagResourceResponse:
        """Remove tags. One that is not there is no error."""
        return self._call(self._keys.UntagResource, pb.UntagResourceRequest(key_id=key_id, tag_keys=tag_keys))

    def list_resource_tags(
        self, key_id: str, *, limit: int | None = None, marker: str | None = None
    ) -> pb.ListResourceTagsResponse:
        """One page of at most `limit` tags (1 to 50). A key has no more than 50."""
        request = pb.ListResourceTagsRequest(key_id=key_id, limit=limit, marker=marker)
        return self._call(self._keys.ListResourceTags, request)

    # --- rotation -------------------------------------------------------------------------------------------------

    def enable_key_rotation(
        self, key_id: str, rotation_period_in_days: int | None = None
    ) -> pb.EnableKeyRotationResponse:
        """Rotate the key by itself every 90 to 2,560 days (default 365), from now."""
        request = pb.EnableKeyRotationRequest(key_id=key_id, rotation_period_in_days=rotation_period_in_days)
        return self._call(self._keys.EnableKeyRotation, request)

    def disable_key_rotation(self, key_id: str) -> pb.DisableKeyRotationResponse:
        return self._call(self._keys.DisableKeyRotation, pb.DisableKeyRotationRequest(key_id=key_id))

    def get_key_rotation_status(self, key_id: str) -> pb.GetKeyRotationStatusResponse:
        return self._call(self._keys.GetKeyRotationStatus, pb.GetKeyRotationStatusRequest(key_id=key_id))

    def rotate_key_on_demand(self, key_id: str) -> pb.RotateKeyOnDemandResponse:
        """New key material at once, 25 times in a key's life. What earlier material encrypted still opens."""
        return self._call(self._keys.RotateKeyOnDemand, pb.RotateKeyOnDemandRequest(key_id=key_id))

    def list_key_rotations(
        self,
        key_id: str,
        *,
        include_key_material: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> pb.ListKeyRotationsResponse:
        """One page of at most `limit` rotations (1 to 1,000). `include_key_material`: ROTATIONS_ONLY (the default) or
        ALL_KEY_MATERIAL; `all_key_rotations` walks over all pages."""
        request = pb.ListKeyRotationsRequest(
            key_id=key_id,
            include_key_material=by_aws_name(keys_pb2.IncludeKeyMaterial, include_key_material),
            limit=limit,
            marker=marker,
        )
        return self._call(self._keys.ListKeyRotations, request)

    def all_key_rotations(
        self, key_id: str, *, include_key_material: str | None = None
    ) -> Iterator[keys_pb2.RotationsListEntry]:
        """All rotations of the key, or all its material, page by page."""
        marker: str | None = None
        while True:
            page = self.list_key_rotations(key_id, include_key_material=include_key_material, limit=1000, marker=marker)
            yield from page.rotations
            if not page.truncated:
                return
            marker = page.next_marker

    # --- imported material ----------------------------------------------------------------------------------------

    def get_parameters_for_import(
        self, key_id: str, *, wrapping_algorithm: str = "RSAES_OAEP_SHA_256", wrapping_key_spec: str = "RSA_3072"
    ) -> pb.GetParametersForImportResponse:
        """A public key (DER, SubjectPublicKeyInfo) to wrap key material under, and the token that belongs to it: for
        one import within 24 hours. `kms_grpc.client.wrapping.wrap` wraps."""
        request = pb.GetParametersForImportRequest(
            key_id=key_id,
            wrapping_algorithm=by_aws_name(keys_pb2.AlgorithmSpec, wrapping_algorithm),
            wrapping_key_spec=by_aws_name(keys_pb2.WrappingKeySpec, wrapping_key_spec),
        )
        return self._call(self._keys.GetParametersForImport, request)

    def import_key_material(
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
        """Give an EXTERNAL key its material, wrapped. It expires at `valid_to` (aware, at most 365 days ahead), or
        never. `import_type`: NEW_KEY_MATERIAL or EXISTING_KEY_MATERIAL, by default what fits."""
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
        return self._call(self._keys.ImportKeyMaterial, request)

    def delete_imported_key_material(
        self, key_id: str, *, key_material_id: str | None = None
    ) -> pb.DeleteImportedKeyMaterialResponse:
        """Delete the key's current imported material, or the named one. The same bytes bring it back."""
        request = pb.DeleteImportedKeyMaterialRequest(key_id=key_id, key_material_id=key_material_id)
        return self._call(self._keys.DeleteImportedKeyMaterial, request)
