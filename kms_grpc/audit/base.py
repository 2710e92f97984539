"""The contract of an audit log."""

from __future__ import annotations

from typing import Protocol


class AuditLog(Protocol):
    """Takes the records of one process, each a line of JSON that ends in a newline."""

    def append(self, line: bytes) -> None:
        """Takes a line that is to be on the disk within 100 ms. Never fails and never waits for the disk. Lines that
        cannot be written are held up to a limit; beyond it they are dropped and counted."""

    def write(self, line: bytes) -> None:
        """Writes a line to the file (write(2)) before it returns. Raises DependencyTimeoutException if that is
        impossible; the call must then be refused."""
