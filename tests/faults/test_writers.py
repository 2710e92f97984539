"""64 concurrent callers that change one key and one alias: the history of their calls is linearizable."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.linearizability import DONE, Event, State, order
from tests.faults.service import Caller, Refused, Service
from tests.faults.workload import state_name

WRITERS = 64
CALLS_EACH = 15
ALIAS = "alias/contended"


# --- the checker ----------------------------------------------------------------------------------------------------


def register(state: State, op: tuple[str, ...]) -> tuple[str, State]:
    if op[0] == "set":
        return DONE, op[1]
    return str(state), state


@pytest.mark.parametrize(
    ("history", "holds", "why"),
    [
        ([(("set", "a"), DONE, 0, 1), (("get",), "a", 2, 3)], True, "one after the other"),
        ([(("set", "a"), DONE, 0, 1), (("get",), "0", 2, 3)], False, "a read after the answer sees the write"),
        (
            [(("set", "a"), DONE, 0, 9), (("get",), "0", 2, 3), (("get",), "a", 4, 5)],
            True,
            "between the reads",
        ),
        ([(("set", "a"), DONE, 0, 9), (("get",), "a", 2, 3), (("get",), "0", 4, 5)], False, "and not undone after"),
        (
            [(("set", "a"), DONE, 0, 9), (("set", "b"), DONE, 0, 9), (("get",), "b", 10, 11), (("get",), "a", 12, 13)],
            False,
            "one of two writes came last, for everybody",
        ),
        (
            [(("set", "a"), DONE, 0, 5), (("set", "b"), DONE, 0, 5), (("get",), "b", 1, 3), (("get",), "a", 6, 7)],
            True,
            "b, then a, though a began no later",
        ),
        (
            [(("set", "0"), DONE, 0, 9), (("set", "a"), DONE, 1, 2), (("get",), "0", 3, 4)],
            True,
            "a write of what is there already may have waited for its moment",
        ),
    ],
)
def test_the_checker_of_linearizability(
    history: list[tuple[tuple[str, ...], str, int, int]], holds: bool, why: str
) -> None:
    assert (order([Event(*event) for event in history], register, "0") is not None) is holds, why


# --- the service --------------------------------------------------------------------------------------------------


def key_model(state: State, op: tuple[str, ...]) -> tuple[str, State]:
    """Models the state of a key. EnableKey and DisableKey are idempotent."""
    if op[0] == "enable":
        return DONE, "ENABLED"
    if op[0] == "disable":
        return DONE, "DISABLED"
    if op[0] == "encrypt":
        return (DONE if state == "ENABLED" else "DisabledException"), state
    return str(state), state


def alias_model(state: State, op: tuple[str, ...]) -> tuple[str, State]:
    """Models an alias, which is absent (None) or points to a key."""
    if op[0] == "create":
        return ("AlreadyExistsException", state) if state else (DONE, op[1])
    if op[0] == "move":
        return (DONE, op[1]) if state else ("NotFoundException", state)
    if op[0] == "delete":
        return (DONE, None) if state else ("NotFoundException", state)
    return (str(state) if state else "NotFoundException"), state


class Contest:
    """The contended key and alias, and the request of each kind of call."""

    def __init__(self, caller: Caller) -> None:
        self.key, *self.targets = [create_key(caller) for _ in range(3)]

    def key_ops(self) -> list[tuple[str, ...]]:
        return [("enable",), ("disable",), ("encrypt",), ("state",)]

    def alias_ops(self) -> list[tuple[str, ...]]:
        either = [(verb, target) for verb in ("create", "move") for target in self.targets]
        return [*either, ("delete",), ("target",)]

    def call(self, caller: Caller, op: tuple[str, ...]) -> str:
        """Makes a call; returns its answer as the models give it."""
        name, request = self.request(op)
        try:
            answer = caller.call(name, request)
        except Refused as refusal:
            return refusal.reason
        if name != "DescribeKey":
            return DONE
        return state_name(answer.key_metadata) if op == ("state",) else str(answer.key_metadata.key_id)

    def request(self, op: tuple[str, ...]) -> tuple[str, object]:
        match op:
            case ("enable",):
                return "EnableKey", pb.EnableKeyRequest(key_id=self.key)
            case ("disable",):
                return "DisableKey", pb.DisableKeyRequest(key_id=self.key)
            case ("encrypt",):
                return "Encrypt", pb.EncryptRequest(key_id=self.key, plaintext=b"contended")
            case ("state",):
                return "DescribeKey", pb.DescribeKeyRequest(key_id=self.key)
            case ("create", target):
                return "CreateAlias", pb.CreateAliasRequest(alias_name=ALIAS, target_key_id=target)
            case ("move", target):
                return "UpdateAlias", pb.UpdateAliasRequest(alias_name=ALIAS, target_key_id=target)
            case ("delete",):
                return "DeleteAlias", pb.DeleteAliasRequest(alias_name=ALIAS)
        return "DescribeKey", pb.DescribeKeyRequest(key_id=ALIAS)


def create_key(caller: Caller) -> str:
    key: str = caller.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id
    return key


def contend(service: Service, contest: Contest, seed: str) -> list[Event]:
    """Returns the calls of 64 callers with a connection each, and their answers."""
    history: list[Event] = []
    failures: list[BaseException] = []
    together = threading.Barrier(WRITERS)

    def writer(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        caller = service.caller()
        try:
            together.wait(60)
            for _ in range(CALLS_EACH):
                op = chance.choice(chance.choice((contest.key_ops(), contest.alias_ops())))
                start = time.monotonic_ns()
                answer = contest.call(caller, op)
                history.append(Event(op, answer, start, time.monotonic_ns()))
        except BaseException as failure:
            failures.append(failure)
            together.abort()
        finally:
            caller.close()

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return history


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data")
    service.start()
    yield service
    service.close()


def test_changes_of_one_key_and_one_alias_are_linearizable(service: Service, seed: str) -> None:
    caller = service.caller()
    contest = Contest(caller)
    history = contend(service, contest, seed)
    now = time.monotonic_ns()
    last = [Event(op, contest.call(caller, op), now, time.monotonic_ns()) for op in (("state",), ("target",))]
    history += last
    of_key = [event for event in history if event.op in contest.key_ops()]
    of_alias = [event for event in history if event.op in contest.alias_ops()]
    assert len(of_key) + len(of_alias) == len(history) == WRITERS * CALLS_EACH + 2
    assert order(of_key, key_model, "ENABLED"), "no order of the calls explains the answers about the key's state"
    assert order(of_alias, alias_model, None), "no order of the calls explains the answers about the alias"
    assert len({event.answer for event in of_alias}) >= 4, "the writers never met: nothing was shown"
    assert "is locked" not in service.log_text()
    caller.close()
    assert service.stop() == 0
