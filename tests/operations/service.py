"""A whole service in this process, with real registry, keyring, audit log and executor. Clock and callers are fakes.

Several workers may share a data directory, as they do in a real server; each has caches and Permits of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from kms_grpc import app, config, errors
from kms_grpc.audit import counters
from kms_grpc.audit.sampling import RefusalSampling
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authorization.base import Authorizer
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.model.key import Key, KeyState
from kms_grpc.operations.call import Service
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.table import COUNTED, TABLE
from kms_grpc.registry.shards import Shard
from kms_grpc.registry.words import create_words, words_path

HOME = "eu-central-1"
AWAY = "eu-west-1"
OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in TABLE if not operation.streams}
STREAMS: Mapping[str, Operation] = {operation.name: operation for operation in TABLE if operation.streams}
HOUR_NS = 3600 * 10**9


class Caller(NamedTuple):
    """A caller that the service knows."""

    name: str
    account: str
    token: str

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.name}"


ALICE = Caller("alice", "111122223333", "token-of-alice-0001")
BOB = Caller("bob", "111122223333", "token-of-bob-000002")
EVE = Caller("eve", "444455556666", "token-of-eve-000003")


class SteppedClock:
    """A clock that stands still until a test steps it."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * 10**9
        self.boot = 1_000 * 10**9

    def wall_ns(self) -> int:
        return self.now_ns

    def boot_ns(self) -> int:
        return self.boot

    def boot_id(self) -> str:
        return "00000000-0000-4000-8000-000000000000"

    def step(self, ns: int) -> None:
        self.now_ns += ns
        self.boot += ns


@dataclasses.dataclass(frozen=True)
class Refusal:
    """The parts of an error that a caller sees."""

    code: str
    text: str
    key: str | None = None
    state: str | None = None


def refusal_of(call: Callable[[], object]) -> Refusal:
    """Returns the error of a call that must fail."""
    try:
        answer = call()
    except errors.KMSError as error:
        return Refusal(error.code, error.text, error.key, error.state)
    raise AssertionError(f"was answered: {answer}")


def settings(folder: Path, **changes: Any) -> config.Settings:
    """Returns settings with two regions and three callers of two accounts."""
    known = [caller._asdict() | {"arn": caller.arn} for caller in (ALICE, BOB, EVE)]
    callers = [caller | {"policies": ["full-access"]} for caller in known]
    values = {"data_dir": str(folder), "regions": [HOME, AWAY], "workers": 64, "principals": callers}
    return config.from_values(values | changes)


