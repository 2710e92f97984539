"""Deletion, expiry and rotation on a real server with four workers, whose wall and boot clocks the test steps."""

from __future__ import annotations

import json
import os
import re
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from kms_grpc.app import open_shards
from kms_grpc.config import from_values
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.conftest import StartServer
from tests.faults.service import wait_until
from tests.operations.external_keys import EXTERNAL, NEVER, expiring, wanted, wrap
from tests.served import Served
from tests.workers.connections import Caller, ask_all, connect
from tests.workers.stepped import BEGIN, DAY, HOUR, MINUTE, SECOND, SteppedClocks

WORKERS: Final = 4
HOME: Final = "eu-central-1"
DONE, GONE, UNUSABLE, DENIED = "done", "NotFoundException", "KMSInvalidStateException", "AccessDeniedException"
PENDING: Final = "KEY_STATE_PENDING_DELETION"


class SteppedServer:
    """A server with stepped clocks, and connections to each of its workers."""

    def __init__(self, start_server: StartServer, folder: Path, held: ExitStack) -> None:
        self.clocks = SteppedClocks(folder)
        settings = {"regions": [HOME], "workers": WORKERS, "environment": self.clocks.environment}
        self.server: Served = start_server("--metrics-listen", "127.0.0.1:0", **settings)
        self._held = held
        self.connect()
        self.spare: str = self.create()

    def connect(self) -> None:
        self.callers = connect(self.server, self._held, WORKERS)

    @property
    def one(self) -> Caller:
        return self.callers[0]

    def create(self, **fields: Any) -> str:
        key_id: str = self.one.call("CreateKey", **fields).key_metadata.key_id
        return key_id

    def imported(self, expires_ns: int | None = None) -> tuple[str, dict[str, Any]]:
        """Returns an external key with imported material, and a request to import the same material again."""
        key_id, material = self.create(origin=EXTERNAL), os.urandom(32)
        self.one.call("ImportKeyMaterial", **self.package(key_id, material, expires_ns))
        return key_id, self.package(key_id, material)

    def package(self, key_id: str, material: bytes, expires_ns: int | None = None) -> dict[str, Any]:
        got = self.one.call("GetParametersForImport", **wanted(key_id))
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", material)
        model = {"expiration_model": NEVER} if expires_ns is None else expiring(expires_ns)
        return {"key_id": key_id, "import_token": got.import_token, "encrypted_key_material": encrypted} | model

    def deletion_date(self, caller: Caller) -> int:
        """Schedule the deletion of a new key; its date shows the time by which this worker judges."""
        date: int = caller.call("ScheduleKeyDeletion", key_id=self.create()).deletion_date.ToNanoseconds()
        return date

    def seal(self, key_id: str) -> bytes:
        blob: bytes = self.one.call("Encrypt", key_id=key_id, plaintext=b"p").ciphertext_blob
        return blob

    def ask_workers(self, name: str, **fields: Any) -> set[Any]:
        """Call an operation in every worker; returns the set of error names, key states or DONE."""
        answers = ask_all(self.callers, name, **fields)
        assert {caller.worker for caller in self.callers} == set(range(WORKERS))
        return {answer if isinstance(answer, str) else _result(answer) for answer in answers}

    def wait_for_keeper(self) -> None:
        """Wait until the keeper has made a whole pass since the last step. A first record may be copied at the end of a
        pass that began before the step; a second one is copied by a later pass."""
        for _ in range(2):
            request = uuid.uuid4().hex
            change = pb.UpdateKeyDescriptionRequest(key_id=self.spare, description=request)
            self.one.send("UpdateKeyDescription", change, request).result()
            wait_until(lambda: request in self.keeper_log(), "the record in the log")  # noqa: B023

    def keeper_log(self) -> str:
        return (self.server.data_dir / "audit" / "keeper.jsonl").read_text()

    def events(self, name: str) -> list[tuple[str, int]]:
        """Returns key id and eventTime in ns of service events with this name."""
        found = [json.loads(line) for line in self.keeper_log().splitlines() if f'"{name}"' in line]
        events = [event for event in found if event["eventType"] == "AwsServiceEvent"]
        return [(event["serviceEventDetails"]["keyId"], _ns(event["eventTime"])) for event in events]

    def metric(self, name: str) -> float:
        address = re.findall(r"http://(127[0-9.]+:\d+)/metrics", self.server.log_text())[-1]
        with urllib.request.urlopen(f"http://{address}/metrics") as page:
            text = page.read().decode()
        return float(re.search(rf"^kms_grpc_keeper_{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]


def _result(answer: Any) -> Any:
    return keys_pb2.KeyState.Name(answer.key_metadata.key_state) if hasattr(answer, "key_metadata") else DONE


def _ns(time: str) -> int:
    return int(datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * SECOND


@pytest.fixture
def stepped(start_server: StartServer, tmp_path: Path) -> Iterator[SteppedServer]:
    with ExitStack() as held:
        yield SteppedServer(start_server, tmp_path, held)


def wrapped_materials(server: Served, key_id: str) -> list[bytes]:
    """Returns the wrapped materials of a key from the shard."""
    settings = from_values({"data_dir": str(server.data_dir), "regions": [HOME], "dev": True})
    shards = open_shards(settings)
    found = [row.wrapped for row in shards.default.registry.materials.list_after(key_id, -1, 9)]
    shards.close()
    return [wrapped for wrapped in found if wrapped is not None]


def holds(folder: Path, secrets: list[bytes]) -> bool:
    """True if any file, including write-ahead logs, contains any of these bytes."""
    return any(secret in path.read_bytes() for path in folder.rglob("*") if path.is_file() for secret in secrets)


def test_a_key_is_deleted_once_at_its_date(stepped: SteppedServer) -> None:
    """The clocks show a second before the date, the date, 31 days after it, and an earlier day again."""
    clocks, key_id = stepped.clocks, stepped.create()
    stepped.one.call("CreateAlias", alias_name="alias/doomed", target_key_id=key_id)
    stepped.one.call("RotateKeyOnDemand", key_id=key_id)
    blob, wrapped = stepped.seal(key_id), wrapped_materials(stepped.server, key_id)
    assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {DONE}
    date = stepped.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7).deletion_date
    assert date.ToNanoseconds() == BEGIN + 7 * DAY
    clocks.to(BEGIN + 7 * DAY - SECOND)
    stepped.wait_for_keeper()
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {PENDING}
    assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
    assert len(wrapped) == 2
    assert holds(stepped.server.data_dir, wrapped)
    for wall_ns in (BEGIN + 7 * DAY, BEGIN + 38 * DAY, BEGIN + DAY):
        (clocks.to if wall_ns > clocks.wall_ns else clocks.set)(wall_ns)
        stepped.wait_for_keeper()
        assert stepped.events("DeleteKey") == [(key_id, BEGIN + 7 * DAY)]
        assert (
            stepped.ask_workers("DescribeKey", key_id=key_id)
            == stepped.ask_workers("DescribeKey", key_id="alias/doomed")
            == {GONE}
        )
        assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {DENIED}
    wait_until(lambda: not holds(stepped.server.data_dir, wrapped), "no file contains its material")


def test_a_key_rotates_automatically_once(stepped: SteppedServer) -> None:
    """From its date on every worker encrypts under the new material and decrypts older ciphertexts."""
    clocks, key_id = stepped.clocks, stepped.create()
    stepped.one.call("EnableKeyRotation", key_id=key_id, rotation_period_in_days=90)
    blobs = [stepped.seal(key_id)]
    for wall_ns, rotations in ((90 * DAY - SECOND, 0), (90 * DAY, 1), (180 * DAY - SECOND, 1), (400 * DAY, 2)):
        clocks.to(BEGIN + wall_ns)
        stepped.wait_for_keeper()
        assert [event for event, _ in stepped.events("RotateKey")] == [key_id] * rotations
        answers = ask_all(stepped.callers, "Encrypt", key_id=key_id, plaintext=b"p")
        blobs += [answer.ciphertext_blob for answer in answers]
        assert len({blob[19:51] for blob in blobs}) == rotations + 1
        assert len({answer.ciphertext_blob[19:51] for answer in answers}) == 1
        assert stepped.ask_workers("Decrypt", ciphertext_blob=blobs[0]) == {DONE}
    status = stepped.one.call("GetKeyRotationStatus", key_id=key_id)
    assert status.next_rotation_date.ToNanoseconds() == BEGIN + 490 * DAY, "several overdue rotations happen once"


def test_after_a_month_without_a_server(stepped: SteppedServer) -> None:
    """Keys that came due are deleted an hour after the start; expired material is refused from the first call on."""
    clocks, key_id = stepped.clocks, stepped.create()
    expiring_id, _ = stepped.imported(BEGIN + 8 * DAY)
    blob = stepped.seal(expiring_id)
    stepped.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7)
    stepped.server.stop()
    clocks.step(38 * DAY)
    stepped.server.start()
    stepped.connect()
    assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
    clocks.step(HOUR - SECOND)
    stepped.wait_for_keeper()
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {PENDING}
    assert stepped.ask_workers("CancelKeyDeletion", key_id=expiring_id) == {UNUSABLE}, "it was never scheduled"
    clocks.step(SECOND)
    stepped.wait_for_keeper()
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {GONE}
    assert stepped.events("DeleteKey") == [(key_id, BEGIN + 38 * DAY + HOUR)]
    assert stepped.events("DeleteExpiredKeyMaterial") == [(expiring_id, BEGIN + 38 * DAY + HOUR)]


def test_a_clock_set_a_year_forward(stepped: SteppedServer) -> None:
    """The jump is logged and destroys nothing; after the correction everything is as before."""
    clocks, key_id = stepped.clocks, stepped.create()
    expiring_id, _ = stepped.imported(BEGIN + 30 * DAY)
    blob = stepped.seal(expiring_id)
    stepped.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7)
    clocks.step(2 * HOUR)
    stepped.wait_for_keeper()
    clocks.set(clocks.wall_ns + 365 * DAY)
    stepped.wait_for_keeper()
    clocks.step(HOUR - SECOND)
    stepped.wait_for_keeper()
    assert stepped.metric("clock_jumps_total") == 1
    assert len(re.findall("the wall clock jumped by 31536000.0 s", stepped.server.log_text())) == 1
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {PENDING}
    assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {UNUSABLE}, "refused but not destroyed"
    clocks.set(clocks.wall_ns - 365 * DAY)
    stepped.wait_for_keeper()
    assert stepped.metric("clock_jumps_total") == 2
    assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {DONE}
    clocks.to(BEGIN + 7 * DAY - SECOND)
    stepped.wait_for_keeper()
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {PENDING}
    assert stepped.events("DeleteKey") == stepped.events("DeleteExpiredKeyMaterial") == []
    clocks.step(SECOND)
    stepped.wait_for_keeper()
    assert stepped.ask_workers("DescribeKey", key_id=key_id) == {GONE}


