"""The data directories that measurements share. Each is filled with keys when it is first needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kms_grpc.bench.effort import Effort
from kms_grpc.bench.own_service import own_service

Progress = Callable[[str], None]
"""Shows a text to the person who waits for a measurement."""


class BenchData:
    """The data directories of one run, in a temporary folder, and the effort of its measurements."""

    def __init__(self, folder: Path, effort: Effort, progress: Progress) -> None:
        self.effort = effort
        self.progress = progress
        self._folder = folder
        self._keys: dict[int, list[str]] = {}

    def fresh(self, name: str) -> Path:
        """Returns a new empty folder for a data directory."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))

    def with_keys(self, count: int) -> tuple[Path, list[str]]:
        """Returns a data directory with `count` keys, and the ids of the keys."""
        path = self._folder / f"keys-{count}"
        if count not in self._keys:
            with own_service(path) as service:
                self._keys[count] = service.make_keys(
                    count, lambda done: self.progress(f"making keys: {done:,} of {count:,}")
                )
        return path, self._keys[count]


@contextmanager
def temporary_data(effort: Effort, progress: Progress) -> Iterator[BenchData]:
    with tempfile.TemporaryDirectory(prefix="kms-grpc-bench-") as folder:
        yield BenchData(Path(folder), effort, progress)
