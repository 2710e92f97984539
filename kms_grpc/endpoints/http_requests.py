"""The parser of HTTP requests: httptools' (llhttp), with bounds on the head and without upgrades.

httptools gathers a header in Python, piece by piece, and has no limit of its own: a head is refused here once it has
more than HEAD_BYTES or HEADERS, and of an unfinished head no more is kept than that and one piece.

llhttp ends a message at the head of a request to upgrade: the bytes that follow would belong to the other protocol.
RFC 9110 §7.8 lets a server ignore the upgrade, and Java's HttpClient asks for `h2c` in the first request on each
connection, whose body it sends at once. Such a head is parsed a second time without its header Upgrade, and the message
goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httptools

HEAD_BYTES: Final = 16 * 1024
"""Longest head of a request, as at the gRPC door. A signed request of AWS's SDKs has about 1 KiB."""
PIECE_BYTES: Final = 32 * 1024
"""Most bytes that are given to the parser at once."""
HEADERS: Final = 100
"""Most headers of a request. AWS's SDKs send about ten."""
CONTINUE: Final = b"100-continue"

Headers = dict[bytes, bytes]


class BadRequest(Exception):
    """The bytes are not a request that can be served. The connection ends with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return self.text


NOT_HTTP: Final = "Invalid HTTP request received."
HEAD_TOO_LARGE: Final = f"The head of a request may have at most {HEAD_BYTES} bytes and {HEADERS} headers."


class Request:
    """A request. Without `is_whole` its body is larger than the limit, and was not read."""

    __slots__ = ("method", "path", "query", "headers", "body", "keep_alive", "is_whole")

    def __init__(self, method: bytes, path: bytes, query: bytes, headers: Headers, keep_alive: bool) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = b""
        self.is_whole = True


class RequestParser:
    """Parses the requests of one connection and gives each to `take`. The on_… methods are httptools'."""

    def __init__(self, take: Callable[[Request], None], largest: int) -> None:
        """`largest` is the size of the largest body in bytes."""
        self._take = take
        self._largest = largest
        self._ignored: list[tuple[bytes, bytes]] = []
        self._pairs: list[tuple[bytes, bytes]] = []
        self._fed = self._size = 0
        """Bytes of the pieces in which the head has come, and of the last piece."""
        self._refusal: BadRequest | None = None
        self._parser = self._new_parser()
        self.begun = False
        """The head of a request is being read."""
        self.reading_body = False
        self.body_bytes = 0
        """Bytes of the body that have arrived."""
        self.expects_continue = False
        """The peer waits for `100 Continue` before it sends its body. The caller that writes it sets this to False."""

    def feed(self, data: memoryview) -> None:
        """Takes the next bytes. Raises BadRequest."""
        self._size = len(data)
        if self.begun:
            self._fed += self._size
        try:
            self._feed(data)
        except httptools.HttpParserError:
            raise self._refusal or BadRequest(400, NOT_HTTP) from None
        if (self.begun and self._fed > HEAD_BYTES + PIECE_BYTES) or len(self._pairs) > HEADERS:
            raise BadRequest(431, HEAD_TOO_LARGE)

    def _feed(self, data: memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as at:
                data = data[at.args[0] :]
                self._parse_head_again()
            else:
                return

    # --- called by httptools -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.begun = True
        self._fed = self._size
        self._url = b""
        self._pairs = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """Begins the request, unless its head is parsed again. The ignored headers are kept for the signature."""
        parser, pairs = self._parser, self._pairs
        self._check_size(pairs)
        if parser.should_upgrade():
            return
        headers: Headers = {}
        for name, value in (*pairs, *self._ignored) if self._ignored else pairs:
            lower = name.lower()
            headers[lower] = headers[lower] + b"," + value.strip() if lower in headers else value.strip()
        self._ignored, self._pairs = [], []  # trailers follow, which nobody signs
        url, query = self._url, b""
        if url != b"/":
            parsed = httptools.parse_url(url)
            url, query = parsed.path or b"", parsed.query or b""
        is_1_1 = parser.get_http_version() != "1.0"
        self.begun, self.body_bytes, self._parts = False, 0, list[bytes]()
        self._request = Request(parser.get_method(), url, query, headers, is_1_1 and parser.should_keep_alive())
        self.reading_body = True
        stated = headers.get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > self._largest:
            self._end_unread()
        self.expects_continue = is_1_1 and headers.get(b"expect", b"").lower() == CONTINUE

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if self.body_bytes > self._largest:
            self._end_unread()
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Ends the request, unless only its head was parsed."""
        if self._parser.should_upgrade():
            return
        self.reading_body = self.expects_continue = False
        parts = self._parts
        self._request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._take(self._request)

    def _check_size(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """Refuses a head that is too large. A head that came in few bytes cannot be, so its headers are not counted."""
        if len(pairs) <= HEADERS and self._fed <= HEAD_BYTES:
            return
        if len(pairs) > HEADERS or len(self._url) + sum([len(name) + len(value) for name, value in pairs]) > HEAD_BYTES:
            self._refusal = BadRequest(431, HEAD_TOO_LARGE)
            raise self._refusal

    def _end_unread(self) -> None:
        """Gives the request without its body. The connection ends with its answer."""
        self._request.is_whole = self._request.keep_alive = self.reading_body = False
        self._parts.clear()
        self._take(self._request)
        self._refusal = BadRequest(413, "")
        raise self._refusal

    # --- requests to upgrade -------------------------------------------------------------------------------------

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # bytes after Connection: close are ignored
        return parser

    def _parse_head_again(self) -> None:
        """Gives the head that was parsed to a new parser, without Upgrade. The message goes on with that one."""
        parser, pairs, url = self._parser, self._pairs, self._url
        method, version = parser.get_method(), parser.get_http_version()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is not supported")
        self._ignored = [pair for pair in pairs if pair[0].lower() == b"upgrade"]
        lines = [b"%b: %b\r\n" % pair for pair in pairs if pair[0].lower() != b"upgrade"]
        self._parser = self._new_parser()
        self._parser.feed_data(b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(lines)))
