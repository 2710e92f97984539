"""Random lives of two keys, one of which is external: whatever is called in whatever order, with the clock stepped and
the keeper coming by at times, the service answers as a model of a few lines does.

10,000 steps in CI, 1,500 elsewhere.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kms_grpc import errors
from kms_grpc.clock import DAY_NS
from kms_grpc.model.key import ImportPair
from kms_grpc.processes import by_the_clock
from kms_grpc.v1 import keys_pb2
from tests.operations.conftest import copied
from tests.operations.life import (
    EXISTING,
    EXTERNAL,
    NEVER,
    NEW,
    SECOND_NS,
    expiring,
    lay_ready,
    provide_pair,
    state_of,
    wanted,
    wrap,
)
from tests.operations.service import HOUR_NS, Host, Worker

STEPS, EXAMPLES = (100, 100) if os.environ.get("CI") else (50, 30)
TABLE = """
                     Enabled Disabled PendingDeletion PendingImport
Encrypt              OK      D        I               I
EnableKey            OK      OK       I               I
DisableKey           OK      OK       I               I
UpdateKeyDescription OK      OK       I               OK
TagResource          OK      OK       I               OK
CreateAlias          OK      OK       I               OK
ScheduleKeyDeletion  OK      OK       I               OK
CancelKeyDeletion    I       I        OK              I
EnableKeyRotation    OK      D        I               U
DisableKeyRotation   OK      D        I               U
RotateKeyOnDemand    OK      D        I               I
"""
CODES = {"D": "DisabledException", "I": "KMSInvalidStateException", "U": "UnsupportedOperationException", "OK": None}
CELLS = {
    line.split()[0]: dict(zip(TABLE.split("\n")[1].split(), line.split()[1:], strict=True))
    for line in TABLE.strip().splitlines()[1:]
}
SECRETS = [bytes([number]) * 32 for number in range(4)]
FOR_EVER = math.inf


@dataclass
class Model:
    """What a key is like. Materials are told by their number; `there` has those that are, and when they end."""

    external: bool
    state: str
    there: dict[int, float]
    permanent: list[int] = field(default_factory=list)
    waiting: int | None = None
    due: float = FOR_EVER
    period: int | None = None
    rotation: float = FOR_EVER
    on_demand: int = 0

    def look(self, now: int) -> None:
        """What has expired is gone, and a key that lacks a permanent material waits for it."""
        self.there = {number: end for number, end in self.there.items() if end > now}
        self.waiting = self.waiting if self.waiting in self.there else None
        if not (self.permanent and set(self.permanent) <= set(self.there)) and self.state != "PendingDeletion":
            self.state = "PendingImport"

    def code(self, name: str, now: int) -> str | None:
        """The error that an operation ends in."""
        code = CODES[CELLS[name][self.state]]
        if code is not None or not name.endswith(("KeyRotation", "RotateKeyOnDemand")):
            return code
        if name != "RotateKeyOnDemand":
            return CODES["U"] if self.external else None
        if self.external and self.waiting is None:
            return CODES["I"]
        if self.on_demand == 25:
            return "LimitExceededException"
        return "ConflictException" if self.rotation - now <= 20 * 60 * SECOND_NS else None

    def import_code(self, number: int, kind: int) -> str | None:
        if not self.external or self.state == "PendingDeletion":
            return CODES["I" if self.external else "U"]
        new = kind == NEW or (not kind and not self.permanent)
        if not new:
            return None if number in self.permanent or number == self.waiting else "IncorrectKeyMaterialException"
        if number in self.permanent or number == self.waiting:
            return "IncorrectKeyMaterialException"
        return CODES["I"] if self.waiting is not None else None

    def take(self, number: int, end: float) -> None:
        """An import that went well."""
        if number not in self.permanent and number != self.waiting:
            self.waiting = number if self.permanent else None
            self.permanent = self.permanent or [number]
        self.there[number] = end
        if self.state == "PendingImport" and set(self.permanent) <= set(self.there):
            self.state = "Enabled"

    def rotate(self) -> None:
        number = max(self.permanent) + 1 if self.waiting is None else self.waiting
        self.there.setdefault(number, FOR_EVER)
        self.permanent.append(number)
        self.waiting = None


@pytest.fixture
def run(prepared: Path, folder: Path) -> Iterator[Any]:
    """One service for all lives; an RSA pair of its own, laid ready again for each import: making one takes long."""
    host = Host(copied(prepared, folder))
    worker = host.worker()
    provide_pair(worker.shard())
    with worker.shard().registry.writing() as transaction:
        pair = transaction.ready_pair("RSA_2048")
    yield host, worker, pair
    host.close()
    shutil.rmtree(host.settings.data_dir)


class Lives(RuleBasedStateMachine):
    """Rules name a key by whether it is external."""

    host: Host
    worker: Worker
    pair: ImportPair

    @initialize()
    def begin(self) -> None:
        self.keys: dict[bool, str] = {}
        self.models: dict[bool, Model] = {}
        self.blobs: dict[bool, list[bytes]] = {}
        for external in (False, True):
            self.born(external)

    def born(self, external: bool) -> None:
        made = self.worker.call("CreateKey", **({"origin": EXTERNAL} if external else {})).key_metadata
        self.keys[external], self.blobs[external] = made.key_id, []
        new = {"state": "PendingImport", "there": {}} if external else {"state": "Enabled", "there": {0: FOR_EVER}}
        self.models[external] = Model(external, **new, permanent=[] if external else [0])  # type: ignore[arg-type]

    @property
    def now(self) -> int:
        return self.host.clock.now_ns

    def done(self, name: str, expected: str | None, **fields: Any) -> Any:
        """The answer, or None; whether it is an error is as the model says."""
        try:
            answer, code = self.worker.call(name, **fields), None
        except errors.KMSError as error:
            answer, code = None, error.code
        assert code == expected, (name, code, expected)
        return answer

    def ask(self, external: bool, name: str, **fields: Any) -> Any:
        expected = self.models[external].code(name, self.now)
        named = {"target_key_id" if name == "CreateAlias" else "key_id": self.keys[external]}
        answer = self.done(name, expected, **named, **fields)
        return answer if expected is None else None

    @rule(external=st.booleans(), name=st.sampled_from(["EnableKey", "EnableKey", "DisableKey"]))
    def switch(self, external: bool, name: str) -> None:
        if self.ask(external, name) is not None:
            self.models[external].state = "Enabled" if name == "EnableKey" else "Disabled"

    @rule(external=st.booleans(), name=st.sampled_from(["UpdateKeyDescription", "TagResource", "CreateAlias"]))
    def tell(self, external: bool, name: str) -> None:
        fields: dict[str, Any] = {"description": "x"}
        if name != "UpdateKeyDescription":
            fields = {"tags": [{"tag_key": "k", "tag_value": "v"}]} if name == "TagResource" else {
                "alias_name": f"alias/{os.urandom(8).hex()}"
            }  # fmt: skip
        self.ask(external, name, **fields)

    @rule(external=st.booleans(), number=st.integers(0, 1 << 16))
    def encrypt(self, external: bool, number: int) -> None:
        answer = self.ask(external, "Encrypt", plaintext=b"p")
        if answer is not None:
            self.blobs[external].append(answer.ciphertext_blob)
        if self.blobs[external]:
            blob = self.blobs[external][number % len(self.blobs[external])]
            self.done("Decrypt", self.models[external].code("Encrypt", self.now), ciphertext_blob=blob)

    @rule(external=st.booleans(), days=st.integers(7, 30))
    def schedule(self, external: bool, days: int) -> None:
        if self.ask(external, "ScheduleKeyDeletion", pending_window_in_days=days) is not None:
            model = self.models[external]
            model.state, model.due = "PendingDeletion", self.now + days * DAY_NS

    @rule(external=st.booleans())
    def cancel(self, external: bool) -> None:
        if self.ask(external, "CancelKeyDeletion") is not None:
            self.models[external].state, self.models[external].due = "Disabled", FOR_EVER
            self.models[external].look(self.now)

    @rule(external=st.booleans(), days=st.sampled_from([0, 90, 400]))
    def set_rotation(self, external: bool, days: int) -> None:
        name, fields = ("EnableKeyRotation", {"rotation_period_in_days": days}) if days else ("DisableKeyRotation", {})
        if self.ask(external, name, **fields) is not None:
            model = self.models[external]
            model.period, model.rotation = days or None, self.now + days * DAY_NS if days else FOR_EVER

    @rule(external=st.booleans())
    def rotate(self, external: bool) -> None:
        if self.ask(external, "RotateKeyOnDemand") is not None:
            self.models[external].rotate()
            self.models[external].on_demand += 1

    @rule(
        number=st.integers(0, len(SECRETS) - 1),
        kind=st.sampled_from([0, 0, NEW, EXISTING]),
        days=st.sampled_from([None, None, 1, 20]),
        external=st.sampled_from([True] * 9 + [False]),
    )
    def bring(self, number: int, kind: int, days: int | None, external: bool) -> None:
        model, end = self.models[external], FOR_EVER if days is None else self.now + days * DAY_NS
        expected = model.import_code(number, kind)
        refused_before = None if external and model.state != "PendingDeletion" else expected
        lay_ready(self.worker.shard(), self.pair)
        got = self.done("GetParametersForImport", refused_before, **wanted(self.keys[external]))
        if got is None:
            return
        fields = expiring(int(end)) if days else {"expiration_model": NEVER}
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", SECRETS[number])
        fields |= {"import_token": got.import_token, "encrypted_key_material": encrypted, "import_type": kind}
        if self.done("ImportKeyMaterial", expected, key_id=self.keys[external], **fields) is not None:
            model.take(number, end)

    @rule(waiting=st.booleans())
    def lose(self, waiting: bool) -> None:
        model, key_id = self.models[True], self.keys[True]
        number = model.waiting if waiting else (model.permanent or [None])[-1]
        if number is None:
            return
        ids = self.worker.call("ListKeyRotations", key_id=key_id, include_key_material=1).rotations
        named = {"key_material_id": ids[-1].key_material_id} if waiting else {}
        self.done("DeleteImportedKeyMaterial", None, key_id=key_id, **named)
        model.there.pop(number, None)
        model.look(self.now)

    @rule(ns=st.sampled_from([SECOND_NS, HOUR_NS, DAY_NS, 8 * DAY_NS, 31 * DAY_NS, 100 * DAY_NS]))
    def step(self, ns: int) -> None:
        self.host.clock.step(ns)
        for model in self.models.values():
            model.look(self.now)

    @rule()
    def keeper_comes_by(self) -> None:
        shard = self.worker.shard()
        for deed in (by_the_clock.rotate_due, by_the_clock.expire_due, by_the_clock.delete_due):
            deed(shard, self.now)
        for external, model in self.models.items():
            if model.state == "PendingDeletion" and model.due <= self.now:
                self.done("DescribeKey", "NotFoundException", key_id=self.keys[external])
                for blob in self.blobs[external][:1]:
                    self.done("Decrypt", "AccessDeniedException", ciphertext_blob=blob)
                self.born(external)
            elif model.state == "Enabled" and model.rotation <= self.now and model.period is not None:
                model.rotate()
                coming = model.rotation + model.period * DAY_NS
                model.rotation = coming if coming > self.now else self.now + model.period * DAY_NS

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        for external, model in getattr(self, "models", {}).items():
            key_id = self.keys[external]
            assert state_of(self.worker, key_id) == model.state
            entries = self.worker.call("ListKeyRotations", key_id=key_id, include_key_material=1).rotations
            states = [entry.key_material_state for entry in entries]
            current = keys_pb2.KEY_MATERIAL_STATE_CURRENT, keys_pb2.KEY_MATERIAL_STATE_NON_CURRENT
            assert sum(state in current for state in states) == len(model.permanent)
            assert states.count(keys_pb2.KEY_MATERIAL_STATE_CURRENT) == bool(model.permanent)


def test_lives(run: Any) -> None:
    host, worker, pair = run
    machine = type("Life", (Lives,), {"host": host, "worker": worker, "pair": pair})
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=health
        ),
    )
    assert worker.shard().registry.damaged_rows() == []
