"""Reads a process's memory: the pages that a core dump contains, and those that it excludes.

It reads /proc/PID/mem, which needs root, because the server's processes forbid dumps of themselves. If gdb is
installed, its `gcore` writes a dump as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ \d+ *(.*)")
PAGE = 4096
LARGEST = 256 * 1024 * 1024
"""A larger mapping is reserved address space that was never written."""


class Mapping(NamedTuple):
    start: int
    end: int
    rights: str
    name: str
    left_out_of_dumps: bool


def mappings(pid: int) -> Iterator[Mapping]:
    head: re.Match[str] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines():
        if match := _HEAD.match(line):
            head = match
        elif line.startswith("VmFlags:") and head is not None:
            start, end, rights, name = head.groups()
            yield Mapping(int(start, 16), int(end, 16), rights, name, " dd" in line)


def read(pid: int, *, left_out_of_dumps: bool) -> bytes:
    """Returns all writable memory that dumps contain, or all that they exclude. Read-only memory is the program."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            if mapping.rights[:2] != "rw" or mapping.left_out_of_dumps is not left_out_of_dumps:
                continue
            try:
                memory.seek(mapping.start)
                parts.append(memory.read(min(mapping.end - mapping.start, LARGEST)))
            except (OSError, OverflowError, ValueError):
                continue  # unreadable, such as [vsyscall]
    return filled(b"\0".join(parts))


def gdb_core(pid: int, folder: Path) -> bytes | None:
    """Returns the dump that gdb writes, or None if gdb is not installed."""
    if shutil.which("gcore") is None:
        return None
    done = subprocess.run(
        ["gcore", "-o", str(folder / "core"), str(pid)], capture_output=True, timeout=120, check=False
    )
    path = folder / f"core.{pid}"
    assert path.exists(), done.stderr.decode(errors="replace")
    try:
        return filled(path.read_bytes())
    finally:
        path.unlink()


def filled(dump: bytes) -> bytes:
    """Returns the dump without pages of zeros, which are most of it."""
    pages = (dump[start : start + PAGE] for start in range(0, len(dump), PAGE))
    return b"".join(page for page in pages if page.count(0) != len(page))
