"""The parser of HTTP requests. It ignores requests to upgrade to another protocol, as RFC 9110 §7.8 allows.

llhttp, which httptools wraps, ends a message at the head of a request to upgrade: what follows would belong to the
other protocol. Java's HttpClient asks for `h2c` in the first request on each connection, and sends its body with it.
Such a head is parsed a second time without its header Upgrade, and the message goes on.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

UPGRADE: Final = b"upgrade"


class RequestParser:
    """Stands in for httptools.HttpRequestParser in uvicorn's protocol, whose callbacks it calls."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._ignored: list[tuple[bytes, bytes]] = []
        for name in ("on_message_begin", "on_url", "on_header", "on_body"):
            setattr(self, name, getattr(protocol, name))
        self._parser = self._new_parser()

    def feed_data(self, data: bytes) -> None:
        """Raises HttpParserError for bytes that are not HTTP, and for CONNECT."""
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as at:
                rest = rest[at.args[0] :]
                self._parse_head_again()
            else:
                return

    def should_upgrade(self) -> bool:
        """Returns False."""
        return False

    def should_keep_alive(self) -> bool:
        """Returns whether the connection stays open after the message."""
        return bool(self._parser.should_keep_alive())

    def get_http_version(self) -> str:
        """Returns `1.1` or `1.0`."""
        return str(self._parser.get_http_version())

    def get_method(self) -> bytes:
        """Returns the method in upper case."""
        return bytes(self._parser.get_method())

    def on_headers_complete(self) -> None:
        """Begins the request, unless its head is parsed again. The ignored headers are there for the signature."""
        if not self._parser.should_upgrade():
            self._protocol.headers += self._ignored
            self._ignored = []
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends the request, unless only its head was parsed."""
        if not self._parser.should_upgrade():
            self._protocol.on_message_complete()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's: bytes after Connection: close
        return parser

    def _parse_head_again(self) -> None:
        """Gives the head that was parsed to a new parser, without Upgrade. The message goes on with that one."""
        method, version, url = self.get_method(), self.get_http_version(), self._protocol.url
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is not supported")
        pairs = self._protocol.headers
        self._ignored = [pair for pair in pairs if pair[0] == UPGRADE]
        lines = [b"%b: %b\r\n" % pair for pair in pairs if pair[0] != UPGRADE]
        self._parser = self._new_parser()
        self._parser.feed_data(b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(lines)))
