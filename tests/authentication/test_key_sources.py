"""Keys that are fetched: strangers, failures and slow answers hold up nobody, and an outage wipes nothing."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.authentication import key_sources
from kms_grpc.authentication.key_sets import NO_KEYS, Unusable, parse
from kms_grpc.authentication.key_sources import FetchedKeys, KeySetUrl, KeySources, fetched
from tests.authentication.signed import ED, OTHER_ED, jwk, key_set
from tests.certificates import Authority, lay
from tests.processes.stand_in_server import eventually

ONE, OTHER = key_set(jwk(ED, "one")), key_set(jwk(OTHER_ED, "two"))
HOUR = 3600.0


class Endpoint:
    """Answers fetches: with a text, an error, or after the endpoint is released."""

    def __init__(self, answer: str | Exception = ONE) -> None:
        self.answer = answer
        self.hangs = threading.Event()
        self.hangs.set()
        self.fetches: list[float] = []
        self.under_way = self.most_under_way = 0

    def fetch(self, _: KeySetUrl) -> str:
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        self.fetches.append(time.monotonic())
        self.hangs.wait(30)
        self.under_way -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@contextlib.contextmanager
def fetching(endpoint: Endpoint, refresh: float = HOUR, stale: float = HOUR, cooldown: float = 0.3) -> Iterator[Any]:
    source = FetchedKeys(KeySetUrl("https://keys.example.com", None, refresh, stale, cooldown), endpoint.fetch)
    source.start()
    try:
        yield source
    finally:
        endpoint.hangs.set()
        source.stop()
        source._thread.join(10)
        assert not source._thread.is_alive()


@pytest.mark.parametrize("answer", [ONE, Unusable("HTTP status 500")], ids=["well", "failing"])
def test_many_unknown_keys_cost_one_fetch_in_a_cool_down(answer: str | Exception) -> None:
    endpoint = Endpoint(answer)
    with fetching(endpoint) as source:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            source.miss()
            time.sleep(0.005)
    pauses = [later - earlier for earlier, later in zip(endpoint.fetches, endpoint.fetches[1:], strict=False)]
    assert len(endpoint.fetches) >= 2, "a missed key is looked for"
    assert min(pauses) >= 0.3, "never sooner than the cool-down"
    assert endpoint.most_under_way == 1


def test_a_fetch_that_hangs_delays_no_known_key() -> None:
    endpoint = Endpoint()
    with fetching(endpoint, cooldown=0.01) as source:
        known = source.keys
        endpoint.hangs.clear()
        source.miss()
        eventually(lambda: endpoint.under_way == 1, "a fetch that hangs")
        for _ in range(20):
            source.miss()
            assert source.keys is known, "what is known is there at once"
        time.sleep(0.1)
        assert (endpoint.under_way, len(endpoint.fetches)) == (1, 2), "one request under way"


def test_a_new_key_is_found_after_the_cool_down_and_a_withdrawn_one_is_gone() -> None:
    endpoint = Endpoint()
    with fetching(endpoint) as source:
        assert source.keys.find("one", "EdDSA")
        endpoint.answer = OTHER
        source.miss()
        assert eventually(lambda: source.keys.find("two", "EdDSA"), "the new key")
        assert not source.keys.find("one", "EdDSA")


def test_the_same_answer_leaves_the_same_keys_in_force() -> None:
    """Verdicts that were found under them stay remembered."""
    endpoint = Endpoint()
    with fetching(endpoint, refresh=0.05, cooldown=0.01) as source:
        known = source.keys
        eventually(lambda: len(endpoint.fetches) > 3, "several fetches")
        assert source.keys is known


@pytest.mark.parametrize(
    "trouble",
    ["<html>", "[]", '{"keys":[]}', OSError("no route"), Unusable("HTTP status 500"), ValueError("?")],
    ids=str,
)
def test_keys_stay_while_fetches_fail_and_end_by_their_bound(
    trouble: str | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = Endpoint()
    with fetching(endpoint, refresh=0.02, stale=1.0, cooldown=0.01) as source:
        known = source.keys
        endpoint.answer = trouble
        seen = len(endpoint.fetches)
        eventually(lambda: len(endpoint.fetches) > seen + 3, "fetches that fail")
        assert source.keys is known
        eventually(lambda: source.keys is NO_KEYS, "the bound")
        endpoint.answer = ONE
        assert eventually(lambda: source.keys.find("one", "EdDSA"), "the keys are back")
    messages = [record.getMessage() for record in caplog.records]
    assert sum("cannot be renewed" in message for message in messages) == 1, "each kind of failure is logged once"
    assert sum("no longer used" in message for message in messages) == 1


def test_one_issuer_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_sources, "FIRST_SECONDS", 0.05)
    endpoints = {"https://down": Endpoint(), "https://well": Endpoint()}
    endpoints["https://down"].hangs.clear()
    monkeypatch.setattr(key_sources, "fetched", lambda place: endpoints[place.url].fetch(place))
    sources = KeySources()
    down, well = (sources.at(KeySetUrl(url, None, HOUR, HOUR)) for url in endpoints)
    assert eventually(lambda: well.keys.find("one", "EdDSA"), "the other's keys")
    assert down.keys is NO_KEYS
    assert sources.at(KeySetUrl("https://well", None, HOUR, HOUR)) is well, "a reload keeps it with its keys"
    sources.keep([well])
    endpoints["https://down"].hangs.set()
    down._thread.join(10)
    assert not down._thread.is_alive()
    assert well._thread.is_alive()
    sources.keep([])


# --- over https ------------------------------------------------------------------------------------------------------

Answer = Callable[[Any], None]


def well(handler: Any) -> None:
    send(handler, 200, ONE.encode())


def send(handler: Any, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def trickling(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler: Any) -> None:
    handler.rfile.read()


@contextlib.contextmanager
def serving(folder: Path, answer: Answer) -> Iterator[KeySetUrl]:
    """Serves one kind of answer by https."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    authority = Authority()
    files = lay(folder, *authority.pair())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate_file, files.key_file)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield KeySetUrl(f"https://127.0.0.1:{server.server_port}/keys?a=b", authority.pem.decode(), HOUR, HOUR)
    finally:
        server.shutdown()
        server.server_close()


def test_keys_are_fetched_by_https(tmp_path: Path) -> None:
    with serving(tmp_path, well) as place:
        assert parse(fetched(place)).find("one", "EdDSA")
        with pytest.raises(ssl.SSLError):
            fetched(place._replace(ca=None))  # a host that the system's CAs do not know


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda handler: send(handler, 500, b""), Unusable),
        (lambda handler: send(handler, 302, b"", Location="https://127.0.0.1:1/"), Unusable),  # not followed
        (lambda handler: send(handler, 200, b" " * (key_sources.FETCH_BYTES + 1)), Unusable),
        (trickling, OSError),
        (silent, OSError),
    ],
    ids=["500", "redirected", "too large", "trickling", "silent"],
)
def test_size_and_time_of_an_answer_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, error: type[Exception]
) -> None:
    """The last two would go on for ever."""
    monkeypatch.setattr(key_sources, "FETCH_SECONDS", 0.5)
    with serving(tmp_path, answer) as place, pytest.raises(error):
        parse(fetched(place))
