"""What the executor asks of an audit log."""

from __future__ import annotations

from typing import Protocol


class AuditLog(Protocol):
    def append(self, line: bytes) -> None:
        """Take the line; it is on disk within 100 ms. Never fails and never blocks: what cannot be written waits,
        bounded, and is counted."""

    def write(self, line: bytes) -> None:
        """The line is in the file (write(2)) when this returns. Raises DependencyTimeoutException where it cannot be:
        the reserve is used up, and what must be audited before its answer is refused."""
