"""A bare gRPC service as the baseline of `kms-grpc bench`, served by its own server (server_process.py).

`Echo` answers with as many bytes as the first four bytes of the request say (u32, big-endian). `EchoStream` sends each
message of a stream back. `Usage` answers with the CPU time and memory of this process as JSON. None of them checks the
caller or reveals anything about keys.
"""

from __future__ import annotations

import resource
from typing import Any

import grpc
import msgspec

from kms_grpc.processes.memory import resident_bytes

Context = grpc.aio.ServicerContext[bytes, bytes]

SERVICE = "kms_grpc.bench.Bench"
ECHO = f"/{SERVICE}/Echo"
ECHO_STREAM = f"/{SERVICE}/EchoStream"
USAGE = f"/{SERVICE}/Usage"
LARGEST_ANSWER = 4 * 1024 * 1024

_ANSWER = bytes(LARGEST_ANSWER)


def echo_request(size: int, answer_size: int) -> bytes:
    """Returns a request of `size` bytes (at least 4) for a response of `answer_size` bytes (at most LARGEST_ANSWER)."""
    return answer_size.to_bytes(4) + bytes(size - 4)


def echo_handlers(worker: str) -> list[grpc.GenericRpcHandler]:
    """Returns handlers for the parameter `extra` of GrpcServer. `worker` is its name in the metadata `kms-worker`."""
    return [_Bench(worker)]


class _Bench(grpc.GenericRpcHandler):
    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._handlers: dict[str, Any] = {
            ECHO: grpc.unary_unary_rpc_method_handler(self._echo),
            ECHO_STREAM: grpc.stream_stream_rpc_method_handler(self._echo_stream),
            USAGE: grpc.unary_unary_rpc_method_handler(self._usage),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)

    async def _echo(self, raw: bytes, context: Context) -> bytes:
        return _ANSWER[: int.from_bytes(raw[:4])]

    async def _echo_stream(self, _: Any, context: Any) -> None:
        while (raw := await context.read()) is not grpc.aio.EOF:
            await context.write(raw)

    async def _usage(self, raw: bytes, context: Context) -> bytes:
        used = resource.getrusage(resource.RUSAGE_SELF)
        facts = {
            "worker": self._worker,
            "user_ns": round(used.ru_utime * 1e9),
            "system_ns": round(used.ru_stime * 1e9),
            "resident_bytes": resident_bytes(),
        }
        return msgspec.json.encode(facts)
