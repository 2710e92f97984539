"""Properties of the caller's terminal: whether it shows colours, and whether it can draw a line over again."""

from __future__ import annotations

import os
from typing import TextIO


def colour() -> bool | None:
    """Returns False if no colour is wanted (NO_COLOR, see https://no-color.org, or TERM=dumb); None if a terminal gets
    colours and a file does not."""
    return False if os.environ.get("NO_COLOR") or is_dumb() else None


def is_dumb() -> bool:
    """Returns whether the terminal says that it only prints text."""
    return os.environ.get("TERM") in ("dumb", "unknown")


def draws(stream: TextIO) -> bool:
    """Returns whether a progress bar can be drawn on a stream."""
    return stream.isatty() and not is_dumb()
