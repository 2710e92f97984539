"""Writes an error as google.rpc.Status, for the trailers of a call and for the result of a batch's item.

ErrorInfo has AWS's error name as its reason, the domain `kms_grpc.v1`, and key, state and region as metadata.
RetryInfo is added where a retry helps. Source: https://google.aip.dev/193
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from kms_grpc.errors import DOMAIN, KMSError

RETRY_AFTER = Duration(nanos=200_000_000)


def status_of(error: KMSError, text: str, region: str) -> status_pb2.Status:
    """Returns the status of an error. `text` is the error's text, or its beginning."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=text)
    facts = {"region": region, "key": error.key, "state": error.state}
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata={k: v for k, v in facts.items() if v})
    status.details.add().Pack(info)
    if error.retryable:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=RETRY_AFTER))
    return status
