"""A fork waits until no call is under way, because the gRPC library does not support a fork during a call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from kms_grpc.client import forks
from kms_grpc.client.forks import Calls
from tests.client.calls_made import new_context
from tests.served import Served

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30


def thread(work: Callable[[], None]) -> threading.Thread:
    started = threading.Thread(target=work, daemon=True)
    started.start()
    return started


def test_a_fork_waits_for_calls_and_holds_back_new_ones() -> None:
    calls, events, entered, end = Calls(), list[str](), threading.Event(), threading.Event()

    def call() -> None:
        with calls:
            entered.set()
            end.wait(SECONDS)
            events.append("first call")

    def fork() -> None:
        calls.before_fork()
        events.append("fork")

    def later_call() -> None:
        with calls:
            events.append("later call")

    under_way = thread(call)
    entered.wait(SECONDS)
    forking = thread(fork)
    while not calls._forks:
        time.sleep(0.001)
    held_back = thread(later_call)
    assert events == []
    end.set()
    under_way.join(SECONDS)
    forking.join(SECONDS)
    assert events == ["first call", "fork"]
    calls.after_fork()
    held_back.join(SECONDS)
    assert events == ["first call", "fork", "later call"]


def test_a_fork_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "WAIT_SECONDS", 0.05)
    calls, entered, end = Calls(), threading.Event(), threading.Event()

    def call() -> None:
        with calls:
            entered.set()
            end.wait(SECONDS)

    under_way = thread(call)
    entered.wait(SECONDS)
    calls.before_fork()
    calls.forget()  # as in a child, which does not have the other thread
    with calls:
        calls.before_fork()
    end.set()
    under_way.join(SECONDS)
    assert calls._under_way == set()


def test_a_signal_handler_may_fork_during_a_call_of_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "WAIT_SECONDS", SECONDS)
    children = list[int]()

    def fork(_: int, __: FrameType | None) -> None:
        children.append(os.fork())
        if not children[-1]:
            with forks.calls:
                os._exit(0)

    before = signal.signal(signal.SIGUSR1, fork)
    try:
        with forks.calls, forks.calls._changed:
            begun = time.monotonic()
            os.kill(os.getpid(), signal.SIGUSR1)
            while not children:
                time.sleep(0.001)
            assert time.monotonic() - begun < SECONDS, "the fork waited for the call of its own thread"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert os.waitpid(children[0], 0)[1] == 0


def test_os_fork_waits_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child, the call of the other thread has ended and none is under way."""
    monkeypatch.setattr(forks, "WAIT_SECONDS", SECONDS)
    ended, entered = list[bool](), threading.Event()

    def call() -> None:
        with forks.calls:
            entered.set()
            while not forks.calls._forks:
                time.sleep(0.001)
            ended.append(True)

    under_way = thread(call)
    entered.wait(SECONDS)
    child = os.fork()
    if not child:
        os._exit(0 if ended and not forks.calls._under_way and not forks.calls._forks else 1)
    under_way.join(SECONDS)
    assert os.waitpid(child, 0)[1] == 0
    assert not forks.calls._forks


def test_children_survive_forks_during_calls_of_other_threads(server: Served) -> None:
    """Without the wait, three or more of 200 children died. A fork does not wait for gRPC's own threads, which still
    kill about one child in several thousand."""
    with server.client() as kms:
        key_id = kms.create_key("forks").key_metadata.key_id
    command = [sys.executable, "-W", "ignore", "-m", "tests.client.forking", "often", key_id]
    environment = server.environment | server.variables() | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, json.dumps(new_context())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["0"] >= 198, done.stdout + done.stderr
