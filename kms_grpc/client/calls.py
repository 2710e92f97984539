"""A connection to the service that calls are made on: deadlines, metadata, errors as exceptions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from kms_grpc.client.connection import Connection
from kms_grpc.client.failures import from_call
from kms_grpc.v1 import envelope_pb2_grpc, options_pb2
from kms_grpc.v1.key_management_pb2_grpc import KeyManagementServiceStub

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds a call may take, all attempts together."""

Response = TypeVar("Response")


class Caller:
    """What the operations are called on."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        region: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """What is not given comes from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN and KMS_GRPC_REGION. `timeout`: seconds."""
        self.connection = Connection.from_environment(endpoint, token, region)
        self.timeout = timeout
        self._metadata = self.connection.metadata()
        self._channel = self.connection.open_channel(channel_options)
        self._keys = KeyManagementServiceStub(self._channel)
        self._envelopes = envelope_pb2_grpc.EnvelopeServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, method: Callable[..., Response], request: object, request_id: str | None) -> Response:
        return self._call(method, request, (("kms-request-id", request_id or str(uuid.uuid4())),))

    def _call(
        self, method: Callable[..., Response], request: object, more: tuple[tuple[str, str], ...] = ()
    ) -> Response:
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata + more)
        except grpc.RpcError as error:
            raise from_call(error) from None


def by_aws_name(enum: Any, name: str | None) -> Any:
    """The number of the value that AWS spells so; None where no name is given. ValueError for one that is none."""
    if name is None:
        return None
    known = {value.GetOptions().Extensions[options_pb2.aws_name]: value.number for value in enum.DESCRIPTOR.values}
    if name not in known:
        raise ValueError(f"{name!r} is none of {', '.join(filter(None, known))}")
    return known[name]