def test_material_expires_on_time_in_every_worker(stepped: SteppedServer) -> None:
    """Calls are refused from the expiry on, also cached ones and before the keeper removes the material. Neither a
    clock set back nor a restart makes the material or an import token valid again."""
    clocks, expires_ns = stepped.clocks, BEGIN + 30 * HOUR
    key_id, again = stepped.imported(expires_ns)
    blob = stepped.seal(key_id)
    clocks.to(expires_ns - 1)
    for _ in range(2):
        assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {DONE}
    clocks.to(expires_ns)
    assert (
        stepped.ask_workers("Decrypt", ciphertext_blob=blob)
        == stepped.ask_workers("Encrypt", key_id=key_id, plaintext=b"p")
        == {UNUSABLE}
    )
    stepped.wait_for_keeper()
    assert stepped.events("DeleteExpiredKeyMaterial") == [(key_id, expires_ns)]
    clocks.step(MINUTE)
    stepped.wait_for_keeper()
    recorded_ns = clocks.wall_ns
    clocks.set(BEGIN)
    for caller in stepped.callers:  # workers learn of the recorded time within a second
        wait_until(lambda: stepped.deletion_date(caller) == recorded_ns + 30 * DAY, "the recorded time")  # noqa: B023
    for start in (1, 2):
        assert stepped.ask_workers("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
        assert stepped.ask_workers("ImportKeyMaterial", **again) == {"ExpiredImportTokenException"}, f"start {start}"
        dates = {stepped.deletion_date(caller) for caller in stepped.callers}
        assert dates == {recorded_ns + 30 * DAY}, "deletion dates still count from the recorded time"
        if start == 1:
            stepped.server.restart()
            stepped.connect()
