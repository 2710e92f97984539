"""The ends of calls at the gRPC door: trailing metadata, and errors with their details.

Trailing metadata: `kms-worker`, `kms-region`, `kms-request-id`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import grpc

from kms_grpc.authentication.credentials import REGION_LENGTH, REQUEST_ID_LENGTH, Credentials
from kms_grpc.endpoints.grpc_metadata import printable
from kms_grpc.endpoints.rich_errors import Refusal, refusal
from kms_grpc.errors import KMSError

Context = grpc.aio.ServicerContext[Any, Any]


class GrpcAnswers:
    """Ends the calls of one worker."""

    def __init__(self, worker: int, default_region: str) -> None:
        self._worker = ("kms-worker", str(worker))
        self._default_region = default_region

    def trailers(self, credentials: Credentials) -> tuple[tuple[str, str], ...]:
        """Returns the trailing metadata of every call."""
        request_id = credentials.request_id
        if credentials.repeatable:  # the caller has written it
            request_id = printable(request_id, REQUEST_ID_LENGTH)
        region = _region_entry(credentials.region or self._default_region)
        return self._worker, region, ("kms-request-id", request_id)

    def refusal(self, credentials: Credentials, error: KMSError) -> Refusal:
        """Returns the end of a call that is refused."""
        refused = refusal(error, printable(credentials.region or self._default_region, REGION_LENGTH))
        return refused._replace(trailers=(*self.trailers(credentials), *refused.trailers))

    def refuse(self, context: Context, credentials: Credentials, error: KMSError) -> None:
        """End the call of a handler that then returns, which costs less than context.abort."""
        code, text, trailers = self.refusal(credentials, error)
        context.set_code(code)
        context.set_details(text)
        context.set_trailing_metadata(trailers)


@lru_cache(64)
def _region_entry(region: str) -> tuple[str, str]:
    return "kms-region", printable(region, REGION_LENGTH)
