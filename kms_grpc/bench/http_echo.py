"""A bare ASGI endpoint, served by uvicorn in the worker: the baseline of `kms-grpc bench` for the AWS door.

`POST /kms_grpc.bench/echo?SIZE` reads the body and answers with SIZE bytes. Its port is in the file `echo-port` of the
data directory, which the bench writes before the server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kms_grpc.config import Settings
from kms_grpc.endpoints.base import Door

ECHO_PATH: Final = "/kms_grpc.bench/echo"
PORT_FILE: Final = "echo-port"
LARGEST_ANSWER: Final = 1024 * 1024
_ANSWER: Final = bytes(LARGEST_ANSWER)


def echo_doors(settings: Settings) -> Sequence[Door]:
    """Returns the echo's door, if the bench has given it a port."""
    port = settings.data_dir / PORT_FILE
    return [EchoServer(int(port.read_text()))] if port.exists() else []


class EchoServer:
    """Implements Door. Create it inside a running event loop."""

    def __init__(self, port: int) -> None:
        import uvicorn  # only here: the server itself does not need it

        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

        class Embedded(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield  # they are the worker's

        self._server = Embedded(
            uvicorn.Config(
                _echo, port=port, http="httptools", ws="none", lifespan="off", loop="none", interface="asgi3",
                log_config=None, access_log=False, proxy_headers=False, server_header=False,
            )
        )  # fmt: skip
        self._serving: asyncio.Task[None]

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve())
        while not (self._server.started or self._serving.done()):
            await asyncio.sleep(0.005)

    async def drain(self, _: float) -> None:
        self._server.should_exit = True
        await self._serving


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    answer = _ANSWER[: int(scope["query_string"])]
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
