"""The epochs file, which all processes of a host map: one u64 per region, in the order of the configuration.

| offset | bytes | field |
|---|---|---|
| 8 i | 8 | epoch of region i, in the machine's byte order |

An epoch changes with each commit. While it has the value that a worker has seen, the caches of the worker hold.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from kms_grpc.crypto.epoch import Epoch

_WIDTH = 8


def epochs_path(data_dir: Path) -> Path:
    """Returns the path of the file in a data directory."""
    return data_dir / "run" / "epochs"


def create_epochs(path: Path, count: int) -> None:
    """Makes a new file, all zero. For the process that starts the others, before it does."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(path.name + ".new")
    made.write_bytes(bytes(_WIDTH * count))
    made.chmod(0o600)
    made.replace(path)


class Epochs:
    """The mapped file. `epochs[i]` is the epoch of region i."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._buffer = mmap.mmap(file.fileno(), 0)
        self._epochs = [Epoch(self._buffer, index) for index in range(len(self._buffer) // _WIDTH)]

    def __len__(self) -> int:
        return len(self._epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self._epochs[index]

    def bump_all(self) -> None:
        """Bumps all epochs. The supervisor does so when a worker has died, which may have committed without bumping."""
        for epoch in self._epochs:
            epoch.bump()
