# Made by `python build.py --client` from kms_grpc/client/methods/limits.py: do not edit.
"""Method that reads the limits of a server."""

from __future__ import annotations

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.v1 import envelope_pb2 as pb


class AsyncLimitMethods(AsyncServiceClient):
    """Limits of the server."""

    async def get_limits(self) -> pb.GetLimitsResponse:
        """Returns the regions and the limits of the server: message sizes, field lengths, batches, quotas."""
        return await self._call(self._envelopes.GetLimits, pb.GetLimitsRequest())
