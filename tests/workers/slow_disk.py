"""A disk whose fsync takes long, for a real server (slow_disk.c)."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("slow_disk.c")


class SlowDisk:
    """The disk of the servers that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        library, file = folder / "slow_disk.so", folder / "slow-disk"
        flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, "-o", library, _SOURCE, "-ldl"], check=True)
        file.write_bytes(bytes(4))
        with file.open("r+b") as opened:
            self._milliseconds = mmap.mmap(opened.fileno(), 4)
        self.environment = {"LD_PRELOAD": str(library), "KMS_TEST_DISK": str(file)}

    def fsync_takes(self, milliseconds: int) -> None:
        self._milliseconds[:] = struct.pack("=i", milliseconds)
