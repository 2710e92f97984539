"""Standard input, output and error: made safe to use if the caller has closed them or their encoding lacks letters.

A closed descriptor is filled with /dev/null. Otherwise a file or connection that is opened later would get its number,
and what is printed would be written into it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, Final

INPUT: Final = "standard input"
OUTPUT: Final = "standard output"
_OF_PRINTING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EAGAIN)


class ClosedStream(io.RawIOBase):
    """A stream that the caller has closed. Reading and writing raise OSError, which names it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise self._refusal()

    def write(self, content: Any) -> int:
        raise self._refusal()

    def _refusal(self) -> OSError:
        return OSError(errno.EBADF, "it is closed", self.name)


def repair() -> None:
    """Replaces streams that the caller has closed, and lets standard output escape what its encoding lacks."""
    for descriptor in range(3):
        _occupy(descriptor)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(ClosedStream(INPUT)))
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_Unbuffered(ClosedStream(OUTPUT)), "utf-8", write_through=True)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _occupy(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


class _Unbuffered(io.BufferedWriter):
    """A writer that keeps nothing back, so that nothing is left to be written when the interpreter ends."""

    def write(self, content: Any) -> int:
        return self.raw.write(content) or 0


def blamed(error: OSError) -> str:
    """Returns the name of the file or stream that an error is about; empty if that is not known.

    The errors of files have their name; those of printing have none.
    """
    if error.filename is not None:
        return str(error.filename)
    return OUTPUT if error.errno in _OF_PRINTING else ""


def discard_output() -> None:
    """Drops what is still to be printed: the interpreter would fail on it once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
