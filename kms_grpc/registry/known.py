"""Finds traces of a shard that is missing: its mark, and its records in the audit log of writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kms_grpc.registry.mark import largest_counter
from kms_grpc.registry.own_row import WillNotStart, in_words

_AT_ONCE: Final = 1024 * 1024


def refuse_if_known(data_dir: Path, shard: Path, mark: Path) -> None:
    """Raises WillNotStart if the mark or the audit log tells that the missing shard has existed. A region that neither
    knows is new."""
    known = in_words(mark, lambda: _known_by(data_dir, shard.stem, mark))
    if known is None:
        return
    raise WillNotStart(
        f"{shard} is missing, but {known}. Put the newest copy back. If the keys of region {shard.stem} are given up "
        f"for good, move away the files that record them, {mark} and {data_dir / 'audit'}/keeper.jsonl*; "
        "then an empty region is made."
    )


def _known_by(data_dir: Path, region: str, mark: Path) -> str | None:
    counter = largest_counter(mark)
    if counter:
        return f"its mark {mark} knows commit {counter}"
    named = b'"awsRegion":"%s"' % region.encode()
    for log in sorted((data_dir / "audit").glob("keeper.jsonl*")):
        if log.is_file() and any(named in part for part in _parts(log, len(named))):
            return f"the audit log {log} has records of its writes"
    return None


def _parts(path: Path, overlap: int) -> Iterator[bytes]:
    """Yields the content of a file in parts that overlap."""
    rest = b""
    with path.open("rb") as file:
        while content := file.read(_AT_ONCE):
            yield rest + content
            rest = content[-overlap:]
