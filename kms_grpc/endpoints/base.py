"""The interface of a front door: a listener of one protocol."""

from __future__ import annotations

from typing import Protocol


class Door(Protocol):
    """Accepts calls in one protocol and passes them to the executor."""

    async def start(self) -> None:
        """Listen. Raises OSError if the address is not available. Afterwards health reports SERVING."""

    async def drain(self, seconds: float) -> None:
        """Report NOT_SERVING, accept no new calls, and return when the last one has ended or `seconds` are over."""
