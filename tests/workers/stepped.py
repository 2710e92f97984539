"""Wall and boot clock of a real server, stepped from outside: together, or apart to play a clock that is set.

They stand still in between, so that a test can be at the very second of a date. See stepped_clock.c.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

SECOND: Final = 10**9
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
BEGIN: Final = 1_500_000_000 * SECOND
"""2017-07-14. In the past: gRPC tells a call's deadline by the real clock, the server subtracts its own time."""
FILE_SIZE: Final = 4096
_SOURCE: Final = Path(__file__).with_name("stepped_clock.c")


class SteppedClocks:
    """Servers started with `environment` go by them."""

    def __init__(self, folder: Path) -> None:
        library, file = folder / "stepped_clock.so", folder / "clocks"
        flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, "-o", library, _SOURCE, "-ldl"], check=True)
        file.write_bytes(bytes(FILE_SIZE))
        with file.open("r+b") as opened:
            self._steps = mmap.mmap(opened.fileno(), FILE_SIZE)
        self.environment = {"LD_PRELOAD": str(library), "KMS_TEST_CLOCK": str(file)}
        self._count = 0
        self._put(BEGIN, 5 * HOUR)

    def to(self, wall_ns: int) -> None:
        """Both go on together until then."""
        assert wall_ns > self.wall_ns
        self._put(wall_ns, self._boot_ns + wall_ns - self.wall_ns)

    def step(self, ns: int) -> None:
        self.to(self.wall_ns + ns)

    def set(self, wall_ns: int) -> None:
        """The wall clock alone is set."""
        self._put(wall_ns, self._boot_ns)

    def _put(self, wall_ns: int, boot_ns: int) -> None:
        """A step is written behind the others before it counts: who reads gets wall and boot of the same one."""
        self.wall_ns, self._boot_ns = wall_ns, boot_ns
        self._count += 1
        at = 16 * self._count - 8
        self._steps[at : at + 16] = struct.pack("=qq", wall_ns, boot_ns)
        self._steps[0:8] = struct.pack("=q", self._count)
