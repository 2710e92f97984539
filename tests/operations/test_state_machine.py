"""Random sequences of calls, over two workers, two accounts and two regions, compared with a model of forty lines."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from kms_grpc.errors import KMSError
from tests.operations.service import ALICE, AWAY, EVE, HOME, Caller, Host

NAMES = st.sampled_from(["alias/a", "alias/b", "alias/c"])
CONTEXTS = st.sampled_from([{}, {"a": "bc"}, {"ab": "c"}, {"a": "bc", "d": ""}])
WHERE = st.tuples(st.sampled_from([ALICE, ALICE, EVE]), st.sampled_from([HOME, HOME, AWAY]))
Place = tuple[Caller, str]


class Model:
    """The expected state: keys with state and description, and aliases, per account and region."""

    def __init__(self) -> None:
        self.keys: dict[Place, dict[str, list[str]]] = {}
        self.aliases: dict[Place, dict[str, str]] = {}

    def of(self, place: Place) -> tuple[dict[str, list[str]], dict[str, str]]:
        return self.keys.setdefault(place, {}), self.aliases.setdefault(place, {})

    def meant(self, place: Place, name: str) -> tuple[str | None, str | None]:
        """Returns (key id, None) or (None, error) for an id or alias name."""
        keys, aliases = self.of(place)
        key_id = aliases.get(name, name)
        return (key_id, None) if key_id in keys else (None, "NotFoundException")

    def usable(self, place: Place, name: str) -> str | None:
        key_id, error = self.meant(place, name)
        if key_id is None:
            return error
        return None if self.of(place)[0][key_id][0] == "Enabled" else "DisabledException"

    def opens(self, place: Place, blob_place: Place, key_id: str, named: str | None, same_context: bool) -> str | None:
        if named is not None:
            meant, error = self.meant(place, named)
            if meant != key_id or place != blob_place:
                return error or "IncorrectKeyException"
        if place != blob_place:
            return "AccessDeniedException"
        return self.usable(place, key_id) or (None if same_context else "InvalidCiphertextException")


class Service(RuleBasedStateMachine):
    prepared: Path
    key_ids = Bundle("key_ids")
    blobs = Bundle("blobs")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=self.prepared.parent))
        self.host = Host(Path(shutil.copytree(self.prepared, self.folder, dirs_exist_ok=True)))
        self.workers = [self.host.worker(), self.host.worker()]
        self.turn = 0
        self.model = Model()

    def ask(self, place: Place, name: str, expected: str | None, **fields: Any) -> Any:
        """Calls the two workers in turn, and checks that the error is the model's."""
        self.turn += 1
        try:
            answer = self.workers[self.turn % 2].call(name, by=place[0], region=place[1], **fields)
        except KMSError as error:
            assert error.code == expected, f"{name}: {error.code} {error.text}; expected {expected}"
            return None
        assert expected is None, f"{name} was answered; expected {expected}"
        return answer

    @rule(target=key_ids, place=WHERE, description=st.sampled_from(["", "d"]))
    def create(self, place: Place, description: str) -> Any:
        made = self.ask(place, "CreateKey", None, description=description).key_metadata
        self.model.of(place)[0][made.key_id] = ["Enabled", description]
        return made.key_id

    @rule(place=WHERE, key_id=key_ids, operation=st.sampled_from(["EnableKey", "DisableKey", "UpdateKeyDescription"]))
    def change(self, place: Place, key_id: str, operation: str) -> None:
        keys, _ = self.model.of(place)
        error = None if key_id in keys else "NotFoundException"
        more = {"description": f"by turn {self.turn}"} if operation == "UpdateKeyDescription" else {}
        self.ask(place, operation, error, key_id=key_id, **more)
        if error is None and more:
            keys[key_id][1] = more["description"]
        elif error is None:
            keys[key_id][0] = {"EnableKey": "Enabled", "DisableKey": "Disabled"}[operation]

    @rule(place=WHERE, name=NAMES, key_id=key_ids)
    def create_alias(self, place: Place, name: str, key_id: str) -> None:
        keys, aliases = self.model.of(place)
        error = "NotFoundException" if key_id not in keys else "AlreadyExistsException" if name in aliases else None
        self.ask(place, "CreateAlias", error, alias_name=name, target_key_id=key_id)
        if error is None:
            aliases[name] = key_id

    @rule(place=WHERE, name=NAMES, key_id=key_ids)
    def update_alias(self, place: Place, name: str, key_id: str) -> None:
        keys, aliases = self.model.of(place)
        error = None if name in aliases and key_id in keys else "NotFoundException"
        self.ask(place, "UpdateAlias", error, alias_name=name, target_key_id=key_id)
        if error is None:
            aliases[name] = key_id

    @rule(place=WHERE, name=NAMES)
    def delete_alias(self, place: Place, name: str) -> None:
        _, aliases = self.model.of(place)
        self.ask(place, "DeleteAlias", None if name in aliases else "NotFoundException", alias_name=name)
        aliases.pop(name, None)

    @rule(
        target=blobs,
        place=WHERE,
        name=st.one_of(NAMES, key_ids),
        context=CONTEXTS,
        plaintext=st.binary(min_size=1, max_size=40),
    )
    def encrypt(self, place: Place, name: str, context: dict[str, str], plaintext: bytes) -> Any:
        error = self.model.usable(place, name)
        answer = self.ask(place, "Encrypt", error, key_id=name, plaintext=plaintext, encryption_context=context)
        key_id, _ = self.model.meant(place, name)
        return multiple() if answer is None else (answer.ciphertext_blob, place, key_id, context, plaintext)

    @rule(target=blobs, place=WHERE, name=st.one_of(NAMES, key_ids), context=CONTEXTS, size=st.integers(1, 64))
    def data_key(self, place: Place, name: str, context: dict[str, str], size: int) -> Any:
        error = self.model.usable(place, name)
        answer = self.ask(
            place, "GenerateDataKey", error, key_id=name, number_of_bytes=size, encryption_context=context
        )
        key_id, _ = self.model.meant(place, name)
        return multiple() if answer is None else (answer.ciphertext_blob, place, key_id, context, answer.plaintext)

    @rule(place=WHERE, blob=blobs, named=st.one_of(st.none(), NAMES, key_ids), context=st.one_of(st.none(), CONTEXTS))
    def decrypt(self, place: Place, blob: Any, named: str | None, context: dict[str, str] | None) -> None:
        sealed, blob_place, key_id, blob_context, plaintext = blob
        context = blob_context if context is None else context
        error = self.model.opens(place, blob_place, key_id, named, context == blob_context)
        fields = {"ciphertext_blob": sealed, "encryption_context": context, **({"key_id": named} if named else {})}
        answer = self.ask(place, "Decrypt", error, **fields)
        if answer is not None:
            assert (answer.plaintext, answer.key_id.rpartition("/")[2]) == (plaintext, key_id)

    @rule(target=blobs, blob=consumes(blobs), name=st.one_of(NAMES, key_ids), context=CONTEXTS)
    def re_encrypt(self, blob: Any, name: str, context: dict[str, str]) -> Any:
        sealed, place, source, old_context, plaintext = blob
        destination, error = self.model.meant(place, name)
        error = error or self.model.usable(place, source) or self.model.usable(place, name)
        contexts = {"source_encryption_context": old_context, "destination_encryption_context": context}
        answer = self.ask(place, "ReEncrypt", error, ciphertext_blob=sealed, destination_key_id=name, **contexts)
        return blob if answer is None else (answer.ciphertext_blob, place, destination, context, plaintext)

    @rule(place=WHERE, limit=st.integers(1, 3))
    def lists(self, place: Place, limit: int) -> None:
        keys, aliases = self.model.of(place)
        assert {entry.key_id for entry in self.all_of(place, "ListKeys", "keys", limit)} == set(keys)
        listed = self.all_of(place, "ListAliases", "aliases", limit)
        assert {entry.alias_name: entry.target_key_id for entry in listed} == aliases

    def all_of(self, place: Place, name: str, field: str, limit: int) -> Iterator[Any]:
        marker: dict[str, str] = {}
        while True:
            page = self.ask(place, name, None, limit=limit, **marker)
            yield from getattr(page, field)
            if not page.truncated:
                return
            marker = {"marker": page.next_marker}

    @invariant()
    def keys_are_as_the_model_says(self) -> None:
        for place, keys in (self.model.keys if hasattr(self, "model") else {}).items():
            for key_id, (state, description) in keys.items():
                shown = self.ask(place, "DescribeKey", None, key_id=key_id).key_metadata
                assert (shown.enabled, shown.description) == (state == "Enabled", description)

    def teardown(self) -> None:
        if hasattr(self, "host"):
            self.host.close()
            shutil.rmtree(self.folder)


@pytest.mark.timeout(300)
def test_any_sequence_of_calls(prepared: Path) -> None:
    Service.prepared = prepared
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Service, settings=settings(max_examples=25, stateful_step_count=60, deadline=None, suppress_health_check=checks)
    )
