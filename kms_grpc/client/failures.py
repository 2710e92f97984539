"""Exceptions of the client: the errors of the service by name, and the failures of gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from kms_grpc import errors


class ClientError(errors.Portable):
    """Base of the errors that do not come from the service. The text says what happened."""


class InvalidConnection(ClientError):
    """An endpoint, token or certificate file cannot be used. Nothing was sent."""


class ServiceUnreachable(ClientError):
    """No endpoint could be reached, or the connection broke in every attempt."""


class DeadlineExceeded(ClientError):
    """No response arrived in time. The service may still have carried out the call."""


class CallFailed(ClientError):
    """gRPC ended the call without an error of the service. `status` is the name of the gRPC status code."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class UnknownKMSError(errors.KMSError):
    """An error of the service that has no class in this version of the library. `code` is its name."""

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


_OF_GRPC: Final = (errors.Cancelled.__name__, errors.DeadlineExceeded.__name__)
"""Errors of the service that say no more than gRPC's status does."""


def from_call(call: grpc.RpcError) -> Exception:
    """Returns the exception for a failed call: the KMSError that ErrorInfo names, else a ClientError by gRPC status."""
    pairs: Any = call.trailing_metadata() or ()  # named tuples; with asyncio, plain ones
    trailers: dict[str, Any] = dict(pairs)
    info = _error_info(trailers.get("grpc-status-details-bin"))
    if info is None or info.reason in _OF_GRPC:
        return _without_info(call)
    error = _named(info, call.details() or "")
    error.region = info.metadata.get("region")
    error.request_id = trailers.get("kms-request-id")
    return error


def item_error(result: Any) -> errors.KMSError | None:
    """Returns the error of a batch item, or None if the item succeeded. `result`: one of the response's `results`.

    The error is the exception that the call for a single item would have raised.
    """
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
        if detail.Unpack(info) and info.domain == errors.DOMAIN:
            return info
    return None


def _without_info(call: grpc.RpcError) -> ClientError:
    status, text = call.code(), call.details() or ""
    if status is grpc.StatusCode.UNAVAILABLE:
        return ServiceUnreachable(text)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(text)
    return CallFailed(status.name, text)
