"""Beats: a process that does not answer is killed and replaced; one that cannot work says so; a loaded one stays."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.processes import readiness
from kms_grpc.processes.child_protocol import SupervisorLink
from kms_grpc.processes.children import Timing
from kms_grpc.processes.keeper_beats import KeeperBeats
from kms_grpc.processes.readiness import Readiness
from tests.processes.stand_in_server import PATIENCE, StandInServer, eventually

LIMIT = Timing().answer + (Timing().missed + 1) * Timing().beat


def metric(served: StandInServer, name: str, process: str) -> float:
    address = served.said("^metrics$")[0]["address"]
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith(f'kms_grpc_{name}{{process="{process}"}}'))
    return float(line.split()[-1])


@pytest.mark.parametrize("name", ["worker-0", "keeper"])
def test_a_process_that_hangs_is_killed_and_replaced(tmp_path: Path, name: str) -> None:
    with StandInServer(tmp_path, metrics_listen="127.0.0.1:0").start() as served:
        before = served.pids()
        os.kill(before[name], signal.SIGSTOP)
        stopped = time.monotonic()
        eventually(lambda: metric(served, "process_up", name) == 0, "process_up says 0")
        served.new_pid(name, before[name])
        took = time.monotonic() - stopped
        assert took > Timing().answer, "a loaded machine must not lose its workers"
        assert took < LIMIT + 15, "the rest is this machine's load"
        eventually(lambda: len(served.said(f"^{name} is ready")) == 2, "ready again")
        (ended,) = served.said(f"^{name} ended")
        assert ended["reason"].startswith("did not answer for ")
        eventually(lambda: metric(served, "process_up", name) == 1, "process_up says 1")
        assert metric(served, "process_hangs_total", name) == metric(served, "process_restarts_total", name) == 1
        others = {pid for other, pid in served.pids().items() if other != name}
        assert others == set(before.values()) - {before[name]}
        assert served.stop() == 0


def test_a_pause_of_all_processes_replaces_none(tmp_path: Path) -> None:
    """A machine that slept, or a container that was frozen, loses no process."""
    with StandInServer(tmp_path).start() as served:
        before = served.pids()
        time.sleep(1.5)
        everybody = (served.pid, *before.values())
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(LIMIT + 1)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        time.sleep(2)
        assert served.pids() == before
        assert served.stop() == 0


def test_a_worker_that_cannot_decrypt_is_not_up_and_lives(tmp_path: Path) -> None:
    with StandInServer(tmp_path, metrics_listen="127.0.0.1:0").start() as served:
        eventually(lambda: metric(served, "process_up", "worker-1") == 1, "ready")
        before, cause = served.pids(), served.data_dir / "no-decrypt"
        cause.touch()
        eventually(lambda: metric(served, "process_up", "worker-1") == 0, "not able")
        assert [line["message"] for line in served.said("^not ready")] != []
        cause.unlink()
        eventually(lambda: metric(served, "process_up", "worker-1") == 1, "able again")
        assert served.pids() == before
        assert served.stop() == 0


def test_a_worker_that_cannot_decrypt_does_not_start(tmp_path: Path) -> None:
    with StandInServer(tmp_path) as served:
        (served.data_dir / "no-decrypt").touch()
        assert served.exec().status() == 1
        (refusal,) = served.said("^cannot start: ")
        assert refusal["message"].endswith("the shard cannot be read")


# --- readiness ---------------------------------------------------------------------------------------------------


def test_readiness_ends_with_the_first_failure_and_returns_with_the_first_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in (("EVERY_SECONDS", 0.05), ("AGAIN_SECONDS", 0.01), ("LASTS_SECONDS", 0.5)):
        monkeypatch.setattr(readiness, name, seconds)
    said: list[bool] = []
    hangs = threading.Event()

    async def decrypt() -> None:
        if failing:
            raise OSError("no disk")
        await asyncio.to_thread(lambda: not hangs.is_set() or time.sleep(1.5))

    async def report(able: bool) -> None:
        said.append(able)

    async def until(expected: list[bool]) -> None:
        async with asyncio.timeout(60):
            while said != expected:
                await asyncio.sleep(0.01)

    async def watch() -> None:
        nonlocal failing
        watching = asyncio.create_task(Readiness(decrypt, report).watch())
        await until([True])
        failing = True
        await until([True, False])
        failing = False
        await until([True, False, True])
        hangs.set()
        await until([True, False, True, False])
        hangs.clear()
        await until([True, False, True, False, True])
        watching.cancel()

    failing = False
    asyncio.run(watch())


# --- the keeper's beats ------------------------------------------------------------------------------------------


@pytest.fixture
def link() -> Iterator[tuple[Any, socket.socket]]:
    """A child's link, and the supervisor's end of it."""
    supervisor, child = socket.socketpair()
    child.setblocking(False)
    made = SupervisorLink.__new__(SupervisorLink)
    made._channel, made._unread, made._files = child, b"", deque()
    with supervisor, child:
        yield made, supervisor


def asked(supervisor: socket.socket, number: int, seconds: float = 60.0) -> Any:
    """Sends a beat and returns its answer; None if there is none in time."""
    supervisor.send(b'{"beat":%d}\n' % number)
    if not select.select([supervisor], [], [], seconds)[0]:
        return None
    return json.loads(supervisor.recv(4096))


def test_the_keeper_answers_while_its_work_goes_on_and_not_where_a_step_is_stuck(
    link: tuple[Any, socket.socket],
) -> None:
    looks: list[float] = []
    beats = KeeperBeats(link[0], lambda: looks.append(time.monotonic()), stuck_seconds=0.3)
    beats.start()
    try:
        assert asked(link[1], 1) == {"beat": 1, "able": True}
        with beats.working():
            for number in range(2, 6):
                time.sleep(0.1)
                beats.note_progress()
                assert asked(link[1], number) == {"beat": number, "able": True}
            time.sleep(0.5)
            assert asked(link[1], 6, 0.5) is None, "stuck"
            assert looks
        assert select.select([link[1]], [], [], 60)[0]
        assert json.loads(link[1].recv(4096)) == {"beat": 6, "able": True}, "the step has ended after all"
    finally:
        beats.stop()
