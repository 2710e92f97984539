"""Errors that occur only after a time, through both doors: the test steps the clocks of a real server."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, NamedTuple

import botocore.auth
import pytest

from tests.aws.conftest import endpoint_of
from tests.aws.doors import DOORS, DoorClient, Refused
from tests.aws.world import NEVER, World
from tests.conftest import StartServer
from tests.workers.stepped import DAY, HOUR, MINUTE, SECOND, SteppedClocks

PERIOD = 90


class Stepped(NamedTuple):
    """The stepped clocks of a server, and clients of its doors."""

    clocks: SteppedClocks
    doors: dict[str, DoorClient]

    @property
    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clocks.wall_ns / SECOND, datetime.UTC)


@pytest.fixture
def stepped(start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stepped:
    """A server with stepped clocks. Requests are signed with its time, because signatures expire after five minutes."""
    clocks = SteppedClocks(tmp_path)
    served = start_server("--aws-listen", "127.0.0.1:0", environment=clocks.environment)
    url = endpoint_of(served).url
    made = Stepped(clocks, {name: door(served, url) for name, door in DOORS.items()})
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: made.now.replace(tzinfo=None))
    return made


def refusals(asked: dict[str, tuple[World, str, dict[str, Any]]]) -> dict[str, tuple[str, str]]:
    """Returns the error of each door, with {arn} for the key's ARN."""
    errors = {}
    for name, (world, operation, members) in asked.items():
        with pytest.raises(Refused) as refused:
            world.door.call(operation, members)
        errors[name] = refused.value.code, refused.value.text.replace(world.facts["arn"], "{arn}")
    return errors


def test_expired_tokens_expired_material_and_due_rotations(stepped: Stepped) -> None:
    """One test for all of them, since each start of a server takes seconds."""
    worlds = {name: World(door) for name, door in stepped.doors.items()}
    rotated = {name: world.key() for name, world in worlds.items()}
    for name, world in worlds.items():
        world.call("EnableKeyRotation", KeyId=rotated[name], RotationPeriodInDays=PERIOD)
    tokens, expiring, opened = {}, {}, {}
    for name, world in worlds.items():
        tokens[name] = (world, "ImportKeyMaterial", world.package(world.key("PendingImport"), **NEVER))
        ends = stepped.now + datetime.timedelta(hours=30)
        expiring[name] = world.key("PendingImport")
        world.call("ImportKeyMaterial", **world.package(expiring[name], ValidTo=ends))
        opened[name] = (world, "Decrypt", {"CiphertextBlob": world.blob(expiring[name])})
        world.facts["arn"] = world.call("DescribeKey", KeyId=tokens[name][2]["KeyId"])["KeyMetadata"]["Arn"]
    stepped.clocks.step(DAY)
    text = "The import token has expired: get new parameters."
    assert refusals(tokens) == dict.fromkeys(worlds, ("ExpiredImportTokenException", text))
    for name, world in worlds.items():
        world.facts["arn"] = world.call("DescribeKey", KeyId=expiring[name])["KeyMetadata"]["Arn"]
        assert world.call("Decrypt", **opened[name][2])["Plaintext"] == b"plaintext"
    stepped.clocks.step(7 * HOUR)
    text = "{arn} is pending import."
    assert refusals(opened) == dict.fromkeys(worlds, ("KMSInvalidStateException", text))
    stepped.clocks.step(PERIOD * DAY - DAY - 7 * HOUR - 19 * MINUTE)
    due = {}
    for name, world in worlds.items():
        world.facts["arn"] = world.call("DescribeKey", KeyId=rotated[name])["KeyMetadata"]["Arn"]
        due[name] = (world, "RotateKeyOnDemand", {"KeyId": rotated[name]})
    text = "{arn} is due for automatic rotation within 20 minutes. Rotate it afterwards."
    assert refusals(due) == dict.fromkeys(worlds, ("ConflictException", text))
