"""Callers of the crash test. Each has its own keys and aliases and one call in flight, so that all states that it may
see are known."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.faults.journal import Expected, Journal
from tests.faults.service import Caller, Lost, Refused

KEYS_AT_MOST = 12
CONTEXT = {"purpose": "crash test", "größe": "1"}


def state_name(metadata: keys_pb2.KeyMetadata) -> str:
    return keys_pb2.KeyState.Name(metadata.key_state).removeprefix("KEY_STATE_")


class Actor:
    """One caller. `run` makes calls until the service no longer answers."""

    def __init__(self, name: str, journal: Journal, seed: str) -> None:
        self.name = name
        self.journal = journal
        self.random = random.Random(seed)
        self.states: dict[str, str] = {}
        self.aliases: dict[str, str | None] = {}
        self.sealed: list[tuple[str, bytes, bytes]] = []
        self.caller: Caller
        self.failure: BaseException | None = None
        self.loss: Lost | None = None

    def take_up(self, caller: Caller, expected: Expected) -> None:
        """Takes over the state that is known after a restart."""
        self.caller = caller
        own_keys = (key for key, actor in expected.makers.items() if actor == self.name)
        own_aliases = (name for name in expected.aliases if name.startswith(f"alias/{self.name}-"))
        self.states = {key: next(iter(expected.states[key])) for key in own_keys}
        self.aliases = {name: next(iter(expected.aliases[name])) for name in own_aliases}

    def run(self, enough: Callable[[], bool], stop: threading.Event) -> None:
        """Makes calls that commit nothing until all actors together have made enough of them, then calls of all
        kinds."""
        try:
            while not enough():
                self.random.choice((self.seal, self.open))()
            while not stop.is_set():
                self.step()
        except Lost as loss:
            self.loss = loss
        except BaseException as failure:
            self.failure = failure

    def step(self) -> None:
        chances: list[tuple[Callable[[], None], int]] = [
            (self.create_key, 3), (self.seal, 14), (self.open, 10), (self.data_key, 4),
            (self.switch, 5), (self.describe, 3), (self.point, 6), (self.look_up, 3),
        ]  # fmt: skip
        actions, weights = zip(*chances, strict=True)
        self.random.choices(actions, weights)[0]()

    # --- what changes something ----------------------------------------------------------------------------------

    def create_key(self) -> None:
        if len(self.states) >= KEYS_AT_MOST:
            return self.switch()
        description, request_id = f"{self.name} {len(self.states)}", str(uuid.uuid4())
        call = self.journal.asked("create_key", description=description, request_id=request_id, actor=self.name)
        self.finish_create_key(call, description, request_id)
        return None

    def finish_create_key(self, call: int, description: str, request_id: str) -> None:
        answer = self.caller.call("CreateKey", pb.CreateKeyRequest(description=description), request_id)
        key = answer.key_metadata.key_id
        self.journal.answer(call, key=key)
        self.states[key] = "ENABLED"

    def switch(self) -> None:
        key = self.any_key()
        state = self.random.choice(("ENABLED", "ENABLED", "DISABLED"))
        call = self.journal.asked("switch", key=key, state=state)
        if state == "ENABLED":
            self.caller.call("EnableKey", pb.EnableKeyRequest(key_id=key))
        else:
            self.caller.call("DisableKey", pb.DisableKeyRequest(key_id=key))
        self.journal.answer(call)
        self.states[key] = state

    def describe(self) -> None:
        key, text = self.any_key(), f"described {self.random.random()}"
        call = self.journal.asked("describe", key=key, description=text)
        self.caller.call("UpdateKeyDescription", pb.UpdateKeyDescriptionRequest(key_id=key, description=text))
        self.journal.answer(call)

    def point(self) -> None:
        """Creates, moves or deletes an alias."""
        name = f"alias/{self.name}-{self.random.randrange(6)}"
        present, key = self.aliases.get(name), self.any_key()
        target = self.random.choice((key, key, None)) if present else key
        call = self.journal.asked("point", alias=name, key=target)
        if target is None:
            self.caller.call("DeleteAlias", pb.DeleteAliasRequest(alias_name=name))
        elif present:
            self.caller.call("UpdateAlias", pb.UpdateAliasRequest(alias_name=name, target_key_id=target))
        else:
            self.caller.call("CreateAlias", pb.CreateAliasRequest(alias_name=name, target_key_id=target))
        self.journal.answer(call)
        self.aliases[name] = target

    # --- what must hold ------------------------------------------------------------------------------------------

    def seal(self) -> None:
        key, plaintext = self.any_key(), self.random.randbytes(self.random.randrange(1, 200))
        call = self.journal.asked("seal", plaintext=plaintext.hex())
        request = pb.EncryptRequest(key_id=key, plaintext=plaintext, encryption_context=CONTEXT)
        self.usable(key, lambda: self.keep(call, key, self.caller.call("Encrypt", request).ciphertext_blob, plaintext))

    def data_key(self) -> None:
        key = self.any_key()
        call = self.journal.asked("seal")
        request = pb.GenerateDataKeyRequest(key_id=key, number_of_bytes=32, encryption_context=CONTEXT)

        def generate() -> None:
            answer = self.caller.call("GenerateDataKey", request)
            self.keep(call, key, answer.ciphertext_blob, answer.plaintext)

        self.usable(key, generate)

    def keep(self, call: int, key: str, blob: bytes, plaintext: bytes) -> None:
        self.journal.answer(call, key=key, blob=blob.hex(), plaintext=plaintext.hex())
        self.sealed.append((key, blob, plaintext))

    def open(self) -> None:
        if not self.sealed:
            return self.seal()
        key, blob, plaintext = self.random.choice(self.sealed)
        self.usable(key, lambda: self.check_opens(blob, plaintext))
        return None

    def check_opens(self, blob: bytes, plaintext: bytes) -> None:
        call = self.journal.asked("open")
        request = pb.DecryptRequest(ciphertext_blob=blob, encryption_context=CONTEXT)
        assert self.caller.call("Decrypt", request).plaintext == plaintext
        self.journal.answer(call)

    def look_up(self) -> None:
        """Checks that an alias points to the key that it was last moved to, in the worker that the connection
        reaches."""
        if not self.aliases:
            return self.point()
        name = self.random.choice(sorted(self.aliases))
        call = self.journal.asked("look_up")
        assert describe_alias(self.caller, name) == self.aliases[name]
        self.journal.answer(call)
        return None

    def usable(self, key: str, use: Callable[[], None]) -> None:
        """Checks that a disabled key refuses Encrypt and an enabled key encrypts."""
        if self.states[key] == "ENABLED":
            return use()
        try:
            use()
        except Refused as refusal:
            assert refusal.reason == "DisabledException"
            return None
        raise AssertionError(f"{key} is disabled and was used")

    def any_key(self) -> str:
        if not self.states:
            self.create_key()
        return self.random.choice(sorted(self.states))


def describe_alias(caller: Caller, name: str) -> str | None:
    try:
        key: str = caller.call("DescribeKey", pb.DescribeKeyRequest(key_id=name)).key_metadata.key_id
    except Refused as refusal:
        assert refusal.reason == "NotFoundException"
        return None
    return key
