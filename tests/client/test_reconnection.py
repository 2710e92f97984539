"""A live client connects again soon enough, to listeners that refuse or never answer and to a server that comes
back."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from kms_grpc.client import ClientError, KeyManagementClient
from kms_grpc.client.aio import AsyncKeyManagementClient
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1.key_management_pb2_grpc import KeyManagementServiceServicer, add_KeyManagementServiceServicer_to_server

TOKEN = "t" * 16
PATIENCE = 2.0
"""Seconds after which a client must have found a server that is back."""


@contextmanager
def listener(accept: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[float]]]:
    """Yields the address of a listener, and a list of the times at which clients connected to it."""
    connected: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    connected.append(time.monotonic())
                    accept(connection)
            except OSError:  # the test has ended
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", connected
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def call_for(seconds: float, address: str) -> None:
    end = time.monotonic() + seconds
    with KeyManagementClient(address, token=TOKEN, timeout=1) as kms:
        while time.monotonic() < end:
            with pytest.raises(ClientError):
                kms.encrypt("key", b"x")


def call_for_by_asyncio(seconds: float, address: str) -> None:
    async def call() -> None:
        end = time.monotonic() + seconds
        async with AsyncKeyManagementClient(address, token=TOKEN, timeout=1) as kms:
            while time.monotonic() < end:
                with pytest.raises(ClientError):
                    await kms.encrypt("key", b"x")

    asyncio.run(call())


@pytest.mark.parametrize("calls", [call_for, call_for_by_asyncio])
def test_a_client_soon_tries_again(calls: Callable[[float, str], None]) -> None:
    """gRPC's own back-off would make four attempts in these five seconds, and none in the next four."""
    with listener(lambda connection: connection.close()) as (address, connected):
        calls(5, address)
        assert len(connected) >= 6, connected


@pytest.mark.parametrize("calls", [call_for, call_for_by_asyncio])
def test_an_attempt_that_nobody_answers_is_given_up(calls: Callable[[float, str], None]) -> None:
    """gRPC's own attempt would last 20 seconds."""
    silent: list[socket.socket] = []
    with listener(silent.append) as (address, connected):
        calls(7, address)
        assert len(connected) >= 3, connected
    for connection in silent:
        connection.close()


class Service(KeyManagementServiceServicer):
    def Encrypt(self, request: pb.EncryptRequest, context: grpc.ServicerContext) -> pb.EncryptResponse:  # noqa: N802
        return pb.EncryptResponse(ciphertext_blob=b"blob")


def started(port: int = 0) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_KeyManagementServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def test_a_live_client_finds_a_server_that_is_back() -> None:
    server, port = started()
    with KeyManagementClient(f"127.0.0.1:{port}", token=TOKEN) as kms:
        assert kms.encrypt("key", b"x").ciphertext_blob == b"blob"
        server.stop(0).wait()
        keep_calling(kms, seconds=6)
        server, _ = started(port)
        back = time.monotonic()
        while time.monotonic() < back + 30:
            try:
                kms.encrypt("key", b"x")
                break
            except ClientError:
                time.sleep(0.02)
        assert time.monotonic() - back < PATIENCE
    server.stop(0).wait()


def keep_calling(kms: KeyManagementClient, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with pytest.raises(ClientError):
            kms.encrypt("key", b"x")
