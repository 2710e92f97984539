"""A watch of folders tells of what any process writes there, and of nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kms_grpc.processes import file_watch
from kms_grpc.processes.file_watch import FolderWatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "file").write_bytes(bytes(64))
    return tmp_path / "watched"


class Waiting:
    """A thread that counts how often the watch has told of a change."""

    def __init__(self, folders: list[Path]) -> None:
        self.watch = FolderWatch(folders)
        self.told = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while self.watch.wait(0.0):
            self.told.release()

    def close(self) -> None:
        self.watch.end()
        self.thread.join()
        self.watch.close()


@pytest.fixture
def waiting(folder: Path) -> Iterator[Waiting]:
    made = Waiting([folder])
    yield made
    made.close()


def write_by_another_process(file: Path) -> None:
    code = "import os, sys; os.pwrite(os.open(sys.argv[1], os.O_RDWR), b'x', 32)"
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    ("a write in the middle of a file", lambda folder: write_by_another_process(folder / "file")),
    ("a new file", lambda folder: (folder / "new").touch()),
    ("a file put in the place of another", lambda folder: (folder.parent / "x").replace(folder / "file")),
    ("a deleted file", lambda folder: (folder / "file").unlink()),
]


@pytest.mark.parametrize(("what", "change"), CHANGES, ids=[case[0] for case in CHANGES])
def test_each_change_ends_the_wait(folder: Path, waiting: Waiting, what: str, change: Callable[[Path], object]) -> None:
    (folder.parent / "x").write_bytes(b"another")
    assert not waiting.told.acquire(timeout=0.3), "nothing has changed in the folder"
    change(folder)
    assert waiting.told.acquire(timeout=10)


def test_a_read_does_not_end_the_wait(folder: Path, waiting: Waiting) -> None:
    (folder / "file").read_bytes()
    assert not waiting.told.acquire(timeout=0.3)


def test_a_folder_that_was_made_anew_is_watched(folder: Path, waiting: Waiting) -> None:
    """The wait that the removal ends watches the new folder."""
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    assert waiting.told.acquire(timeout=10)
    while waiting.told.acquire(timeout=0.3):
        pass
    (folder / "file").touch()
    assert waiting.told.acquire(timeout=10)


def test_without_inotify_each_wait_is_over_after_its_delay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoInotify:
        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(file_watch, "_libc", NoInotify())
    waiting = Waiting([folder])
    assert waiting.told.acquire(timeout=10)
    waiting.close()


def test_end_ends_later_waits_too(folder: Path) -> None:
    watch = FolderWatch([folder])
    watch.end()
    assert (watch.wait(60.0), watch.wait(60.0)) == (False, False)
    watch.close()
