"""A change that one worker has acknowledged takes effect in all workers from the next call on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.client import item_error
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1.keys_pb2 import INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL as ALL
from tests.conftest import StartServer
from tests.operations.external_keys import EXTERNAL, NEVER, wanted, wrap
from tests.served import Served
from tests.workers.connections import Caller, ask_all, connect, outcome, worker_pid

ROUNDS = 1000
STOPS = 24
ROOT = Path(__file__).resolve().parents[2]


class ServerWithKeys:
    """A server with two workers, eight connections to it, and keys for each kind of change."""

    def __init__(self, server: Served, held: ExitStack) -> None:
        self.server = server
        self.callers = connect(server, held)
        self.keys = [self.callers[0].call("CreateKey").key_metadata.key_id for _ in range(2)]
        self.alias = "alias/moving"
        self.callers[0].call("CreateAlias", alias_name=self.alias, target_key_id=self.keys[0])
        self._rotated, self._rotations = self.keys[0], 0
        self.imported: str = self.callers[0].call("CreateKey", origin=EXTERNAL).key_metadata.key_id
        self._material = os.urandom(32)
        self.import_material(self.callers[0])

    def import_material(self, caller: Caller) -> None:
        """Import the same material into the external key."""
        got = caller.call("GetParametersForImport", **wanted(self.imported))
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", self._material)
        fields = {"key_id": self.imported, "import_token": got.import_token, "encrypted_key_material": encrypted}
        caller.call("ImportKeyMaterial", expiration_model=NEVER, **fields)

    def key_to_rotate(self) -> str:
        """Returns a key that can be rotated on demand once more; each key allows 25 rotations."""
        if self._rotations == 25:
            self._rotated, self._rotations = self.callers[0].call("CreateKey").key_metadata.key_id, 0
        self._rotations += 1
        return self._rotated


@pytest.fixture
def server(start_server: StartServer) -> Iterator[ServerWithKeys]:
    with ExitStack() as held:
        yield ServerWithKeys(start_server(workers=2), held)


# --- changes: each is made through one connection and checked through all ----------------------------------------

Change = Callable[[ServerWithKeys, Caller, int], tuple[dict[str, Any], Callable[[Any], bool]]]
"""(server, connection for the change, round) -> (fields of the Encrypt call that checks it, test of its outcome)."""


def disable(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    caller.call("DisableKey", key_id=server.keys[0])
    return {"key_id": server.keys[0]}, lambda answer: answer == "DisabledException"


def enable(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    caller.call("EnableKey", key_id=server.keys[0])
    return {"key_id": server.keys[0]}, lambda answer: not isinstance(answer, str)


def move_alias(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    target = server.keys[(number + 1) % 2]
    caller.call("UpdateAlias", alias_name=server.alias, target_key_id=target)
    return {"key_id": server.alias}, lambda answer: answer.key_id.endswith(target)


def create(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    fresh = caller.call("CreateKey").key_metadata.key_id
    return {"key_id": fresh}, lambda answer: answer.key_id.endswith(fresh)


def rotate(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    key_id = server.key_to_rotate()
    caller.call("RotateKeyOnDemand", key_id=key_id)
    entries = caller.call("ListKeyRotations", key_id=key_id, include_key_material=ALL).rotations
    material_id = bytes.fromhex(entries[-1].key_material_id)
    return {"key_id": key_id}, lambda answer: answer.ciphertext_blob[19:51] == material_id


def delete_material(
    server: ServerWithKeys, caller: Caller, number: int
) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    """Delete the imported material, which `import_again` imports again."""
    key_id = server.imported
    caller.call("DeleteImportedKeyMaterial", key_id=key_id)
    return {"key_id": key_id}, lambda answer: answer == "KMSInvalidStateException"


def import_again(server: ServerWithKeys, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    server.import_material(caller)
    return {"key_id": server.imported}, lambda answer: not isinstance(answer, str)


OTHERS: Sequence[Change] = (*(move_alias, create, rotate) * 4, delete_material, import_again)


BATCH_EVERY = 5
"""Every fifth round uses a batch; over time batches meet every kind of change."""


def ask(through: Sequence[Caller], number: int, fields: dict[str, Any]) -> list[Any]:
    """Call Encrypt through all connections, in every BATCH_EVERY-th round as the only item of a batch."""
    if number % BATCH_EVERY:
        return ask_all(through, "Encrypt", plaintext=b"x", **fields)
    batches = ask_all(through, "EncryptBatch", items=[{"plaintext": b"x", **fields}])
    return [of_batch(answer) for answer in batches]


def of_batch(answer: Any) -> Any:
    """Returns the response that Encrypt would have given, or the name of the item's error."""
    (result,) = answer.results
    error = item_error(result)
    if error is not None:
        return error.code
    return pb.EncryptResponse(key_id=answer.keys[result.key].key_id, ciphertext_blob=result.ciphertext_blob)


