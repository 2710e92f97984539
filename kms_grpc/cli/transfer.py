"""Inputs and outputs of `encrypt-file` and `decrypt-file`, and their progress bar."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from kms_grpc.cli.atomic import UNFINISHED
from kms_grpc.cli.files import STANDARD
from kms_grpc.cli.output import text_of
from kms_grpc.cli.terminal import draws

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SUFFIX: Final = ".kms"
READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Move:
    """An input and its output: paths, or `-` for standard input or output."""

    source: str
    target: str

    @property
    def size(self) -> int | None:
        """The size of the input in bytes; None for standard input and special files."""
        path = Path(self.source)
        return path.stat().st_size if self.source != STANDARD and path.is_file() else None


def plan(source: str, to: str | None, *, encrypts: bool, recursive: bool, replace: bool) -> list[Move]:
    """Returns the inputs with their outputs. Raises UsageError, before anything is read, if one is not possible."""
    if recursive:
        moves = _plan_folder(source, to, encrypts)
    elif source != STANDARD and Path(source).is_dir():
        raise click.UsageError(f"{source}: is a directory. For all files below it give --recursive")
    else:
        moves = [Move(source, to or _target_of(source, encrypts))]
    for move in moves:
        _check(move, replace)
    return moves


def _plan_folder(source: str, to: str | None, encrypts: bool) -> list[Move]:
    if source == STANDARD or not Path(source).is_dir():
        raise click.UsageError(f"{source}: --recursive needs a directory")
    if to == STANDARD:
        raise click.UsageError("--recursive needs a directory for --to")
    root = Path(source)
    target_root = Path(to) if to else root
    unreadable: list[Path] = []
    finished = [path for path in _files_below(root, unreadable) if path.suffix != UNFINISHED]
    chosen = [path for path in finished if (path.suffix == SUFFIX) is not encrypts]
    moves = [Move(str(path), _target_of(str(target_root / path.relative_to(root)), encrypts)) for path in chosen]
    # Opening an unreadable file fails when its turn comes, with the reason.
    moves += [Move(str(path), str(target_root / path.relative_to(root)) + UNFINISHED) for path in unreadable]
    return sorted(moves, key=lambda move: move.source)


def _files_below(root: Path, unreadable: list[Path]) -> Iterator[Path]:
    """Yields the regular files below a folder. Prints links and special files, which are skipped.

    Paths that cannot be examined are added to `unreadable`.
    """
    for folder, folders, names in os.walk(root, onerror=lambda error: unreadable.append(Path(error.filename))):
        for path in [Path(folder, name) for name in [*folders, *names]]:
            try:
                mode = path.lstat().st_mode
            except OSError:
                unreadable.append(path)
                continue
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                click.echo(f"{text_of(path)}: skipped: a link or a special file", err=True)


def _target_of(source: str, encrypts: bool) -> str:
    if source == STANDARD:
        return STANDARD
    if encrypts:
        return source + SUFFIX
    if not source.endswith(SUFFIX):
        raise click.UsageError(f"{source}: does not end in {SUFFIX}. Give the file for the result: --to FILE")
    return source.removesuffix(SUFFIX)


def _check(move: Move, replace: bool) -> None:
    if move.target == STANDARD:
        return
    target = Path(move.target)
    if target.is_dir():
        raise click.UsageError(f"{target}: is a directory")
    if target.is_file() and not replace:
        raise click.UsageError(f"{target}: exists already. To overwrite it give --replace")
    if move.source != STANDARD and target.exists() and target.samefile(move.source):
        raise click.UsageError(f"{target}: is the input itself. Give another file: --to FILE")


class Gauge:
    """A progress bar with rate and time left, on standard error if that is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self.moved = 0
        if not quiet and draws(sys.stderr):
            self._progress = _progress()

    def __enter__(self) -> Gauge:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def begin(self, move: Move) -> None:
        self.moved = 0
        if self._progress:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(text_of(Path(move.source).name), total=move.size)

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """Yields the parts of a file, and counts their bytes. Raises OSError with the file's name."""
        while part := _next_part(file):
            yield part
            self.moved += len(part)
            if self._progress and self._task is not None:
                self._progress.update(self._task, advance=len(part))


def _next_part(file: BinaryIO) -> bytes:
    try:
        return file.read(READ_BYTES)
    except OSError as error:
        error.filename = file.name
        raise


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    return Progress(name, *columns, console=Console(stderr=True), transient=True)
