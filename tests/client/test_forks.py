"""A fork of the caller's process waits until no call is under way: gRPC's library does not bear one in the middle."""

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
from tests.client.calls_made import context_of_its_own
from tests.served import Served

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30


def thread(work: Callable[[], None]) -> threading.Thread:
    started = threading.Thread(target=work, daemon=True)
    started.start()
    return started


def test_it_waits_for_calls_and_holds_back_those_that_come() -> None:
    calls, told, entered, end = Calls(), list[str](), threading.Event(), threading.Event()

    def call() -> None:
        with calls:
            entered.set()
            end.wait(SECONDS)
            told.append("first call")

    def fork() -> None:
        calls.before_fork()
        told.append("fork")

    def later_call() -> None:
        with calls:
            told.append("later call")

    under_way = thread(call)
    entered.wait(SECONDS)
    forking = thread(fork)
    while not calls._forks:
        time.sleep(0.001)
    held_back = thread(later_call)
    assert told == []
    end.set()
    under_way.join(SECONDS)
    forking.join(SECONDS)
    assert told == ["first call", "fork"]
    calls.after_fork()
    held_back.join(SECONDS)
    assert told == ["first call", "fork", "later call"]


def test_it_waits_no_longer_than_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "WAIT_SECONDS", 0.05)
    calls, entered, end = Calls(), threading.Event(), threading.Event()

    def call() -> None:
        with calls:
            entered.set()
            end.wait(SECONDS)

    under_way = thread(call)
    entered.wait(SECONDS)
    calls.before_fork()
    calls.forget()  # as the child does: the other thread's call is none of its own
    with calls:
        calls.before_fork()
    end.set()
    under_way.join(SECONDS)
    assert calls._under_way == set()


def test_a_handler_of_a_signal_may_fork_in_the_middle_of_a_call_of_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
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
            assert time.monotonic() - begun < SECONDS, "it waited for itself"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert os.waitpid(children[0], 0)[1] == 0


def test_os_fork_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds the other thread's call ended, and none under way."""
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


def test_children_live_though_other_threads_make_calls(server: Served) -> None:
    """Of 200 children three or more died before forks waited. gRPC's own threads are not waited for: they killed one of
    some thousands."""
    with server.client() as kms:
        key_id = kms.create_key("forks").key_metadata.key_id
    command = [sys.executable, "-W", "ignore", "-m", "tests.client.forking", "often", key_id]
    environment = server.environment | server.variables() | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, json.dumps(context_of_its_own())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["0"] >= 198, done.stdout + done.stderr
