"""The data directory and the addresses belong to one server; free ones are never refused."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.stand_in_server import StandInServer


@contextmanager
def _listener(reuse: bool) -> Iterator[int]:
    """Another program that listens on a port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def _refusal(served: StandInServer) -> str:
    assert served.exec().status() == 1, served.errors()
    (line,) = served.said("^cannot start: ")
    return str(line["message"])


def test_the_data_directory_takes_one_server(tmp_path: Path) -> None:
    with (
        StandInServer(tmp_path / "a").start() as first,
        StandInServer(tmp_path / "b", data_dir=str(first.data_dir)) as second,
    ):
        assert f"is in use by another server (pid {first.pid})" in _refusal(second)
        assert first.connect()


def test_the_address_takes_one_server(tmp_path: Path) -> None:
    """With SO_REUSEPORT alone the kernel would admit both servers."""
    with (
        StandInServer(tmp_path / "a").start() as first,
        StandInServer(tmp_path / "b", listen=first.address()) as second,
    ):
        assert f"listen {first.address()} is served by another kms-grpc (pid {first.pid})" in _refusal(second)


@pytest.mark.parametrize("reuse", [False, True])
def test_an_address_of_another_program_is_refused(tmp_path: Path, reuse: bool) -> None:
    with _listener(reuse) as port, StandInServer(tmp_path, listen=f"127.0.0.1:{port}") as served:
        assert _refusal(served).endswith(f"listen 127.0.0.1:{port}: Address already in use; give another --listen")


def test_a_metrics_address_of_another_program_is_refused(tmp_path: Path) -> None:
    with _listener(False) as port, StandInServer(tmp_path, metrics_listen=f"127.0.0.1:{port}") as served:
        assert "give another --metrics-listen" in _refusal(served)


def test_a_port_is_free_at_once_after_a_stop(tmp_path: Path) -> None:
    """Connections that the server closed stay in TIME_WAIT for a minute but do not prevent a start."""
    with StandInServer(tmp_path).start() as first:
        address = first.address()
        connection = first.connect()
        assert first.stop() == 0
        assert connection.recv(1) == b""
    with StandInServer(tmp_path / "b", listen=address).start() as again:
        assert again.stop() == 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_port_zero_is_one_port_for_all_workers(tmp_path: Path, listen: str) -> None:
    with StandInServer(tmp_path, listen=listen).start() as served:
        assert re.fullmatch(re.escape(listen[:-1]) + r"[1-9]\d+", served.address())
        assert (served.data_dir / "run" / "address").read_text() == served.address() + "\n"
        seen = {served.connect_name() for _ in range(40)}
        assert seen == {"worker-0", "worker-1"}


@pytest.mark.parametrize(("workers", "names"), [(1, ["kms"]), (3, ["kms.0", "kms.1", "kms.2"])])
def test_each_worker_has_a_unix_socket(tmp_path: Path, workers: int, names: list[str]) -> None:
    with StandInServer(tmp_path, listen=f"unix:{tmp_path}/kms", workers=workers).start() as served:
        assert sorted(path.name for path in tmp_path.glob("kms*")) == names
        for index, name in enumerate(names):
            assert served.connect_name(f"unix:{tmp_path}/{name}") == f"worker-{index}"
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert served.stop() == 0
    assert not list(tmp_path.glob("kms*")), "the sockets are removed"


def test_a_unix_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/kms"
    with StandInServer(tmp_path, listen=listen).start() as killed:
        killed.stop(signal.SIGKILL)
        assert list(tmp_path.glob("kms.?")), "its sockets remain"
    with StandInServer(tmp_path, listen=listen).start() as served:
        assert served.connect_name(f"{listen}.0") == "worker-0"
        old = served.pids()["worker-0"]
        os.kill(old, signal.SIGKILL)
        served.new_pid("worker-0", old)
        assert served.connect_name(f"{listen}.0") == "worker-0", "a restarted worker uses its socket again"


def _listening_socket(path: Path) -> object:
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()
    return other


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (_listening_socket, "kms", r"is served by another process \(pid \d+\)"),
        (lambda path: path.write_text("precious"), "kms", "the path exists and is not a socket"),
        (lambda path: None, "no/kms", "the directory .* does not exist"),
        (lambda path: None, "k" * 108, "the path is longer than 107 bytes"),
    ],
)
def test_a_unix_path_that_cannot_be_used_is_refused(
    tmp_path: Path, make: Callable[[Path], object], name: str, reason: str
) -> None:
    path = tmp_path / name
    held = make(path)
    with StandInServer(tmp_path, listen=f"unix:{path}", workers=1) as served:
        assert re.search(reason, _refusal(served))
    assert path.exists() == (name == "kms"), "the existing file or socket is still there"
    del held
