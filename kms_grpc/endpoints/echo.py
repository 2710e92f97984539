"""What `kms-grpc bench` measures against, served where the setting `bench` is on: gRPC itself, with nothing in between.

`Echo` answers a message with another one, as long as the first four bytes of the request say (u32, big-endian);
`EchoStream` sends each message of a stream back.
`Usage` answers, as JSON, what the kernel says this process has used. Neither asks who calls, nor tells what only a
caller may know.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import grpc
import msgspec

Context = grpc.aio.ServicerContext[bytes, bytes]

SERVICE = "kms_grpc.bench.Bench"
ECHO = f"/{SERVICE}/Echo"
ECHO_STREAM = f"/{SERVICE}/EchoStream"
USAGE = f"/{SERVICE}/Usage"
LARGEST_ANSWER = 4 * 1024 * 1024

_ANSWER = bytes(LARGEST_ANSWER)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def echo_request(size: int, answer_size: int) -> bytes:
    """A request of `size` bytes (4 or more) for an answer of `answer_size`, at most LARGEST_ANSWER."""
    return answer_size.to_bytes(4) + bytes(size - 4)


def echo_handlers(worker: str) -> list[grpc.GenericRpcHandler]:
    """For GrpcServer.start(extra=…). `worker` is the name in the metadata `kms-worker`."""
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


def resident_bytes() -> int:
    """Memory of this process that is in RAM now (/proc/self/statm)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
