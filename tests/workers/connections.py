"""Connections that a test spreads over all workers of a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kms_grpc.v1 import envelope_pb2, envelope_pb2_grpc, key_management_pb2_grpc
from kms_grpc.v1 import key_management_pb2 as pb
from tests.served import Served

CONNECTIONS = 8
SECONDS = 60
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]


class Caller:
    """A client with one connection. `worker` is the index of the worker that serves it, from trailing metadata."""

    def __init__(self, server: Served, held: ExitStack, token: str | None = None) -> None:
        self._connect(server, held, token or server.token)
        _, call = self._stub.GenerateRandom.with_call(
            pb.GenerateRandomRequest(number_of_bytes=1), metadata=self._metadata, timeout=SECONDS, wait_for_ready=True
        )
        self.worker = int(dict(call.trailing_metadata())["kms-worker"])

    @classmethod
    def unknown(cls, server: Served, held: ExitStack, token: str) -> Caller:
        """Returns a client whose calls may be refused. Its worker is not known."""
        made = object.__new__(cls)
        made._connect(server, held, token)
        return made

    def _connect(self, server: Served, held: ExitStack, token: str) -> None:
        self.channel = held.enter_context(grpc.insecure_channel(server.address, OPTIONS))
        self._stub = key_management_pb2_grpc.KeyManagementServiceStub(self.channel)
        self._envelopes = envelope_pb2_grpc.EnvelopeServiceStub(self.channel)
        self._metadata = (("authorization", f"Bearer {token}"), ("kms-region", server.regions[0]))

    def call(self, name: str, **fields: Any) -> Any:
        """Call an operation and return its response. Raises grpc.RpcError."""
        return self.begin(name, **fields).result()

    def begin(self, name: str, **fields: Any) -> Any:
        """Send a call; `outcome` waits for its response."""
        messages = envelope_pb2 if name.endswith("Batch") else pb
        return self.send(name, getattr(messages, f"{name}Request")(**fields))

    def send(self, name: str, request: Any, request_id: str | None = None) -> Any:
        """Send a call with a given request message."""
        metadata = (*self._metadata, ("kms-request-id", request_id)) if request_id else self._metadata
        stub = self._envelopes if name.endswith("Batch") else self._stub
        return getattr(stub, name).future(request, metadata=metadata, timeout=SECONDS)


def outcome(call: Any) -> Any:
    """Returns the response, or AWS's name of the error."""
    try:
        return call.result()
    except grpc.RpcError as error:
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        if status is None or not any(detail.Unpack(info) for detail in status.details):
            raise
        return info.reason


def connect(server: Served, held: ExitStack, workers: int = 2, token: str | None = None) -> list[Caller]:
    """Returns eight connections of the account's root, or of `token`, at least two for each worker: reconnects until
    the kernel has spread them so."""
    callers: list[Caller] = []
    while len(callers) < CONNECTIONS:
        caller = Caller(server, held, token)
        missing = sum(max(0, 2 - sum(c.worker == w for c in callers)) for w in range(workers))
        needed = sum(c.worker == caller.worker for c in callers) < 2
        if needed or CONNECTIONS - len(callers) > missing:
            callers.append(caller)
        else:
            caller.channel.close()
    assert {caller.worker for caller in callers} == set(range(workers))
    return callers


def ask_all(callers: Sequence[Caller], name: str, **fields: Any) -> list[Any]:
    """Send the same call through every connection, then wait for all responses; return the outcomes."""
    calls = [caller.begin(name, **fields) for caller in callers]
    return [outcome(call) for call in calls]


def worker_pid(server: Served, index: int) -> int:
    """Returns the pid of a running worker, from the supervisor's log."""
    lines = (line for line in server.log_text().splitlines() if f"worker-{index} is ready" in line)
    return int(json.loads(list(lines)[-1])["child"])
