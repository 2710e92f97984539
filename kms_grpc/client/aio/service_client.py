"""AsyncServiceClient, the base of the asyncio clients: channels, deadlines, metadata, and errors as exceptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from kms_grpc.client import forks
from kms_grpc.client.connection import Connection
from kms_grpc.client.failures import from_call
from kms_grpc.client.service_client import DEFAULT_TIMEOUT
from kms_grpc.v1.envelope_pb2_grpc import EnvelopeServiceStub
from kms_grpc.v1.key_management_pb2_grpc import KeyManagementServiceStub

Response = TypeVar("Response")


class AsyncServiceClient:
    """A client for the tasks of one event loop. Its first call opens the connections, on the loop that runs then."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        region: str | None = None,
        tls_ca: str | Path | None = None,
        tls_name: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        policy: str = "round_robin",
        connections: int = 1,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Reads an omitted argument from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN, KMS_GRPC_REGION, KMS_GRPC_TLS_CA or
        KMS_GRPC_TLS_NAME. Raises InvalidConnection for values that cannot be used (see Connection).

        timeout: seconds for one call, retries included.
        policy: round_robin or pick_first, for several endpoints.
        connections: number of connections to each endpoint; calls use them in turn.
        """
        known = Connection.from_environment(endpoint, token, region, tls_ca, tls_name)
        self.connection = replace(known, policy=policy)
        self.timeout = timeout
        self._metadata = self.connection.metadata()
        self._options, self._count = tuple(channel_options), connections
        self._channels: list[grpc.aio.Channel] = []
        self._forks = -1

    def _open(self) -> None:
        for channel in self._channels:
            forks.abandon(channel)
        self._forks = forks.count()
        self._channels = [self.connection.open_aio_channel(self._options) for _ in range(self._count)]
        self._key_stubs = cycle([_keys_of(channel) for channel in self._channels])
        self._envelope_stubs = cycle([_envelopes_of(channel) for channel in self._channels])

    @property
    def _keys(self) -> KeyManagementServiceStub:
        if self._forks != forks.count():
            self._open()
        return next(self._key_stubs)

    @property
    def _envelopes(self) -> EnvelopeServiceStub:
        if self._forks != forks.count():
            self._open()
        return next(self._envelope_stubs)

    async def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _create(self, method: Callable[..., Response], request: object, request_id: str | None) -> Response:
        """Calls an operation that creates something, with a request id that makes retries safe."""
        from kms_grpc.crypto.new_uuid import new_uuid

        return await self._call(method, request, (("kms-request-id", request_id or new_uuid()),))

    async def _call(
        self, method: Callable[..., Response], request: object, more: tuple[tuple[str, str], ...] = ()
    ) -> Response:
        """Calls an operation once, with retries by gRPC. `more`: further metadata. Raises as `from_call` says."""
        call = cast("Awaitable[Response]", method(request, timeout=self.timeout, metadata=self._metadata + more))
        try:
            return await call
        except grpc.RpcError as error:
            raise from_call(error) from None


# The stubs are typed as the synchronous ones; only `_call` knows that their methods return awaitables.


def _keys_of(channel: grpc.aio.Channel) -> KeyManagementServiceStub:
    stub: Any = KeyManagementServiceStub(channel)
    return cast("KeyManagementServiceStub", stub)


def _envelopes_of(channel: grpc.aio.Channel) -> EnvelopeServiceStub:
    stub: Any = EnvelopeServiceStub(channel)
    return cast("EnvelopeServiceStub", stub)
