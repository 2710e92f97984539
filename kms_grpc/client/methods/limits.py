"""Method that reads the limits of a server."""

from __future__ import annotations

from kms_grpc.client.service_client import ServiceClient
from kms_grpc.v1 import envelope_pb2 as pb


class LimitMethods(ServiceClient):
    """Limits of the server."""

    def get_limits(self) -> pb.GetLimitsResponse:
        """Returns the regions and the limits of the server: message sizes, field lengths, batches, quotas."""
        return self._call(self._envelopes.GetLimits, pb.GetLimitsRequest())
