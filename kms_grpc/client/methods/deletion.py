"""The method that schedules the deletion of a key. CancelKeyDeletion is in plain.py.

Neither call is retried: the service refuses the second one, because the first has changed the state of the key.
"""

from __future__ import annotations

from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import key_management_pb2 as pb


class DeletionMethods(ServiceClient):
    """Deletion of keys. A key is named by its id or ARN, not by an alias."""

    def schedule_key_deletion(
        self, key_id: str, pending_window_in_days: int | None = None
    ) -> pb.ScheduleKeyDeletionResponse:
        """Schedules the deletion of a key in 7 to 30 days (default 30). Meanwhile the key cannot be used."""
        request = pb.ScheduleKeyDeletionRequest(key_id=key_id, pending_window_in_days=pending_window_in_days)
        return self._call(self._keys.ScheduleKeyDeletion, request)
