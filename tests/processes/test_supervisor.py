"""The supervisor with real child processes: it restarts them, stops them, and none of them outlives it."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.processes.stand_in_server import PATIENCE, ROOT, StandInServer, alive, eventually

CHILDREN = {"keeper", "worker-0", "worker-1"}


@pytest.mark.parametrize(
    ("name", "number", "status"),
    [
        ("worker-0", signal.SIGKILL, "was killed by SIGKILL"),  # the kernel's out-of-memory killer
        ("worker-1", signal.SIGTERM, "exited with code 0"),  # an operator drains one worker
        ("worker-1", signal.SIGSEGV, "was killed by SIGSEGV"),  # a crash in C
        ("keeper", signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_an_ended_child_is_restarted_and_every_epoch_bumped(
    tmp_path: Path, name: str, number: signal.Signals, status: str
) -> None:
    with StandInServer(tmp_path).start() as served:
        before, epochs = served.pids(), served.epochs()
        os.kill(before[name], number)
        fresh = served.new_pid(name, before[name])
        assert [entry["status"] for entry in served.said(f"^{name} ended")] == [status]
        assert served.epochs() == [epoch + 1 for epoch in epochs]
        eventually(lambda: any(entry["child"] == fresh for entry in served.said(f"^{name} is ready")), "ready again")
        assert {pid for other, pid in served.pids().items() if other != name} == set(before.values()) - {before[name]}
        assert served.stop() == 0


def test_a_worker_that_keeps_failing_is_restarted_until_it_succeeds(tmp_path: Path) -> None:
    with StandInServer(tmp_path).start() as served:
        cause = served.data_dir / "fail-worker-0"
        cause.write_text("the disk is missing")
        os.kill(served.pids()["worker-0"], signal.SIGKILL)
        eventually(lambda: len(served.said("^worker-0 ended")) >= 3, "three failures")
        assert served.said("^worker-0 ended")[1]["reason"] == "the disk is missing"
        assert served.connect(), "the other worker still serves"
        cause.unlink()
        eventually(lambda: len(served.said("^worker-0 is ready")) == 2, "worker-0 is back")
        assert served.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_finish_before_the_server_ends(tmp_path: Path, number: signal.Signals) -> None:
    with StandInServer(tmp_path).start() as served:
        connection = served.connect()
        connection.sendall(b"wait 1\n")
        time.sleep(0.2)
        assert served.stop(number) == 0
        assert connection.recv(100) == b"done\n"
        assert not served.said("killed")


@pytest.mark.parametrize("name", ["prepare", "worker-0", "keeper"])
def test_control_c_during_the_start_ends_cleanly(tmp_path: Path, name: str) -> None:
    """A terminal sends SIGINT to the whole process group; no child may print a traceback."""
    with StandInServer(tmp_path).exec() as served:
        eventually(lambda: name in served.pids(), name)
        os.killpg(served.pid, signal.SIGINT)
        assert served.status() == 0
        assert "Traceback" not in served.errors()
        assert served.said("^stopped$")


@pytest.mark.parametrize("why", ["stopped worker", "second signal"])
def test_a_worker_that_does_not_end_is_killed(tmp_path: Path, why: str) -> None:
    """A worker is killed when drain_seconds are over or a second signal arrives."""
    drain_seconds = 0.5 if why == "stopped worker" else 300.0
    with StandInServer(tmp_path, drain_seconds=drain_seconds).start() as served:
        os.kill(served.pids()["worker-0"], signal.SIGSTOP)
        assert served.process
        served.process.send_signal(signal.SIGTERM)
        if why == "second signal":
            time.sleep(0.8)
            served.process.send_signal(signal.SIGINT)
        assert served.status() == 0
        assert served.said("^worker-0 did not end in time")


def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with StandInServer(tmp_path).start() as served:
        pids = served.pids()
        assert set(pids) == CHILDREN
        served.stop(signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in pids.values()), "the end of all")
    with StandInServer(tmp_path).start() as again:
        assert again.stop() == 0, "its directory and address are free again"


def test_no_child_outlives_a_supervisor_killed_during_the_start(tmp_path: Path) -> None:
    """The supervisor may end before a child has asked the kernel to be killed with its parent."""
    with StandInServer(tmp_path).exec() as served:
        pids = eventually(lambda: (pids := served.pids()).keys() >= {"worker-0"} and pids.values(), "a first worker")
        served.stop(signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in pids), "the end of all")


@pytest.mark.parametrize(
    "name",
    [
        "prepare",  # for example a wrong root key or a damaged shard
        "worker-1",
        "keeper",
    ],
)
def test_a_failed_start_reports_the_reason(tmp_path: Path, name: str) -> None:
    with StandInServer(tmp_path) as served:
        (served.data_dir / f"fail-{name}").write_text("the root key\nhas changed")
        assert served.exec().status() == 1
        refusal = served.said("^cannot start: ")
        assert [line["message"].endswith("the root key has changed") for line in refusal] == [True]
        assert "Traceback" not in served.errors()
        eventually(lambda: not Path(f"/proc/{served.pid}").exists(), "the end")


def test_sighup_without_a_terminal_changes_nothing(tmp_path: Path) -> None:
    with StandInServer(tmp_path).start() as served:
        pids = served.pids()
        for pid in (served.pid, *pids.values()):
            os.kill(pid, signal.SIGHUP)
        served.connect()
        assert served.pids() == pids
        assert served.stop() == 0


def test_the_end_of_its_terminal_ends_the_server(tmp_path: Path) -> None:
    """A terminal that closes sends SIGHUP to the process that it controls. Its device is no terminal any more then."""
    with StandInServer(tmp_path) as served:
        settings = tmp_path / "settings.json"
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            command = [sys.executable, "-m", "tests.processes.stand_in", "serve", str(settings)]
            os.execve(sys.executable, command, os.environ | {"PYTHONPATH": str(ROOT)})
        os.set_blocking(terminal, False)
        shown: list[bytes] = []
        eventually(lambda: b"serving" in _read(terminal, shown), "serving")
        os.kill(pid, signal.SIGHUP)
        eventually(lambda: b"unchanged" in _read(terminal, shown), "a signal on a living terminal ends nothing")
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert served.data_dir.is_dir()


def _read(terminal: int, shown: list[bytes]) -> bytes:
    with contextlib.suppress(BlockingIOError):
        shown.append(os.read(terminal, 65536))
    return b"".join(shown)


def test_tokens_are_not_in_arguments_environment_or_open_files(tmp_path: Path) -> None:
    token = "very-secret-token-0123456789"
    root = {"arn": "arn:aws:iam::123456789012:root", "account": "123456789012"}
    principal = {"name": "a", "token": token, "policies": [], **root}
    with StandInServer(tmp_path, principals=[principal]).start() as served:
        for pid in (served.pid, *served.pids().values()):
            for file in ("cmdline", "environ"):
                assert token not in Path(f"/proc/{pid}/{file}").read_text("latin-1")
            assert "memfd" not in " ".join(map(str, map(os.readlink, Path(f"/proc/{pid}/fd").iterdir())))
        assert "-event_engine_listener" in Path(f"/proc/{served.pids()['worker-0']}/environ").read_text("latin-1")
        assert served.stop() == 0


def test_metrics_of_all_processes(tmp_path: Path) -> None:
    with StandInServer(tmp_path, metrics_listen="127.0.0.1:0").start() as served:
        where = served.said("^metrics$")[0]["address"]
        old = served.pids()["worker-1"]
        os.kill(old, signal.SIGKILL)
        served.new_pid("worker-1", old)
        eventually(lambda: len(served.said("^worker-1 is ready")) == 2, "worker-1 is back")
        eventually(lambda: 'cached_keys{worker="1"} 7.0' in _get(where), "gauges of the restarted worker")
        text = _get(where)
        for line in (
            'kms_grpc_process_up{process="worker-0"} 1.0',
            'kms_grpc_process_up{process="keeper"} 1.0',
            'kms_grpc_process_restarts_total{process="worker-1"} 1.0',
            'kms_grpc_process_restarts_total{process="worker-0"} 0.0',
            'kms_grpc_libcrypto_info{process="worker-0",version="stand-in"} 1.0',
            "kms_grpc_keeper_outbox_failing 0.0",
        ):
            assert line in text.splitlines()
        assert served.stop() == 0


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("role", ["worker", "keeper", "prepare"])
def test_a_role_started_by_hand_explains_itself(tmp_path: Path, role: str) -> None:
    command = [sys.executable, "-m", "tests.processes.stand_in", role, "0"]
    run = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "kms-grpc: this command is run by `kms-grpc serve`, not by hand\n"
