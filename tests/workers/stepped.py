"""Steps the wall clock and the boot clock of a real server: together, or apart to simulate a clock that is set.

The clocks stand still between steps, so that a test can stop at the exact second of a date. See stepped_clock.c.
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
"""2017-07-14. It must be in the past: gRPC computes deadlines by the real clock, and the server subtracts its time."""
FILE_SIZE: Final = 4096
_SOURCE: Final = Path(__file__).with_name("stepped_clock.c")


class SteppedClocks:
    """The clocks of the servers that are started with `environment`."""

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
        """Advance both clocks together."""
        assert wall_ns > self.wall_ns
        self._put(wall_ns, self._boot_ns + wall_ns - self.wall_ns)

    def step(self, ns: int) -> None:
        self.to(self.wall_ns + ns)

    def set(self, wall_ns: int) -> None:
        """Set the wall clock alone."""
        self._put(wall_ns, self._boot_ns)

    def _put(self, wall_ns: int, boot_ns: int) -> None:
        """Append a step before counting it, so that a reader gets wall and boot time of the same step."""
        self.wall_ns, self._boot_ns = wall_ns, boot_ns
        self._count += 1
        at = 16 * self._count - 8
        self._steps[at : at + 16] = struct.pack("=qq", wall_ns, boot_ns)
        self._steps[0:8] = struct.pack("=q", self._count)
