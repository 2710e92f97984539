"""Keys that exist at the end of the audit log: it records their creation and no later deletion.

A shard that was restored together with its mark has the right counters, but lacks the keys of which the log tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

TAIL: Final = 4 * 1024 * 1024
"""Bytes at the end of the log that are read."""


class _Resource(msgspec.Struct):
    ARN: str = ""


class _Record(msgspec.Struct):
    eventName: str = ""
    awsRegion: str = ""
    errorCode: str | None = None
    resources: list[_Resource] = []


def logged_keys(log: Path, region: str, waiting: Iterable[bytes]) -> list[str]:
    """Returns the ids of the keys that the last records of `log`, and those `waiting` in the outbox, say to exist in
    the region. The record of an accepted restore empties the list. Raises OSError."""
    known: dict[str, None] = {}
    for record in _records([*_last_lines(log), *waiting]):
        if record.awsRegion != region or record.errorCode is not None:
            continue
        ids = [resource.ARN.rpartition(":key/")[2] for resource in record.resources if ":key/" in resource.ARN]
        if record.eventName == "CreateKey":
            known |= dict.fromkeys(ids)
        elif record.eventName == "DeleteKey":
            known = {key_id: None for key_id in known if key_id not in ids}
        elif record.eventName == "AcceptOlderShard":
            known = {}
    return [*known]


def _records(lines: Iterable[bytes]) -> Iterator[_Record]:
    decode = msgspec.json.Decoder(_Record).decode
    for line in lines:
        try:
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # a line that a crash has cut short


def _last_lines(log: Path) -> list[bytes]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().splitlines()
    except FileNotFoundError:
        return []
