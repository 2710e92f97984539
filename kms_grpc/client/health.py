"""Whether a server answers, by grpc.health.v1 (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kms_grpc.client.connection import Connection
from kms_grpc.client.failures import ServiceUnreachable

SERVING: Final = "SERVING"
_PAUSE: Final = 0.05


def health(connection: Connection, timeout: float = 2.0) -> str:
    """SERVING, NOT_SERVING or UNKNOWN, as the server says of itself. ServiceUnreachable if nobody answers."""
    with connection.open_channel([("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise ServiceUnreachable(f"{connection.endpoint}: {error.code().name}: {error.details()}") from None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def wait_until_serving(connection: Connection, timeout: float, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Return as soon as the server answers SERVING. ServiceUnreachable after `timeout` seconds, or once it is dead."""
    end = time.monotonic() + timeout
    while True:
        try:
            if health(connection) == SERVING:
                return
            reason = "it does not serve yet"
        except ServiceUnreachable as error:
            reason = str(error)
        if not is_alive() or time.monotonic() > end:
            raise ServiceUnreachable(f"{connection.endpoint}: the server did not become ready: {reason}")
        time.sleep(_PAUSE)
