"""Where the keys of issuers come from: a file, or an https URL that is fetched in the background.

Each URL has a thread of its own, so that one that fails or hangs holds up neither calls nor other issuers. There is one
request at a time; between the beginnings of two lie `cooldown` seconds at least, also while it fails, however many
unknown key ids callers send. Keys stay in force while fetches fail, until `stale` seconds after the last success.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from kms_grpc.authentication.key_sets import NO_KEYS, KeySet, Unusable, parse

COOLDOWN_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 5.0
"""Longest time of a fetch in all."""
FETCH_BYTES: Final = 512 * 1024
FIRST_SECONDS: Final = 2.0
"""How long a new source may hold up the start of a worker, or a reload, for its first fetch."""
_log = logging.getLogger(__name__)


class KeySource(Protocol):
    """The keys of an issuer."""

    keys: KeySet
    """The keys in force: the same object until others are."""

    def miss(self) -> None:
        """Notes that a key was not found, so that a changed set is looked for. It does not wait."""


class FileKeys:
    """Implements KeySource for a file that the supervisor has read."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    def miss(self) -> None:
        """See KeySource. A reload brings a changed file."""


class KeySetUrl(NamedTuple):
    """The place of a key set, and how it is kept."""

    url: str
    ca: str | None
    """PEM of the CA that certifies the host; None for the system's."""
    refresh: float
    stale: float
    cooldown: float = COOLDOWN_SECONDS


class FetchedKeys:
    """Implements KeySource for a URL."""

    def __init__(self, place: KeySetUrl, fetch: Callable[[KeySetUrl], str] | None = None) -> None:
        self.keys = NO_KEYS
        self._place = place
        self._fetch = fetch or fetched
        self._wanted, self._ended, self._is_over = threading.Event(), threading.Event(), False
        self._good_until = 0.0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="key set", daemon=True)

    def start(self) -> None:
        """Begins to fetch. Returns after the first fetch, or after FIRST_SECONDS."""
        self._thread.start()
        self._ended.wait(FIRST_SECONDS)

    def stop(self) -> None:
        """Ends the thread, after the fetch that is under way."""
        self._is_over = True
        self._wanted.set()

    def miss(self) -> None:
        """See KeySource."""
        self._wanted.set()

    def _run(self) -> None:
        while not self._is_over:
            self._wanted.clear()
            begun = time.monotonic()
            self._renew()
            self._ended.set()
            self._sleep(begun)

    def _sleep(self, begun: float) -> None:
        """Waits for the next refresh or, after the cool-down, for a missed key; keys that are too old end meanwhile."""
        while not self._is_over:
            now = time.monotonic()
            if now >= self._good_until and self.keys is not NO_KEYS:
                self.keys = NO_KEYS
                _log.error("the keys of %s are too old and are no longer used", self._place.url)
            due = begun + (self._place.cooldown if self._wanted.is_set() else self._place.refresh)
            if now >= due and now >= begun + self._place.cooldown:
                return
            ends = [due] if self.keys is NO_KEYS else [due, self._good_until]
            pause = max(0.0, min(ends) - now)
            if self._wanted.is_set():
                time.sleep(min(pause, 0.25))
            else:
                self._wanted.wait(pause)

    def _renew(self) -> None:
        try:
            text = self._fetch(self._place)
            if text != self.keys.text:
                self.keys = parse(text)
                _log.info("the keys of %s were renewed", self._place.url, extra={"keys": len(self.keys.keys)})
            self._good_until = time.monotonic() + self._place.stale
            self._trouble = ""
        except Exception as error:
            self._note(str(error) if isinstance(error, Unusable) else type(error).__name__)

    def _note(self, trouble: str) -> None:
        """Logs each kind of failure once."""
        if trouble != self._trouble:
            _log.warning("the keys of %s cannot be renewed: %s", self._place.url, trouble)
        self._trouble = trouble


class KeySources:
    """The sources of one worker. A reload keeps those whose place has not changed, with their keys."""

    def __init__(self) -> None:
        self._fetched: dict[KeySetUrl, FetchedKeys] = {}

    def at(self, place: KeySetUrl) -> FetchedKeys:
        """Returns the source of a place, which fetches from now on."""
        source = self._fetched.get(place)
        if source is None:
            source = self._fetched[place] = FetchedKeys(place)
            source.start()
        return source

    def keep(self, sources: Iterable[KeySource]) -> None:
        """Ends all sources but these."""
        kept = [*sources]
        for place, source in [*self._fetched.items()]:
            if not any(source is each for each in kept):
                del self._fetched[place]
                source.stop()


def fetched(place: KeySetUrl) -> str:
    """Returns the content of a URL, of at most FETCH_BYTES and in at most FETCH_SECONDS. Redirections and proxies are
    not followed. Raises Unusable, OSError and http.client.HTTPException."""
    parts = urlsplit(place.url)
    context = ssl.create_default_context(cadata=place.ca)
    assert parts.hostname is not None
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=FETCH_SECONDS, context=context)
    watchdog = _Watchdog(connection)
    watchdog.start()
    try:
        connection.connect()
        watchdog.socket = connection.sock
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise Unusable(f"HTTP status {answer.status}")
        content = answer.read(FETCH_BYTES + 1)
    finally:
        watchdog.cancel()
        connection.close()
    watchdog.require_time()
    if len(content) > FETCH_BYTES:
        raise Unusable(f"it has more than {FETCH_BYTES} bytes")
    return content.decode("utf-8", "replace")


class _Watchdog(threading.Timer):
    """Ends a connection after FETCH_SECONDS, however slowly its bytes trickle in."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        super().__init__(FETCH_SECONDS, self._hang_up)
        self.daemon = True
        self._connection = connection
        self.socket: socket.socket | None = None
        """The socket, once connected: an answer takes it away from its connection."""
        self._has_barked = False

    def require_time(self) -> None:
        """Raises TimeoutError if the connection was ended."""
        if self._has_barked:
            raise TimeoutError

    def _hang_up(self) -> None:
        self._has_barked = True
        held = self.socket or self._connection.sock
        if held is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(held, socket.SHUT_RDWR)
