"""What several measurements stand on: data directories with few and with many keys, made once, when first asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kms_grpc.bench.own_service import own_service
from kms_grpc.bench.sizes import Effort

Progress = Callable[[str], None]


class BenchData:
    """`told` hears what takes time, in words for a person who waits."""

    def __init__(self, folder: Path, effort: Effort, progress: Progress) -> None:
        self.effort = effort
        self.progress = progress
        self._folder = folder
        self._keys: dict[int, list[str]] = {}

    def fresh(self, name: str) -> Path:
        """An empty place for a data directory."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))

    def with_keys(self, count: int) -> tuple[Path, list[str]]:
        """A data directory with so many keys, and their ids."""
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