class Worker:
    """One worker's executor and its parts. Calls are answered as a door does it: warm where a Permit holds, else
    executed."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.executor = Executor(service, raises_on_warm_path=True)
        self._log = log
        self._read = 0
        self.of_the_service: list[dict[str, Any]] = []
        """Records of the service's own account that audit() and outbox() have read."""
        self._ids = itertools.count(1)

    def credentials(
        self, by: Caller | str | None = ALICE, region: str | None = None, request_id: str | None = None
    ) -> Credentials:
        token = by.token if isinstance(by, Caller) else by
        sent = request_id is not None
        return Credentials(
            token, region, request_id or f"made-{next(self._ids)}", sent, "ipv4:127.0.0.1:9", "tests/1.0"
        )

    def call(
        self,
        name: str,
        /,
        *,
        by: Caller | str | None = ALICE,
        region: str | None = None,
        request_id: str | None = None,
        **fields: Any,
    ) -> Any:
        operation = OPERATIONS[name]
        credentials = self.credentials(by, region, request_id)
        raw = operation.request(**fields).SerializeToString()
        answer = self._warm(operation, credentials, raw)
        if answer is None:
            answer = self.executor.execute(operation, credentials, raw)
        return operation.response().FromString(answer)

    def refusal(self, name: str, /, **fields: Any) -> Refusal:
        return refusal_of(lambda: self.call(name, **fields))

    def is_warm(self, name: str, /, *, by: Caller = ALICE, region: str | None = None, **fields: Any) -> bool:
        """Returns whether a Permit answers this call."""
        operation = OPERATIONS[name]
        raw = operation.request(**fields).SerializeToString()
        return self._warm(operation, self.credentials(by, region), raw) is not None

    def _warm(self, operation: Operation, credentials: Credentials, raw: bytes) -> bytes | None:
        tries_warm = operation.warm or operation.batches
        return self.executor.warm(operation, credentials, raw) if tries_warm else None

    def shard(self, region: str = HOME) -> Shard:
        shard = self.service.shards.get(region)
        assert shard is not None
        return shard

    # --- direct changes of the registry -----------------------------------------------------------------------------

    def change(self, key_id: str, region: str = HOME, **columns: Any) -> Key:
        """Changes columns of a key's row, to reach states that no operation here reaches."""
        with self.shard(region).writing() as transaction:
            key = transaction.keys.find(key_id)
            assert key is not None
            return transaction.keys.change(dataclasses.replace(key, **columns))

    # --- short forms ------------------------------------------------------------------------------------------------

    def create(
        self,
        *,
        by: Caller = ALICE,
        region: str | None = None,
        alias: str | None = None,
        state: KeyState | None = None,
        description: str = "",
    ) -> Any:
        """Creates a key, perhaps with an alias or in another state, and returns its metadata."""
        made = self.call("CreateKey", by=by, region=region, description=description).key_metadata
        if alias is not None:
            self.call("CreateAlias", by=by, region=region, alias_name=alias, target_key_id=made.key_id)
        if state is not None:
            self.change(made.key_id, region or HOME, state=state)
        return made

    def encrypt(self, key_id: str, plaintext: bytes = b"plaintext", **more: Any) -> bytes:
        blob: bytes = self.call("Encrypt", key_id=key_id, plaintext=plaintext, **more).ciphertext_blob
        return blob

    # --- audit records ----------------------------------------------------------------------------------------------

    def audit(self) -> list[dict[str, Any]]:
        """Returns the audit records that this worker has logged since the last call, without the service account's
        own."""
        self.service.audit_log.write(b"")
        with self._log.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        self._read += len(lines)
        return self._of_callers(lines.splitlines())

    def outbox(self, region: str = HOME) -> list[dict[str, Any]]:
        """Returns the audit records of writes since the last call, likewise, and clears them, as the keeper does."""
        registry = self.shard(region).registry
        rows = registry.outbox.oldest(10_000)
        with registry.writing() as transaction:
            transaction.outbox.remove([row.event_id for row in rows])
        return self._of_callers([row.record for row in rows])

    def _of_callers(self, lines: Sequence[bytes]) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in lines]
        own = self.service.shards.default.account
        self.of_the_service += [record for record in records if record["recipientAccountId"] == own]
        return [record for record in records if record["recipientAccountId"] != own]

    def counted(self) -> dict[str, dict[str, int]]:
        return {name: calls for name in COUNTED if (calls := self.service.counters.calls(name))}

    def close(self) -> None:
        self.service.shards.close()
        self.service.audit_log.close()  # type: ignore[attr-defined]


class Host:
    """A data directory and the workers on it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = settings(folder, **changes)
        self.clock = SteppedClock()
        self.workers: list[Worker] = []

    def worker(self, authorizer: Authorizer | None = None) -> Worker:
        number = len(self.workers)
        counters.create(self.settings.data_dir / "run" / f"counters-{number}", COUNTED)
        service = app.build_service(self.settings, number, app.audit_log(self.settings, number), self.clock)
        hours = itertools.count(0, 3600)  # every refusal of an unknown caller is written
        service = dataclasses.replace(service, sampling=RefusalSampling(lambda: float(next(hours))))
        if authorizer is not None:
            service = dataclasses.replace(service, authorizer=authorizer)
        worker = Worker(service, self.settings.data_dir / "audit" / f"worker-{number}.jsonl")
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def prepare(folder: Path) -> None:
    """Prepares a data directory as the supervisor does before it starts workers. All workers of this process share one
    keyring."""
    open_keyring(32_768)
    made = settings(folder)
    app.prepare(made, SteppedClock())
    for name in ("run", "audit"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    create_words(words_path(folder), len(made.regions))


def together(*calls: Callable[[], object]) -> list[object]:
    """Runs all calls at the same time, and returns their answers or the errors they raised."""
    gate = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def run(index: int, call: Callable[[], object]) -> None:
        gate.wait()
        try:
            results[index] = call()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=functools.partial(run, i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def request(name: str, **fields: Any) -> Message:
    return OPERATIONS[name].request(**fields)


def violation(member: str, constraint: str, value: object = "") -> str:
    """Returns AWS's text for one violated constraint. Blobs are not shown, and None is null."""
    shown = " null" if value is None else f" '{value}'" if value != "" else ""
    value_at = f"Value{shown} at '{member}'"
    return f"1 validation error detected: {value_at} failed to satisfy constraint: Member must {constraint}"
