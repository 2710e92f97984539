"""What a call can raise: the service's own errors by name, and what went wrong on the way to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from kms_grpc import errors

DOMAIN: Final = "kms_grpc.v1"
"""ErrorInfo.domain of the service's errors."""


class ClientError(Exception):
    """The call did not come to an answer of the service. The text says why."""


class InvalidConnection(ClientError):
    """Address or token cannot be used as they are; nothing was sent."""


class ServiceUnreachable(ClientError):
    """Nobody answers at the endpoint, or the connection broke and stayed so over all attempts."""


class DeadlineExceeded(ClientError):
    """No answer in time. A write may have happened."""


class CallFailed(ClientError):
    """gRPC ended the call without an error of the service's own. `status` is the name of its status code."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class UnknownKMSError(errors.KMSError):
    """The service refused the call with an error that this version does not know by name; `code` has the name."""

    def __init__(self, code: str, text: str, *, key: str | None = None, state: str | None = None) -> None:
        super().__init__(text, key=key, state=state)
        self._code = code

    @property
    def code(self) -> str:
        return self._code


def _subclasses(base: type[errors.KMSError]) -> Iterator[type[errors.KMSError]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


_BY_NAME: Final = {cls.__name__: cls for cls in _subclasses(errors.KMSError) if cls.__module__ == errors.__name__}


def from_call(call: grpc.RpcError) -> Exception:
    """The exception for a failed call: of the ErrorInfo's class where there is one, else by the status."""
    pairs: Any = call.trailing_metadata() or ()  # named pairs, or with asyncio plain ones
    trailers: dict[str, Any] = dict(pairs)
    info = _error_info(trailers.get("grpc-status-details-bin"))
    if info is None:
        return _without_info(call)
    error = _named(info, call.details() or "")
    error.region = info.metadata.get("region")
    error.request_id = trailers.get("kms-request-id")
    return error


def item_error(result: Any) -> errors.KMSError | None:
    """Why an item of a batch was not done, as the exception that the single call would have raised; None where it was.
    `result` is one of an answer's `results`."""
    if not result.HasField("error"):
        return None
    info = _info_of(result.error) or error_details_pb2.ErrorInfo(reason="UnknownException")
    error = _named(info, result.error.message)
    error.region = info.metadata.get("region")
    return error


def _named(info: error_details_pb2.ErrorInfo, text: str) -> errors.KMSError:
    facts = {"key": info.metadata.get("key"), "state": info.metadata.get("state")}
    known = _BY_NAME.get(info.reason)
    return known(text, **facts) if known else UnknownKMSError(info.reason, text, **facts)


def _error_info(details: bytes | None) -> error_details_pb2.ErrorInfo | None:
    return None if details is None else _info_of(status_pb2.Status.FromString(details))


def _info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _without_info(call: grpc.RpcError) -> ClientError:
    status, text = call.code(), call.details() or ""
    if status is grpc.StatusCode.UNAVAILABLE:
        return ServiceUnreachable(text)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(text)
    return CallFailed(status.name, text)
