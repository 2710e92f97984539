"""A proxy that nobody may reach: a listener on the loopback, and the variables that name it to every client."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

NAMES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


class ForbiddenProxy:
    """A listener that answers nothing. A client that obeys the variables fails, and is seen here."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener

    @property
    def variables(self) -> dict[str, str]:
        """The variables in both spellings, and no exception from them."""
        url = "http://{}:{}".format(*self._listener.getsockname())
        named = {spelt: url for name in NAMES for spelt in (name, name.upper())}
        return named | {"no_proxy": "", "NO_PROXY": "", "no_grpc_proxy": ""}

    def reached(self) -> bool:
        """Returns whether anybody connected since it was asked last."""
        seen = False
        with contextlib.suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                seen = True
        return seen


@contextlib.contextmanager
def forbidden_proxy() -> Iterator[ForbiddenProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = ForbiddenProxy(listener)
        yield proxy
        assert not proxy.reached(), "a client went through http_proxy"
