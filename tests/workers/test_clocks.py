"""What a real server does by the clock: four workers and the keeper, wall and boot clock stepped under all of them."""

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


class BenchData:
    """A server that goes by stepped clocks, and connections to each of its workers."""

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
        """An external key with its material; and an import of the same material that is still to be made."""
        key_id, material = self.create(origin=EXTERNAL), os.urandom(32)
        self.one.call("ImportKeyMaterial", **self.package(key_id, material, expires_ns))
        return key_id, self.package(key_id, material)

    def package(self, key_id: str, material: bytes, expires_ns: int | None = None) -> dict[str, Any]:
        got = self.one.call("GetParametersForImport", **wanted(key_id))
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", material)
        model = {"expiration_model": NEVER} if expires_ns is None else expiring(expires_ns)
        return {"key_id": key_id, "import_token": got.import_token, "encrypted_key_material": encrypted} | model

    def deletion_date(self, caller: Caller) -> int:
        """When a key that is scheduled now through that connection will be deleted: tells the time the worker judges
        by."""
        date: int = caller.call("ScheduleKeyDeletion", key_id=self.create()).deletion_date.ToNanoseconds()
        return date

    def seal(self, key_id: str) -> bytes:
        blob: bytes = self.one.call("Encrypt", key_id=key_id, plaintext=b"p").ciphertext_blob
        return blob

    def say(self, name: str, **fields: Any) -> set[Any]:
        """What the workers answer, each of them: the error's name, else the key's state, else whether it was done."""
        answers = ask_all(self.callers, name, **fields)
        assert {caller.worker for caller in self.callers} == set(range(WORKERS))
        return {answer if isinstance(answer, str) else _told(answer) for answer in answers}

    def keeper_turns(self) -> None:
        """The keeper has looked at the clocks as they are now, and done what it does then: a record made after a step
        is copied at the end of a turn, and one made after that at the end of a turn that began after the step."""
        for _ in range(2):
            request = uuid.uuid4().hex
            change = pb.UpdateKeyDescriptionRequest(key_id=self.spare, description=request)
            self.one.send("UpdateKeyDescription", change, request).result()
            wait_until(lambda: request in self.keeper_log(), "the record in the log")  # noqa: B023

    def keeper_log(self) -> str:
        return (self.server.data_dir / "audit" / "keeper.jsonl").read_text()

    def events(self, name: str) -> list[tuple[str, int]]:
        """(key id, eventTime in ns) of what the service did by itself."""
        found = [json.loads(line) for line in self.keeper_log().splitlines() if f'"{name}"' in line]
        events = [event for event in found if event["eventType"] == "AwsServiceEvent"]
        return [(event["serviceEventDetails"]["keyId"], _ns(event["eventTime"])) for event in events]

    def metric(self, name: str) -> float:
        address = re.findall(r"http://(127[0-9.]+:\d+)/metrics", self.server.log_text())[-1]
        with urllib.request.urlopen(f"http://{address}/metrics") as page:
            text = page.read().decode()
        return float(re.search(rf"^kms_grpc_keeper_{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]


def _told(answer: Any) -> Any:
    return keys_pb2.KeyState.Name(answer.key_metadata.key_state) if hasattr(answer, "key_metadata") else DONE


def _ns(time: str) -> int:
    return int(datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * SECOND


@pytest.fixture
def ground(start_server: StartServer, tmp_path: Path) -> Iterator[BenchData]:
    with ExitStack() as held:
        yield BenchData(start_server, tmp_path, held)


def wrapped_materials(server: Served, key_id: str) -> list[bytes]:
    """As they lie in the shard."""
    settings = from_values({"data_dir": str(server.data_dir), "regions": [HOME], "dev": True})
    shards = open_shards(settings)
    found = [row.wrapped for row in shards.default.registry.materials.list_after(key_id, -1, 9)]
    shards.close()
    return [wrapped for wrapped in found if wrapped is not None]


def holds(folder: Path, secrets: list[bytes]) -> bool:
    """Whether any file, write-ahead logs among them, has any of these bytes in it."""
    return any(secret in path.read_bytes() for path in folder.rglob("*") if path.is_file() for secret in secrets)


def test_a_deletion_falls_on_its_date_once(ground: BenchData) -> None:
    """Four workers and the keeper: a second before the date, at the date, 31 days past it, and back."""
    clocks, key_id = ground.clocks, ground.create()
    ground.one.call("CreateAlias", alias_name="alias/doomed", target_key_id=key_id)
    ground.one.call("RotateKeyOnDemand", key_id=key_id)
    blob, wrapped = ground.seal(key_id), wrapped_materials(ground.server, key_id)
    assert ground.say("Decrypt", ciphertext_blob=blob) == {DONE}
    date = ground.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7).deletion_date
    assert date.ToNanoseconds() == BEGIN + 7 * DAY
    clocks.to(BEGIN + 7 * DAY - SECOND)
    ground.keeper_turns()
    assert ground.say("DescribeKey", key_id=key_id) == {PENDING}
    assert ground.say("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
    assert len(wrapped) == 2
    assert holds(ground.server.data_dir, wrapped)
    for wall_ns in (BEGIN + 7 * DAY, BEGIN + 38 * DAY, BEGIN + DAY):
        (clocks.to if wall_ns > clocks.wall_ns else clocks.set)(wall_ns)
        ground.keeper_turns()
        assert ground.events("DeleteKey") == [(key_id, BEGIN + 7 * DAY)]
        assert ground.say("DescribeKey", key_id=key_id) == ground.say("DescribeKey", key_id="alias/doomed") == {GONE}
        assert ground.say("Decrypt", ciphertext_blob=blob) == {DENIED}
    wait_until(lambda: not holds(ground.server.data_dir, wrapped), "its material is nowhere")


def test_a_key_rotates_by_itself_once(ground: BenchData) -> None:
    """At its date; every worker encrypts under the new material from then on, and opens what is older."""
    clocks, key_id = ground.clocks, ground.create()
    ground.one.call("EnableKeyRotation", key_id=key_id, rotation_period_in_days=90)
    blobs = [ground.seal(key_id)]
    for wall_ns, rotations in ((90 * DAY - SECOND, 0), (90 * DAY, 1), (180 * DAY - SECOND, 1), (400 * DAY, 2)):
        clocks.to(BEGIN + wall_ns)
        ground.keeper_turns()
        assert [event for event, _ in ground.events("RotateKey")] == [key_id] * rotations
        answers = ask_all(ground.callers, "Encrypt", key_id=key_id, plaintext=b"p")
        blobs += [answer.ciphertext_blob for answer in answers]
        assert len({blob[19:51] for blob in blobs}) == rotations + 1
        assert len({answer.ciphertext_blob[19:51] for answer in answers}) == 1
        assert ground.say("Decrypt", ciphertext_blob=blobs[0]) == {DONE}
    status = ground.one.call("GetKeyRotationStatus", key_id=key_id)
    assert status.next_rotation_date.ToNanoseconds() == BEGIN + 490 * DAY, "overdue ones are made up for once"


def test_after_a_month_without_a_server(ground: BenchData) -> None:
    """What was due meanwhile is deleted an hour after the start; expired material is refused from the first call on."""
    clocks, key_id = ground.clocks, ground.create()
    expiring_id, _ = ground.imported(BEGIN + 8 * DAY)
    blob = ground.seal(expiring_id)
    ground.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7)
    ground.server.stop()
    clocks.step(38 * DAY)
    ground.server.start()
    ground.connect()
    assert ground.say("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
    clocks.step(HOUR - SECOND)
    ground.keeper_turns()
    assert ground.say("DescribeKey", key_id=key_id) == {PENDING}
    assert ground.say("CancelKeyDeletion", key_id=expiring_id) == {UNUSABLE}, "it was never scheduled"
    clocks.step(SECOND)
    ground.keeper_turns()
    assert ground.say("DescribeKey", key_id=key_id) == {GONE}
    assert ground.events("DeleteKey") == [(key_id, BEGIN + 38 * DAY + HOUR)]
    assert ground.events("DeleteExpiredKeyMaterial") == [(expiring_id, BEGIN + 38 * DAY + HOUR)]


def test_a_clock_set_a_year_forward(ground: BenchData) -> None:
    """It raises the alarm and destroys nothing; set right again, all is as it was."""
    clocks, key_id = ground.clocks, ground.create()
    expiring_id, _ = ground.imported(BEGIN + 30 * DAY)
    blob = ground.seal(expiring_id)
    ground.one.call("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7)
    clocks.step(2 * HOUR)
    ground.keeper_turns()
    clocks.set(clocks.wall_ns + 365 * DAY)
    ground.keeper_turns()
    clocks.step(HOUR - SECOND)
    ground.keeper_turns()
    assert ground.metric("clock_jumps") == 1
    assert len(re.findall("the wall clock jumped by 31536000.0 s", ground.server.log_text())) == 1
    assert ground.say("DescribeKey", key_id=key_id) == {PENDING}
    assert ground.say("Decrypt", ciphertext_blob=blob) == {UNUSABLE}, "refused, and not destroyed"
    clocks.set(clocks.wall_ns - 365 * DAY)
    ground.keeper_turns()
    assert ground.metric("clock_jumps") == 2
    assert ground.say("Decrypt", ciphertext_blob=blob) == {DONE}
    clocks.to(BEGIN + 7 * DAY - SECOND)
    ground.keeper_turns()
    assert ground.say("DescribeKey", key_id=key_id) == {PENDING}
    assert ground.events("DeleteKey") == ground.events("DeleteExpiredKeyMaterial") == []
    clocks.step(SECOND)
    ground.keeper_turns()
    assert ground.say("DescribeKey", key_id=key_id) == {GONE}


def test_material_expires_at_its_moment_in_every_worker(ground: BenchData) -> None:
    """Before the keeper has swept it away: calls that were warm a moment ago are refused. A clock set back, and a
    server started anew, bring neither the material nor a token back."""
    clocks, expires_ns = ground.clocks, BEGIN + 30 * HOUR
    key_id, again = ground.imported(expires_ns)
    blob = ground.seal(key_id)
    clocks.to(expires_ns - 1)
    for _ in range(2):
        assert ground.say("Decrypt", ciphertext_blob=blob) == {DONE}
    clocks.to(expires_ns)
    assert (
        ground.say("Decrypt", ciphertext_blob=blob)
        == ground.say("Encrypt", key_id=key_id, plaintext=b"p")
        == {UNUSABLE}
    )
    ground.keeper_turns()
    assert ground.events("DeleteExpiredKeyMaterial") == [(key_id, expires_ns)]
    clocks.step(MINUTE)
    ground.keeper_turns()
    recorded_ns = clocks.wall_ns
    clocks.set(BEGIN)
    for caller in ground.callers:  # workers learn of the recorded time within a second
        wait_until(lambda: ground.deletion_date(caller) == recorded_ns + 30 * DAY, "the recorded time")  # noqa: B023
    for start in (1, 2):
        assert ground.say("Decrypt", ciphertext_blob=blob) == {UNUSABLE}
        assert ground.say("ImportKeyMaterial", **again) == {"ExpiredImportTokenException"}, f"start {start}"
        dates = {ground.deletion_date(caller) for caller in ground.callers}
        assert dates == {recorded_ns + 30 * DAY}, "nor is anything deleted sooner"
        if start == 1:
            ground.server.restart()
            ground.connect()
