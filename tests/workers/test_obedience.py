"""What one worker has acknowledged holds in all of them, from the next call on."""

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


class Rig:
    """A server with two workers, eight connections to it, and keys for each kind of change."""

    def __init__(self, server: Served, held: ExitStack) -> None:
        self.server = server
        self.callers = connect(server, held)
        self.keys = [self.callers[0].call("CreateKey").key_metadata.key_id for _ in range(2)]
        self.alias = "alias/moving"
        self.callers[0].call("CreateAlias", alias_name=self.alias, target_key_id=self.keys[0])
        self._renewed, self._rotations = self.keys[0], 0
        self.imported: str = self.callers[0].call("CreateKey", origin=EXTERNAL).key_metadata.key_id
        self._material = os.urandom(32)
        self.bring_in(self.callers[0])

    def bring_in(self, caller: Caller) -> None:
        """Import the same material into the external key."""
        got = caller.call("GetParametersForImport", **wanted(self.imported))
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", self._material)
        fields = {"key_id": self.imported, "import_token": got.import_token, "encrypted_key_material": encrypted}
        caller.call("ImportKeyMaterial", expiration_model=NEVER, **fields)

    def renewed(self) -> str:
        """A key that can be rotated once more: 25 times each."""
        if self._rotations == 25:
            self._renewed, self._rotations = self.callers[0].call("CreateKey").key_metadata.key_id, 0
        self._rotations += 1
        return self._renewed


@pytest.fixture
def rig(start_server: StartServer) -> Iterator[Rig]:
    with ExitStack() as held:
        yield Rig(start_server(workers=2), held)


# --- the changes: each is made through one connection and looked at through all; returns how it must look ---------

Change = Callable[[Rig, Caller, int], tuple[dict[str, Any], Callable[[Any], bool]]]
"""(rig, the connection to make it through, number of the round) -> (fields of the Encrypt to ask with, what obeys)."""


def disable(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    caller.call("DisableKey", key_id=rig.keys[0])
    return {"key_id": rig.keys[0]}, lambda answer: answer == "DisabledException"


def enable(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    caller.call("EnableKey", key_id=rig.keys[0])
    return {"key_id": rig.keys[0]}, lambda answer: not isinstance(answer, str)


def move_alias(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    target = rig.keys[(number + 1) % 2]
    caller.call("UpdateAlias", alias_name=rig.alias, target_key_id=target)
    return {"key_id": rig.alias}, lambda answer: answer.key_id.endswith(target)


def create(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    fresh = caller.call("CreateKey").key_metadata.key_id
    return {"key_id": fresh}, lambda answer: answer.key_id.endswith(fresh)


def renew(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    key_id = rig.renewed()
    caller.call("RotateKeyOnDemand", key_id=key_id)
    entries = caller.call("ListKeyRotations", key_id=key_id, include_key_material=ALL).rotations
    material_id = bytes.fromhex(entries[-1].key_material_id)
    return {"key_id": key_id}, lambda answer: answer.ciphertext_blob[19:51] == material_id


def lose(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    """The same material goes, having come back."""
    key_id = rig.imported
    caller.call("DeleteImportedKeyMaterial", key_id=key_id)
    return {"key_id": key_id}, lambda answer: answer == "KMSInvalidStateException"


def bring_back(rig: Rig, caller: Caller, number: int) -> tuple[dict[str, Any], Callable[[Any], bool]]:
    rig.bring_in(caller)
    return {"key_id": rig.imported}, lambda answer: not isinstance(answer, str)


OTHERS: Sequence[Change] = (*(move_alias, create, renew) * 4, lose, bring_back)


BATCH_EVERY = 5
"""Rounds: in time a batch meets every kind of change."""


def ask(through: Sequence[Caller], number: int, fields: dict[str, Any]) -> list[Any]:
    """Encrypt through all connections; each so many rounds as the one item of a batch."""
    if number % BATCH_EVERY:
        return ask_all(through, "Encrypt", plaintext=b"x", **fields)
    batches = ask_all(through, "EncryptBatch", items=[{"plaintext": b"x", **fields}])
    return [of_batch(answer) for answer in batches]


def of_batch(answer: Any) -> Any:
    """What Encrypt would have answered, or the name of the item's error."""
    (result,) = answer.results
    error = item_error(result)
    if error is not None:
        return error.code
    return pb.EncryptResponse(key_id=answer.keys[result.key].key_id, ciphertext_blob=result.ciphertext_blob)


def look(rig: Rig, change: Change, number: int, through: Sequence[Caller] | None = None) -> None:
    """Make the change through one connection, then ask through all, or those given."""
    through = through or rig.callers
    fields, obeys = change(rig, rig.callers[number % len(rig.callers)], number)
    answers = ask(through, number, fields)
    disobeying = [caller.worker for caller, answer in zip(through, answers, strict=True) if not obeys(answer)]
    assert not disobeying, f"round {number}, {change.__name__}: workers {disobeying}"


# --- tests -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["alone", "under load"])
def loaded(request: pytest.FixtureRequest, rig: Rig) -> Iterator[None]:
    if request.param == "alone":
        yield
        return
    key = rig.callers[0].call("CreateKey").key_metadata.key_id
    environment = os.environ | {"KMS_GRPC_TOKEN": rig.server.token}
    command = [sys.executable, "-m", "tests.workers.load", rig.server.address, rig.server.regions[0], key]
    load = subprocess.Popen(command, cwd=ROOT, env=environment)
    yield
    assert load.poll() is None, "the load goes on to the end"
    load.kill()
    load.wait()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("loaded")
def test_every_call_after_the_acknowledgement_obeys(rig: Rig) -> None:
    one_of_each = [next(caller for caller in rig.callers if caller.worker == worker) for worker in (0, 1)]
    for number in range(ROUNDS):
        look(rig, disable, number)
        look(rig, enable, number + 1, one_of_each)
        if number % 4 == 0:
            look(rig, OTHERS[number // 4 % len(OTHERS)], number)


@pytest.mark.parametrize("change", [disable, move_alias, create, renew, lose], ids=lambda change: change.__name__)
def test_a_worker_that_slept_through_a_change_obeys_when_it_wakes(rig: Rig, change: Change) -> None:
    for number in range(STOPS // 4):
        asleep = number % 2
        awake = next(caller for caller in rig.callers if caller.worker != asleep)
        sleepers = [caller for caller in rig.callers if caller.worker == asleep]
        for before in (enable, bring_back):
            look(rig, before, number)
        os.kill(worker_pid(rig.server, asleep), signal.SIGSTOP)
        try:
            fields, obeys = change(rig, awake, number)
            calls = [caller.begin("Encrypt", plaintext=b"x", **fields) for caller in sleepers]
            time.sleep(0.05)
        finally:
            os.kill(worker_pid(rig.server, asleep), signal.SIGCONT)
        assert all(obeys(outcome(call)) for call in calls), f"round {number}"


def test_a_change_whose_worker_died_before_telling_is_obeyed_too(start_server: StartServer) -> None:
    """Killed between commit and bump: nobody would ever know, did the supervisor not bump every epoch."""
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
            assert time.monotonic() < deadline, "the other worker never learned of it"
