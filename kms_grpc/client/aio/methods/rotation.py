# Made by `python build.py --client` from kms_grpc/client/methods/rotation.py: do not edit.
"""Methods that enable automatic rotation and list rotations. The other operations on rotation are in plain.py.

RotateKeyOnDemand is not retried: a second one rotates the key again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import by_aws_name
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class AsyncRotationMethods(AsyncServiceClient):
    """Rotation of key material. A key is named by its id or ARN, not by an alias."""

    async def enable_key_rotation(
        self, key_id: str, rotation_period_in_days: int | None = None
    ) -> pb.EnableKeyRotationResponse:
        """Enables automatic rotation every 90 to 2,560 days (default 365), counted from now."""
        request = pb.EnableKeyRotationRequest(key_id=key_id, rotation_period_in_days=rotation_period_in_days)
        return await self._call(self._keys.EnableKeyRotation, request)

    async def list_key_rotations(
        self,
        key_id: str,
        *,
        include_key_material: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> pb.ListKeyRotationsResponse:
        """Returns a page of at most `limit` rotations (1 to 1,000). See `all_key_rotations`.

        include_key_material: ROTATIONS_ONLY (the default) or ALL_KEY_MATERIAL.
        """
        request = pb.ListKeyRotationsRequest(
            key_id=key_id,
            include_key_material=by_aws_name(keys_pb2.IncludeKeyMaterial, include_key_material),
            limit=limit,
            marker=marker,
        )
        return await self._call(self._keys.ListKeyRotations, request)

    async def all_key_rotations(
        self, key_id: str, *, include_key_material: str | None = None
    ) -> AsyncIterator[keys_pb2.RotationsListEntry]:
        """Yields all rotations of the key, or all its key materials, page by page."""
        marker: str | None = None
        while True:
            page = await self.list_key_rotations(
                key_id, include_key_material=include_key_material, limit=1000, marker=marker
            )
            for entry in page.rotations:
                yield entry
            if not page.truncated:
                return
            marker = page.next_marker
