"""A bare ASGI endpoint as the baseline of `kms-grpc bench` for the AWS door, served by its own server.

`POST /kms_grpc.bench/echo?SIZE` reads the body and answers with SIZE bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

ECHO_PATH: Final = "/kms_grpc.bench/echo"
LARGEST_ANSWER: Final = 1024 * 1024
_ANSWER: Final = bytes(LARGEST_ANSWER)

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def with_echo(door: Asgi) -> Asgi:
    """Returns an application that serves the echo path itself and passes all other requests to `door`."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != ECHO_PATH:
            await door(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        answer = _ANSWER[: int(scope["query_string"])]
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return application
