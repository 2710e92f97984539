"""What a fork of the caller's process breaks: connections, locks that another thread held, keys in memory.

A forked child opens connections of its own and fetches data keys of its own. Whoever must forget something registers
for it; `count` tells what was made before the last fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final, Protocol

from kms_grpc.crypto.errors import KeyringLost, StaleHandle

LOST: Final = (KeyringLost, StaleHandle)
"""What a data key of the parent is in a child, before and after it has opened the keyring anew."""


class Forgets(Protocol):
    """What must not be used as it was before the fork."""

    def forked(self) -> None:
        """Called in the child, where no other thread runs."""


WAIT_SECONDS: Final = 1.0
"""So long, at most, a fork waits for calls under way; it does not wait for streams, nor for the calls of asyncio."""


class Calls:
    """The calls under way. Entered by `with` around each, in any thread.

    gRPC's library does not bear a fork while it is at work for another thread: now and then a child finds its locks and
    threads in the middle of something, and is aborted. So a fork waits until no call is under way, and none begins
    meanwhile."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In the child: the calls of threads that it does not have are not under way here."""
        self._changed = threading.Condition()  # reentrant: a signal's handler may fork wherever its thread is
        self._under_way = set[int]()
        self._forks = 0

    def __enter__(self) -> None:
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._under_way.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._under_way.discard(threading.get_ident())
            if self._forks:
                self._changed.notify_all()

    def before_fork(self) -> None:
        mine = {threading.get_ident()}
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: self._under_way <= mine, WAIT_SECONDS)

    def after_fork(self) -> None:
        """In the parent."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


calls: Final = Calls()
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
    calls.forget()
    for one in list(_registered):
        one.forked()


os.register_at_fork(before=calls.before_fork, after_in_parent=calls.after_fork, after_in_child=happened)
