"""What a fork of the caller's process breaks: connections, locks that another thread held, keys in memory.

A forked child opens connections of its own and fetches data keys of its own. Whoever must forget something registers
for it; `count` tells what was made before the last fork.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Final, Protocol

from kms_grpc.crypto.errors import KeyringLost, StaleHandle

LOST: Final = (KeyringLost, StaleHandle)
"""What a data key of the parent is in a child, before and after it has opened the keyring anew."""


class Forgets(Protocol):
    """What must not be used as it was before the fork."""

    def forked(self) -> None:
        """Called in the child, where no other thread runs."""


_registered: Final[weakref.WeakSet[Forgets]] = weakref.WeakSet()
_abandoned: Final[list[Any]] = []
_forks = 0


def count() -> int:
    """Forks that this process has come through."""
    return _forks


def register(one: Forgets) -> None:
    """Have `one.forked()` called in every child, as long as it lives."""
    _registered.add(one)


def abandon(channel: object) -> None:
    """Keep a channel of the parent's: to close it would wait for threads that the child doesn't have."""
    _abandoned.append(channel)


def happened() -> None:
    """By Python itself after os.fork; by who finds the keyring wiped after a fork that Python did not see."""
    global _forks
    _forks += 1
    for one in list(_registered):
        one.forked()


os.register_at_fork(after_in_child=happened)
