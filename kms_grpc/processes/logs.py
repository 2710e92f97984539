"""Logging of all processes to standard error: one JSON object per line, or plain text if it is a terminal.

The argument `extra` of a logging call becomes members of the object. Secrets are removed from the finished line: the
text after the word Bearer, and every text passed to `hide`. The process keeps only digests of the texts to hide.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import msgspec

_BEARER: Final = re.compile(r"(?i)\bbearer[\s:=]+[^\s\"',;]+")
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_WORD: Final = re.compile(r"\S+")
_digests: dict[int, set[bytes]] = {}  # digests of the texts to hide, by the texts' lengths


def configure(process: str, level: str = "info") -> None:
    """Send this process's logs to standard error. `process` names it: `supervisor`, `worker-0`, `keeper`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ForPeople(process) if sys.stderr.isatty() else AsJson(process))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "alembic"):
        logging.getLogger(noisy).setLevel("WARNING" if level != "debug" else "DEBUG")
    logging.raiseExceptions = False


def hide(secrets: Iterable[str]) -> None:
    """Replace these texts, which have no spaces, in all later log lines by [hidden]."""
    for secret in secrets:
        if secret:
            _digests.setdefault(len(secret), set()).add(_digest(secret))


def hide_digests(secrets: Iterable[tuple[int, bytes]]) -> None:
    """Does the same for texts of which length and SHA-256 are known."""
    for length, digest in secrets:
        _digests.setdefault(length, set()).add(digest)


def without_secrets(text: str) -> str:
    return _WORD.sub(lambda word: _hidden_in(word[0]), _BEARER.sub("Bearer [hidden]", text))


def _hidden_in(word: str) -> str:
    """Hides each part of the word that is a secret, by trying all parts as long as one. Words are short, so these are
    few."""
    for length, digests in _digests.items():
        at = 0
        while at + length <= len(word):
            if _digest(word[at : at + length]) in digests:
                word = f"{word[:at]}[hidden]{word[at + length :]}"
                at += len("[hidden]")
            else:
                at += 1
    return word


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class AsJson(logging.Formatter):
    """Formats a record as `{"time": …, "level": …, "process": …, "pid": …, "logger": …, "message": …, …}`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_extra(record))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return without_secrets(msgspec.json.encode(line, enc_hook=str).decode())


class ForPeople(logging.Formatter):
    """Formats a record as `18:10:22 worker-0: message (name=value …)`, with any level other than info named."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        text = f"{_time(record)[11:19]} {self._process}: {level}{record.getMessage()}{f' ({extra})' if extra else ''}"
        if record.exc_info and logging.getLogger().isEnabledFor(logging.DEBUG):
            text += "\n" + self.formatException(record.exc_info)
        return without_secrets(text)


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN and value is not None}
