"""The things that an operation's example needs (tests/examples.py), made in a worker of this process."""

from __future__ import annotations

import itertools
from typing import Any

from kms_grpc.model.key import KeyState
from tests.examples import CONTEXT, EXAMPLES, MATERIAL, METHODS, ORDERS, PLAINTEXT, Thing, filled
from tests.operations import external_keys, streams
from tests.operations.service import ALICE, HOME, OPERATIONS, Caller, Refusal, Worker

NAMES = [name for name in OPERATIONS if name in EXAMPLES]
"""Operations that have an example, without streams. tests/test_completeness.py names those that have none."""
SINGLE = [name for name in NAMES if METHODS[name].containing_service.name == "KeyManagementService"]
"""The operations of AWS KMS: each key is named by the request itself, not by an item of a batch."""
NAMED_KEYS = [(name, field) for name in SINGLE for field in EXAMPLES[name].named]
"""(operation, field) for every field that names a key by id, ARN or alias."""
KEYS = [(name, key) for name in SINGLE for key in EXAMPLES[name].keys]
"""(operation, key) for every key of an operation, as `Thing.key` names it."""

_numbers = itertools.count()


class Scene:
    """The example of one operation, ready to be sent: its keys are made, and `fields` is a valid request.

    `origin` and `state` replace those of the example. A key whose state no operation leads to is put into it by the
    registry (`put`).
    """

    def __init__(
        self,
        worker: Worker,
        name: str,
        *,
        by: Caller = ALICE,
        origin: str | None = None,
        state: str | None = None,
    ) -> None:
        example = EXAMPLES[name]
        self.name, self.worker, self._by = name, worker, by
        self._external = (origin or example.origin) == "EXTERNAL"
        self.keys = {key: self._key() for key in example.keys}
        self.fields: dict[str, Any] = filled(example.fields, self._make)
        for key in self.keys:
            self._lead(key, state or example.state)

    @property
    def arn(self) -> str:
        """The ARN of the first key."""
        return str(next(iter(self.keys.values())).arn)

    def call(self, **changes: Any) -> Any:
        return self.worker.call(self.name, **{"by": self._by, **self.fields, **changes})

    def refusal(self, **changes: Any) -> Refusal:
        return self.worker.refusal(self.name, **{"by": self._by, **self.fields, **changes})

    def put(self, key: str, **columns: Any) -> None:
        """Changes a key's row in the registry."""
        self.worker.change(self.keys[key].key_id, **columns)

    def _key(self) -> Any:
        more = {"origin": external_keys.EXTERNAL} if self._external else {}
        return self.worker.call("CreateKey", by=self._by, **more).key_metadata

    def _lead(self, key: str, state: str) -> None:
        way = {"Disabled": "DisableKey", "PendingDeletion": "ScheduleKeyDeletion"}.get(state)
        if way is not None:
            self.worker.call(way, by=self._by, key_id=self.keys[key].key_id)
        elif KeyState(state) is not (KeyState.PENDING_IMPORT if self._external else KeyState.ENABLED):
            self.put(key, state=KeyState(state))

    def _make(self, thing: Thing) -> Any:
        made = {
            "key_id": lambda key_id: key_id,
            "alias": self._alias,
            "grant": self._grant,
            "new_alias": lambda key_id: f"alias/new-{next(_numbers)}",
            "blob": self._blob,
            "message": lambda key_id: streams.encrypt(self.worker, key_id, PLAINTEXT),
            "import_token": lambda key_id: self._package(key_id)["import_token"],
            "wrapped_material": lambda key_id: self._package(key_id)["encrypted_key_material"],
        }
        return made[thing.kind](self.keys[thing.key].key_id)

    def _alias(self, key_id: str) -> str:
        name = f"alias/scene-{next(_numbers)}"
        self.worker.call("CreateAlias", by=self._by, alias_name=name, target_key_id=key_id)
        return name

    def _grant(self, key_id: str) -> str:
        """The key may have any state; the scene leads it there afterwards."""
        fields = {"grantee_principal": ORDERS, "operations": ["GRANT_OPERATION_DECRYPT"]}
        return str(self.worker.call("CreateGrant", by=self._by, key_id=key_id, **fields).grant_id)

    def _blob(self, key_id: str) -> bytes:
        return self.worker.encrypt(key_id, PLAINTEXT, by=self._by, encryption_context=CONTEXT)

    def _package(self, key_id: str) -> dict[str, Any]:
        """An import package; for a key that takes none, values that are only well-formed."""
        if not self._external:
            return {"import_token": b"token", "encrypted_key_material": b"material"}
        if not hasattr(self, "_made_package"):
            self._made_package = external_keys.package(self.worker, key_id, MATERIAL)
        return self._made_package


def ready(worker: Worker, name: str, **how: Any) -> Scene:
    """A scene whose call needs nothing made on the way: an import's wrapping key pair lies ready."""
    scene = Scene(worker, name, **how)
    if name == "GetParametersForImport":
        external_keys.provide_pair(worker.shard(HOME))
    return scene
