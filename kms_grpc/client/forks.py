"""Support for processes that fork: the child must not use the parent's connections, locks or data keys.

A forked child opens new connections and fetches new data keys. Objects with state that must not survive a fork
register here; `count` returns the number of forks, so that an object can see whether it was made before the last one.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final, Protocol

from kms_grpc.crypto.errors import KeyringLost, StaleHandle

LOST: Final = (KeyringLost, StaleHandle)
"""Errors from using a data key of the parent in a child: before and after the child has opened its own keyring."""


class ForkAware(Protocol):
    """An object with state that must not survive a fork."""

    def forked(self) -> None:
        """Discards that state. Called in the child, where no other thread runs."""


WAIT_SECONDS: Final = 1.0
"""Longest time that a fork waits for calls under way. It does not wait for streams or for calls of asyncio clients."""


class Calls:
    """The calls under way. Each call runs in a `with` block of this object, in any thread.

    The gRPC library does not support a fork while it works for another thread: the child inherits locks in the middle
    of an operation and is sometimes aborted. A fork therefore waits until no call is under way, and holds back new
    calls until it is done.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Forgets the calls of the parent's threads. Called in the child, which does not have these threads."""
        self._changed = threading.Condition()  # reentrant: a signal handler may fork while its thread holds it
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
        """Waits for the calls of other threads and holds back new ones. Called in the parent."""
        mine = {threading.get_ident()}
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: self._under_way <= mine, WAIT_SECONDS)

    def after_fork(self) -> None:
        """Lets new calls begin. Called in the parent."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


calls: Final = Calls()
_registered: Final[weakref.WeakSet[ForkAware]] = weakref.WeakSet()
_abandoned: Final[list[Any]] = []
_forks = 0


def count() -> int:
    """Returns the number of forks that led to this process."""
    return _forks


def register(one: ForkAware) -> None:
    """Registers an object, by weak reference, for a call of `forked` in every child."""
    _registered.add(one)


def abandon(channel: object) -> None:
    """Keeps a channel of the parent alive. Closing it would wait for threads that the child does not have."""
    _abandoned.append(channel)


def after_fork_in_child() -> None:
    """Discards all state of the parent. Python calls this after os.fork. A client calls it when it finds the keyring
    wiped, because a C library forked without Python."""
    global _forks
    _forks += 1
    calls.forget()
    for one in list(_registered):
        one.forked()


os.register_at_fork(before=calls.before_fork, after_in_parent=calls.after_fork, after_in_child=after_fork_in_child)
