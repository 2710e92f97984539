"""The oracle of the crash test: a file of requests and answers, each on disk before the next call is made.

It is a file of JSON lines that only the test writes: {"call": n, "op": …, "args": {…}} before a call, and after its
answer {"call": n, "answer": {…}}, fsynced. A call without an answer took effect wholly or not at all. `Expected` is
read from that file only. It has, for each key, alias and field, the values that it may have: more than one only after
a call without an answer.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """Writes requests and answers to a file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._calls = 0
        self._expected = Expected()
        self._read_to = 0
        self.answered = 0
        self.path = path

    def asked(self, op: str, **args: Any) -> int:
        with self._lock:
            self._calls += 1
            self._write({"call": self._calls, "op": op, "args": args})
            return self._calls

    def answer(self, call: int, **answer: Any) -> None:
        with self._lock:
            self._write({"call": call, "answer": answer})
            self.answered += 1
        os.fsync(self._file.fileno())

    def seen(self, what: str, name: str, value: Any) -> None:
        """Records the outcome of a call without an answer, as found after a restart."""
        with self._lock:
            self._write({"seen": what, "name": name, "value": value})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")

    def expected(self) -> Expected:
        """Returns the state that the file describes. Reads only lines that were added since the last call."""
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                self._expected.take(json.loads(line))
            self._read_to = file.tell()
        return self._expected


@dataclass
class Expected:
    """The states of the service that the journal allows."""

    states: dict[str, set[str]] = field(default_factory=dict)
    descriptions: dict[str, set[str]] = field(default_factory=dict)
    aliases: dict[str, set[str | None]] = field(default_factory=dict)
    """Key ids that each alias may point to; None among them if the alias may be absent."""
    ciphertexts: list[dict[str, str]] = field(default_factory=list)
    """Key id, blob and plaintext, in hexadecimal digits."""
    makers: dict[str, str] = field(default_factory=dict)
    """The actor that has created each key."""
    open: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Calls without an answer."""

    def take(self, line: dict[str, Any]) -> None:
        if "op" in line:
            self.open[line["call"]] = line
            self._effect(line["op"], line["args"], may=True)
        elif "answer" in line:
            asked = self.open.pop(line["call"])
            self._effect(asked["op"], asked["args"] | line["answer"], may=False)
        else:
            getattr(self, line["seen"])[line["name"]] = {line["value"]}

    def _effect(self, op: str, args: dict[str, Any], may: bool) -> None:
        for kind, name, value in effects(op, args):
            known: set[Any] = getattr(self, kind).get(name, {None} if kind == "aliases" else set())
            getattr(self, kind)[name] = known | {value} if may else {value}
        if op == "create_key" and not may:
            self.makers[args["key"]] = args["actor"]
        if op == "seal" and not may:
            self.ciphertexts.append(args)


def effects(op: str, args: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Returns (kind, name, value) of all that a call changes. The id of a new key is known only from the answer."""
    if op == "create_key":
        key = args.get("key")
        return [("states", key, "ENABLED"), ("descriptions", key, args["description"])] if key else []
    if op == "switch":
        return [("states", args["key"], args["state"])]
    if op == "describe":
        return [("descriptions", args["key"], args["description"])]
    if op == "point":
        return [("aliases", args["alias"], args["key"])]
    return []
