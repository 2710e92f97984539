"""Random histories of two keys, one of origin EXTERNAL: calls in any order, with the clock stepped and the keeper run
at times, have the outcomes of a model of a few lines.

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
from kms_grpc.processes import due_work
from kms_grpc.v1 import keys_pb2
from tests.operations.conftest import copied
from tests.operations.external_keys import (
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
from tests.registry.damaging import damaged_rows

STEPS = 10_000 if os.environ.get("CI") else 1_500
TABLE = """
                                Enabled Disabled PendingDeletion PendingImport
Encrypt                         OK      D        I               I
GenerateDataKey                 OK      D        I               I
GenerateDataKeyWithoutPlaintext OK      D        I               I
EnableKey                       OK      OK       I               I
DisableKey                      OK      OK       I               I
UpdateKeyDescription            OK      OK       I               OK
TagResource                     OK      OK       I               OK
UntagResource                   OK      OK       I               OK
CreateAlias                     OK      OK       I               OK
UpdateAlias                     OK      OK       I               OK
ScheduleKeyDeletion             OK      OK       I               OK
CancelKeyDeletion               I       I        OK              I
EnableKeyRotation               OK      D        I               -
EnableKeyRotation+              U       D        I               U
DisableKeyRotation              OK      D        I               -
DisableKeyRotation+             U       D        I               U
GetKeyRotationStatus            OK      OK       OK              -
GetKeyRotationStatus+           U       U        U               U
RotateKeyOnDemand               OK      D        I               -
RotateKeyOnDemand+              I       D        I               I
RotateKeyOnDemand+waiting       OK      D        I               I
GetParametersForImport          U       U        U               -
GetParametersForImport+         OK      OK       I               OK
"""
"""`+`: of an external key; `+waiting`: with a material that waits for its rotation."""
CODES = {"D": "DisabledException", "I": "KMSInvalidStateException", "U": "UnsupportedOperationException"}
WRONG, CONFLICT, TOO_MANY = "IncorrectKeyMaterialException", "ConflictException", "LimitExceededException"
CELLS = {
    line.split()[0]: dict(zip(TABLE.split("\n")[1].split(), map(CODES.get, line.split()[1:]), strict=True))
    for line in TABLE.strip().splitlines()[1:]
}
ALIASES = ["alias/histories-a", "alias/histories-b"]
MINUTE_NS = 60 * SECOND_NS
SECRETS = [bytes([number]) * 32 for number in range(4)]
FOR_EVER = math.inf


@dataclass
class Model:
    """The expected state of a key. Materials have numbers; `there` has those that the key has, with their expiry."""

    external: bool
    state: str
    there: dict[int, float]
    permanent: list[int]
    waiting: int | None = None
    due: float = FOR_EVER
    period: int | None = None
    rotation: float = FOR_EVER
    on_demand: int = 0
    tags: set[str] = field(default_factory=set)

    def look(self, now: float) -> None:
        self.there = {number: end for number, end in self.there.items() if end > now}
        self.waiting = self.waiting if self.waiting in self.there else None
        if self.state != "PendingDeletion" and not (self.permanent and {*self.permanent} <= {*self.there}):
            self.state = "PendingImport"

    def code(self, name: str, now: float) -> str | None:
        rows = [f"{name}+waiting"] * (self.waiting is not None) + [f"{name}+"] * self.external + [name]
        cell = next(CELLS[row] for row in rows if row in CELLS)[self.state]
        if cell or name != "RotateKeyOnDemand":
            return cell
        return TOO_MANY if self.on_demand == 25 else CONFLICT if self.rotation - now <= 20 * MINUTE_NS else None

    def import_code(self, number: int, kind: int, now: float) -> str | None:
        is_new = kind == NEW or not (kind or self.permanent)
        is_known = number in (*self.permanent, self.waiting)
        refused = WRONG if is_new is is_known else CODES["I"] if is_new and self.waiting is not None else None
        return self.code("GetParametersForImport", now) or refused

    def take(self, number: int, end: float) -> None:
        if number not in (*self.permanent, self.waiting):
            self.permanent, self.waiting = self.permanent or [number], number if self.permanent else None
        self.there[number] = end
        self.state = "Enabled" if self.state == "PendingImport" else self.state
        self.look(-FOR_EVER)

    def rotate(self) -> None:
        self.permanent.append(max(self.permanent) + 1 if self.waiting is None else self.waiting)
        self.there.setdefault(self.permanent[-1], FOR_EVER)
        self.waiting = None


@pytest.fixture
def run(prepared: Path, folder: Path) -> Iterator[Any]:
    """One service for all histories, with one RSA pair that each import uses again, since making one takes seconds."""
    host = Host(copied(prepared, folder))
    worker = host.worker()
    provide_pair(worker.shard())
    with worker.shard().registry.writing() as transaction:
        pair = transaction.pairs.oldest_ready("RSA_2048")
    yield host, worker, pair
    host.close()
    shutil.rmtree(host.settings.data_dir)


class Histories(RuleBasedStateMachine):
    """The state machine. Its rules name a key by whether its origin is EXTERNAL."""

    host: Host
    worker: Worker
    pair: ImportPair
    steps = 0
    """Steps taken so far, over all histories."""

    @initialize()
    def begin(self) -> None:
        self.keys: dict[bool, str] = {}
        self.models: dict[bool, Model] = {}
        self.blobs: dict[bool, list[bytes]] = {}
        self.aliases: dict[str, bool] = {}
        for left in self.worker.call("ListAliases").aliases:
            self.worker.call("DeleteAlias", alias_name=left.alias_name)
        for external in (False, True):
            self.born(external)

    def born(self, external: bool) -> None:
        made = self.worker.call("CreateKey", **({"origin": EXTERNAL} if external else {})).key_metadata
        self.keys[external], self.blobs[external] = made.key_id, []
        self.models[external] = (
            Model(True, "PendingImport", {}, []) if external else Model(False, "Enabled", {0: FOR_EVER}, [0])
        )

    @property
    def now(self) -> int:
        return self.host.clock.now_ns

    def done(self, name: str, expected: str | None, **fields: Any) -> Any:
        """Returns the answer, or None for an error, and checks that the model expects the same."""
        try:
            answer, code = self.worker.call(name, **fields), None
        except errors.KMSError as error:
            answer, code = None, error.code
        assert code == expected, (name, code, expected)
        return answer

    def ask(self, external: bool, name: str, **fields: Any) -> Any:
        expected = self.models[external].code(name, self.now)
        answer = self.done(name, expected, **{"key_id": self.keys[external]} | fields)
        return answer if expected is None else None

    @rule(external=st.booleans(), name=st.sampled_from(["EnableKey", "EnableKey", "DisableKey"]))
    def switch(self, external: bool, name: str) -> None:
        if self.ask(external, name) is not None:
            self.models[external].state = "Enabled" if name == "EnableKey" else "Disabled"

    @rule(external=st.booleans(), description=st.sampled_from("ab"))
    def describe(self, external: bool, description: str) -> None:
        if self.ask(external, "UpdateKeyDescription", description=description) is not None:
            described = self.worker.call("DescribeKey", key_id=self.keys[external]).key_metadata
            assert described.description == description

    @rule(external=st.booleans(), tag=st.sampled_from("ab"), away=st.booleans())
    def tag(self, external: bool, tag: str, away: bool) -> None:
        fields: dict[str, Any] = {"tag_keys": [tag]} if away else {"tags": [{"tag_key": tag, "tag_value": "v"}]}
        if self.ask(external, "UntagResource" if away else "TagResource", **fields) is not None:
            self.models[external].tags ^= (
                {tag} & self.models[external].tags if away else {tag} - self.models[external].tags
            )
        answered = self.worker.call("ListResourceTags", key_id=self.keys[external]).tags
        assert {one.tag_key for one in answered} == self.models[external].tags

    @rule(external=st.booleans(), name=st.sampled_from(ALIASES), operation=st.sampled_from(["Create", "Update"]))
    def point(self, external: bool, name: str, operation: str) -> None:
        taken, known = "AlreadyExistsException", "NotFoundException"
        missing = known if operation == "Update" and name not in self.aliases else None
        expected = missing or self.models[external].code(f"{operation}Alias", self.now)
        expected = expected or (taken if operation == "Create" and name in self.aliases else None)
        if self.done(f"{operation}Alias", expected, alias_name=name, target_key_id=self.keys[external]) is not None:
            self.aliases[name] = external

    @rule(name=st.sampled_from(ALIASES))
    def point_no_more(self, name: str) -> None:
        self.done("DeleteAlias", None if name in self.aliases else "NotFoundException", alias_name=name)
        self.aliases.pop(name, None)

    @rule(
        external=st.booleans(), name=st.sampled_from(["Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"])
    )
    def encrypt(self, external: bool, name: str) -> None:
        answer = self.ask(external, name, **({"plaintext": b"p"} if name == "Encrypt" else {"number_of_bytes": 9}))
        if answer is not None:
            self.blobs[external].append(answer.ciphertext_blob)

    @rule(external=st.booleans(), number=st.integers(0, 1 << 16), to=st.sampled_from([None, None, False, True]))
    def decrypt(self, external: bool, number: int, to: bool | None) -> None:
        """Decrypts, or re-encrypts under the key `to`."""
        if not self.blobs[external]:
            return
        blob = {"ciphertext_blob": self.blobs[external][number % len(self.blobs[external])]}
        refused = self.models[external].code("Encrypt", self.now)
        if to is None:
            self.done("Decrypt", refused, **blob)
            return
        refused = refused or self.models[to].code("Encrypt", self.now)
        answer = self.done("ReEncrypt", refused, destination_key_id=self.keys[to], **blob)
        if answer is not None:
            self.blobs[to].append(answer.ciphertext_blob)

    @rule(external=st.booleans())
    def ask_for_rotation(self, external: bool) -> None:
        answer, model = self.ask(external, "GetKeyRotationStatus"), self.models[external]
        if answer is not None:
            rotates = model.period is not None and model.state != "PendingDeletion"
            assert answer.key_rotation_enabled is rotates
            if rotates:
                assert answer.rotation_period_in_days == model.period
                date = model.rotation if model.state == "Enabled" else 0  # a disabled key is not rotated
                assert answer.next_rotation_date.ToNanoseconds() == date

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
        expected = model.import_code(number, kind, self.now)
        lay_ready(self.worker.shard(), self.pair)
        got = self.ask(external, "GetParametersForImport", **wanted(self.keys[external]))
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
        for deed in (due_work.rotate_due, due_work.expire_due, due_work.delete_due):
            deed(shard, self.now)
        for external, model in self.models.items():
            if model.state == "PendingDeletion" and model.due <= self.now:
                self.done("DescribeKey", "NotFoundException", key_id=self.keys[external])
                for blob in self.blobs[external][:1]:
                    self.done("Decrypt", "AccessDeniedException", ciphertext_blob=blob)
                self.aliases = {name: target for name, target in self.aliases.items() if target is not external}
                self.born(external)
            elif model.state == "Enabled" and model.rotation <= self.now and model.period is not None:
                model.rotate()
                coming = model.rotation + model.period * DAY_NS
                model.rotation = coming if coming > self.now else self.now + model.period * DAY_NS

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        type(self).steps += 1
        for external, model in getattr(self, "models", {}).items():
            key_id = self.keys[external]
            listed = self.worker.call("ListAliases", key_id=key_id).aliases
            assert {one.alias_name for one in listed} == {name for name, to in self.aliases.items() if to is external}
            assert state_of(self.worker, key_id) == model.state
            entries = self.worker.call("ListKeyRotations", key_id=key_id, include_key_material=1).rotations
            states = [entry.key_material_state for entry in entries]
            current = keys_pb2.KEY_MATERIAL_STATE_CURRENT, keys_pb2.KEY_MATERIAL_STATE_NON_CURRENT
            assert sum(state in current for state in states) == len(model.permanent)
            assert states.count(keys_pb2.KEY_MATERIAL_STATE_CURRENT) == bool(model.permanent)


def test_histories(run: Any) -> None:
    host, worker, pair = run
    machine = type("History", (Histories,), {"host": host, "worker": worker, "pair": pair})
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    each = settings(
        max_examples=20, stateful_step_count=100, deadline=None, database=None, suppress_health_check=health
    )
    while machine.steps < STEPS:
        run_state_machine_as_test(machine, settings=each)
    assert damaged_rows(worker.shard().registry) == []
