"""Exclusive use of the data directory and the listening addresses by one server.

Workers share a port by SO_REUSEPORT, so the kernel would silently admit a second server. An abstract Unix socket named
after the address therefore serves as a lock and identifies its holder. A bind without SO_REUSEPORT detects programs
other than kms-grpc.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from kms_grpc.processes.ownership import of_another_user

UNIX_PATH_LONGEST: Final = 107
"""Size of sun_path in sockaddr_un without the terminating zero byte."""
_PATIENCE_SECONDS: Final = 0.2


class StartRefused(Exception):
    """The server cannot start. The text gives the reason and the remedy; `code` is the exit code."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


@contextmanager
def data_directory(folder: Path) -> Iterator[None]:
    """Hold the data directory DIR for this process by a lock on DIR itself, which nobody removes under a server.

    Creates DIR with mode 0700 if it is missing. DIR/lock contains the pid; it is locked too, since a server of version
    0.1.0 looks at it alone. Raises StartRefused.
    """
    if (folder / "root.key").exists() and (
        foreign := of_another_user(folder, "kms-grpc", "serve", "--data-dir", str(folder))
    ):
        raise StartRefused(foreign)
    with ExitStack() as held:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = _opened(folder, os.O_RDONLY | os.O_DIRECTORY, held)
            noted = _opened(folder / "lock", os.O_RDWR | os.O_CREAT, held)
        except OSError as error:
            raise StartRefused(f"data directory {folder}: {error.strerror}") from None
        for descriptor in (directory, noted):
            _lock(descriptor, noted, folder)
        os.ftruncate(noted, 0)
        os.pwrite(noted, f"{os.getpid()}\n".encode(), 0)
        yield


def is_held(folder: Path) -> bool:
    """Returns whether a server holds the data directory."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _opened(path: Path, flags: int, held: ExitStack) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    held.callback(os.close, descriptor)
    return descriptor


def _lock(descriptor: int, noted: int, folder: Path) -> None:
    """Lock a descriptor. A command that asks whether a server runs (`is_held`) holds the lock for some microseconds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
    holder = os.pread(noted, 32, 0).decode("ascii", "replace").strip() or "unknown"
    raise StartRefused(
        f"data directory {folder} is in use by another server (pid {holder}); stop it or give another --data-dir"
    )


@contextmanager
def address(listen: str, workers: int, option: str = "--listen") -> Iterator[list[str]]:
    """Hold an address that the command-line option `option` gave; yields the address of each worker.

    Port 0 becomes a free port. With several workers a Unix socket PATH becomes PATH.0, PATH.1 …. Raises StartRefused.
    """
    with ExitStack() as held:
        try:
            claimed = _claim(listen, workers, held)
        except StartRefused as refused:
            raise StartRefused(str(refused).replace("--listen", option), refused.code) from None
        yield claimed


def _claim(listen: str, workers: int, held: ExitStack) -> list[str]:
    if listen.startswith("unix:"):
        return _claim_unix(Path(listen.removeprefix("unix:")), workers, held)
    return [_claim_port(listen, held)] * workers


def _claim_port(listen: str, held: ExitStack) -> str:
    host, _, port_text = listen.rpartition(":")
    family, where = _resolve(host.strip("[]"))
    port = int(port_text)
    if port:
        _name_lock(listen, held)
        _require_free(family, where, port, listen)
    reserved = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(reserved, where, port, listen)
    if port:
        return listen
    chosen = f"{host}:{reserved.getsockname()[1]}"
    _name_lock(chosen, held)
    return chosen


def _resolve(host: str) -> tuple[int, str]:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartRefused(f"listen: {host}: {error.strerror}") from None
    return family, str(where[0])


def _require_free(family: int, where: str, port: int, listen: str) -> None:
    """Raise StartRefused if another socket listens there, even with SO_REUSEPORT. SO_REUSEADDR ignores connections in
    TIME_WAIT but not listeners."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, where, port, listen)


def _bind(endpoint: socket.socket, where: str, port: int, listen: str) -> None:
    try:
        endpoint.bind((where, port))
    except OSError as error:
        way_out = "; give another --listen" if error.errno == errno.EADDRINUSE else ""
        raise StartRefused(f"listen {listen}: {error.strerror}{way_out}") from None


def _name_lock(name: str, held: ExitStack) -> None:
    """Hold a name by an abstract Unix socket. It disappears with its process, and the kernel knows the holder's pid.

    The socket's name is a digest, because such names are limited to 107 bytes.
    """
    lock = held.enter_context(socket.socket(socket.AF_UNIX))
    path = f"\0kms-grpc:{hashlib.sha256(name.encode()).hexdigest()}"
    try:
        lock.bind(path)
        lock.listen()
    except OSError:
        raise StartRefused(
            f"listen {name} is served by another kms-grpc (pid {_holder_or_unknown(path)}); "
            "stop it or give another --listen"
        ) from None


def _holder_or_unknown(path: str) -> str:
    try:
        return _holder(path)
    except OSError:
        return "unknown"


def _holder(path: str) -> str:
    """Returns the pid of the process that listens on a Unix socket. Raises OSError if none does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return str(struct.unpack("3i", credentials)[0])


def _claim_unix(path: Path, workers: int, held: ExitStack) -> list[str]:
    _name_lock(f"unix:{path.absolute()}", held)
    paths = [path] if workers == 1 else [path.with_name(f"{path.name}.{index}") for index in range(workers)]
    for each in paths:
        if len(os.fsencode(each)) > UNIX_PATH_LONGEST:
            raise StartRefused(
                f"listen unix:{each}: the path is longer than {UNIX_PATH_LONGEST} bytes; give a shorter one"
            )
        _remove_stale(each)
        held.callback(each.unlink, missing_ok=True)
    return [f"unix:{each}" for each in paths]


def _remove_stale(path: Path) -> None:
    """Unlink a socket that a killed server left behind. Raises StartRefused for other files and sockets in use."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.absolute().parent.is_dir():
            raise StartRefused(f"listen unix:{path}: the directory {path.absolute().parent} does not exist") from None
        return
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"listen unix:{path}: the path exists and is not a socket; move it or give another --listen")
    try:
        holder = _holder(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    raise StartRefused(
        f"listen unix:{path} is served by another process (pid {holder}); stop it or give another --listen"
    )
