"""Health checks of a server, by grpc.health.v1 (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

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
"""Seconds between two checks."""


def health(connection: Connection, timeout: float = 2.0) -> str:
    """Returns the server's status: SERVING, NOT_SERVING or UNKNOWN. Raises ServiceUnreachable if no server answers."""
    with connection.open_channel([("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise ServiceUnreachable(f"{connection.endpoint}: {error.code().name}: {error.details()}") from None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def wait_until_serving(connection: Connection, timeout: float, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Returns when the server's status is SERVING.

    Raises ServiceUnreachable after `timeout` seconds, or as soon as `is_alive` says that the server has ended.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            if health(connection) == SERVING:
                return
            reason = "not serving yet"
        except ServiceUnreachable as error:
            reason = str(error)
        if not is_alive() or time.monotonic() > end:
            raise ServiceUnreachable(f"{connection.endpoint}: the server did not become ready: {reason}")
        time.sleep(_PAUSE)
