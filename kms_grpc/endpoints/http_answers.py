"""An HTTP answer as it goes out: header names as the door spells them, head and body in one write.

Header names are case-insensitive (RFC 9110 §5.1), and uvicorn writes them in lower case. A widely used client in C
looks for `Content-Length` by case, so they go out as AWS writes them.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Header = tuple[bytes, bytes]


class HttpAnswer:
    """The ASGI application `app` with another way to send: in place of that of uvicorn's cycle."""

    def __init__(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._cycle = cycle
        self._app = app
        self._head = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, self.send)

    async def send(self, message: Any) -> None:
        """Takes `http.response.start`, and then one `http.response.body` with the whole body."""
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._head = self._head_of(message["status"], message["headers"])
            return
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if not cycle.disconnected:
            cycle.transport.write(self._head if cycle.scope["method"] == "HEAD" else self._head + message["body"])
            self._end()

    def _head_of(self, status: int, headers: list[Header]) -> bytes:
        cycle = self._cycle
        cycle.keep_alive = cycle.keep_alive and (b"Connection", b"close") not in headers
        date = [(b"Date", value) for name, value in cycle.default_headers if name == b"date"]
        ends = [] if cycle.keep_alive or (b"Connection", b"close") in headers else [(b"Connection", b"close")]
        lines = [b"%b: %b\r\n" % header for header in (*date, *headers, *ends)]
        return STATUS_LINE[status] + b"".join(lines) + b"\r\n"

    def _end(self) -> None:
        """Ends the request in uvicorn's cycle, as its own `send` does after a whole answer."""
        cycle = self._cycle
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
