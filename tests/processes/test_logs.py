"""A log entry is one line with its extras and never contains a token."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from kms_grpc.processes import logs

TOKEN = "0f3a-very-secret-9c1b7d5e"
PLANTED = "planted-secret-of-a-configuration"


class _Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(params=[False, True], ids=["json", "people"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Stream]:
    root = logging.getLogger()
    before = root.handlers, root.level, logging.raiseExceptions
    stream = _Stream(request.param)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logs, "_digests", {})
    logs.configure("worker-3", "debug")
    logs.hide([PLANTED])
    yield stream
    root.handlers, root.level, logging.raiseExceptions = before


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (f"authorization: Bearer {TOKEN}", ()),
        ("metadata %s", ({"authorization": f"Bearer {TOKEN}"},)),  # a whole dictionary
        ("header %r", (f"bearer {TOKEN}",)),  # any case
        ("header %r", (("authorization", f"Bearer  {TOKEN}"),)),
        (f"Authorization=BEARER={TOKEN}; next", ()),
        ("token %s is unknown", (PLANTED,)),  # without the word Bearer, but passed to `hide`
        ("%s", (f"x{PLANTED}y",)),  # inside another text
    ],
)
def test_tokens_are_hidden(stream: _Stream, message: str, arguments: tuple[object, ...]) -> None:
    try:
        raise ValueError(f"Bearer {TOKEN} {PLANTED}")
    except ValueError:
        logging.getLogger("test").exception(message, *arguments, extra={"peer": f"Bearer {TOKEN}", "more": [PLANTED]})
    text = stream.getvalue()
    assert "[hidden]" in text
    assert TOKEN not in text
    assert PLANTED not in text


def test_an_entry_is_one_line_with_its_extras(stream: _Stream) -> None:
    logging.getLogger("kms_grpc.test").warning("two\nlines", extra={"status": "was killed", "count": 3, "none": None})
    text = stream.getvalue()
    if stream.isatty():
        assert text.endswith(" worker-3: warning: two\nlines (status=was killed count=3)\n")
        return
    assert text.count("\n") == 1
    entry = json.loads(text)
    expected = {"level": "warning", "process": "worker-3", "logger": "kms_grpc.test", "message": "two\nlines"}
    assert entry.items() >= (expected | {"status": "was killed", "count": 3}).items()
    assert "none" not in entry


def test_entries_below_the_level_are_dropped(stream: _Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)  # pytest replaces it between fixture and test
    logs.configure("worker-3", "warning")
    logging.getLogger("kms_grpc.test").info("not this")
    logging.getLogger("kms_grpc.test").error("but this")
    assert "not this" not in stream.getvalue()
    assert "but this" in stream.getvalue()