def change_and_check(
    server: ServerWithKeys, change: Change, number: int, through: Sequence[Caller] | None = None
) -> None:
    """Make a change through one connection, then check it through all connections or those in `through`."""
    through = through or server.callers
    fields, is_effective = change(server, server.callers[number % len(server.callers)], number)
    answers = ask(through, number, fields)
    failed = [caller.worker for caller, answer in zip(through, answers, strict=True) if not is_effective(answer)]
    assert not failed, f"round {number}, {change.__name__}: workers {failed}"


# --- tests -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["alone", "under load"])
def loaded(request: pytest.FixtureRequest, server: ServerWithKeys) -> Iterator[None]:
    if request.param == "alone":
        yield
        return
    key = server.callers[0].call("CreateKey").key_metadata.key_id
    environment = os.environ | {"KMS_GRPC_TOKEN": server.server.token}
    command = [sys.executable, "-m", "tests.workers.load", server.server.address, server.server.regions[0], key]
    load = subprocess.Popen(command, cwd=ROOT, env=environment)
    yield
    assert load.poll() is None, "the load runs to the end"
    load.kill()
    load.wait()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("loaded")
def test_a_change_takes_effect_for_every_call_after_its_acknowledgement(server: ServerWithKeys) -> None:
    one_of_each = [next(caller for caller in server.callers if caller.worker == worker) for worker in (0, 1)]
    for number in range(ROUNDS):
        change_and_check(server, disable, number)
        change_and_check(server, enable, number + 1, one_of_each)
        if number % 4 == 0:
            change_and_check(server, OTHERS[number // 4 % len(OTHERS)], number)


@pytest.mark.parametrize(
    "change", [disable, move_alias, create, rotate, delete_material], ids=lambda change: change.__name__
)
def test_a_change_takes_effect_in_a_worker_that_was_stopped_meanwhile(server: ServerWithKeys, change: Change) -> None:
    for number in range(STOPS // 4):
        stopped = number % 2
        other = next(caller for caller in server.callers if caller.worker != stopped)
        of_stopped = [caller for caller in server.callers if caller.worker == stopped]
        for before in (enable, import_again):
            change_and_check(server, before, number)
        os.kill(worker_pid(server.server, stopped), signal.SIGSTOP)
        try:
            fields, is_effective = change(server, other, number)
            calls = [caller.begin("Encrypt", plaintext=b"x", **fields) for caller in of_stopped]
            time.sleep(0.05)
        finally:
            os.kill(worker_pid(server.server, stopped), signal.SIGCONT)
        assert all(is_effective(outcome(call)) for call in calls), f"round {number}"


def test_a_change_takes_effect_if_its_worker_dies_before_the_epoch_is_bumped(start_server: StartServer) -> None:
    """The supervisor bumps every epoch when a worker dies, here between commit and bump."""
    fault = {"KMS_GRPC_FAULT": "commit.after:3", "KMS_GRPC_FAULT_IN": "worker"}
    server = start_server(workers=2, environment=fault)
    with ExitStack() as held:
        callers = connect(server, held)
        dying = next(caller for caller in callers if caller.worker == 0)
        other = next(caller for caller in callers if caller.worker == 1)
        key = dying.call("CreateKey").key_metadata.key_id
        dying.call("UpdateKeyDescription", key_id=key, description="second commit")
        assert other.call("Encrypt", key_id=key, plaintext=b"x").ciphertext_blob
        with pytest.raises(grpc.RpcError) as lost:
            dying.call("DisableKey", key_id=key)
        assert lost.value.code() == grpc.StatusCode.UNAVAILABLE
        deadline = time.monotonic() + 100
        while outcome(other.begin("Encrypt", key_id=key, plaintext=b"x")) != "DisabledException":
            assert time.monotonic() < deadline, "the change never took effect in the other worker"
