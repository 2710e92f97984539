"""A grant that was made or ended takes effect in all workers of a real server, in running streams as well."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.v1 import envelope_pb2, envelope_pb2_grpc
from tests.conftest import StartServer
from tests.workers.connections import Caller, ask_all, connect

ROUNDS = 100
TOKEN = "token-of-the-grantee-0001"
GRANTEE = "arn:aws:iam::444455556666:role/grantee"
POLICY = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*"}}'
"""Allows GenerateRandom, by which a connection learns which worker it has."""
CONFIGURATION = f"""
[[principals]]
name = "grantee"
arn = "{GRANTEE}"
account = "444455556666"
token = "{TOKEN}"
policies = ['{POLICY}']
"""
DENIED = "AccessDeniedException"
DATA_KEY, ENCRYPT = 3, 2


@pytest.fixture
def connected(start_server: StartServer, tmp_path: Path) -> Iterator[tuple[list[Caller], list[Caller]]]:
    """Eight connections of the account's root, and eight of the grantee, to a server with two workers."""
    file = tmp_path / "kms.toml"
    file.write_text(CONFIGURATION)
    file.chmod(0o600)
    with ExitStack() as held:
        server = start_server("--config", str(file), workers=2)
        yield connect(server, held), connect(server, held, token=TOKEN)


def test_an_ended_grant_is_obeyed_by_every_call_after_the_answer(
    connected: tuple[list[Caller], list[Caller]],
) -> None:
    roots, grantees = connected
    arn = roots[0].call("CreateKey").key_metadata.arn
    for number in range(ROUNDS):
        by = roots[number % len(roots)]
        made = by.call("CreateGrant", key_id=arn, grantee_principal=GRANTEE, operations=[ENCRYPT])
        answers = ask_all(grantees, "Encrypt", key_id=arn, plaintext=b"p")
        assert not [answer for answer in answers if isinstance(answer, str)], number
        by.call("RevokeGrant", key_id=arn, grant_id=made.grant_id)
        assert set(ask_all(grantees, "Encrypt", key_id=arn, plaintext=b"p")) == {DENIED}, number


def test_running_streams_of_both_workers_end_at_their_next_message(
    connected: tuple[list[Caller], list[Caller]],
) -> None:
    roots, grantees = connected
    arn = roots[0].call("CreateKey").key_metadata.arn
    made = roots[0].call("CreateGrant", key_id=arn, grantee_principal=GRANTEE, operations=[DATA_KEY])
    streams = [RunningStream(grantee, arn) for grantee in grantees]
    for stream in streams:
        stream.send()
        assert next(stream.answers).ciphertext
    roots[0].call("RevokeGrant", key_id=arn, grant_id=made.grant_id)
    for stream in streams:
        stream.send()
        with pytest.raises(grpc.RpcError) as refused:
            list(stream.answers)  # those to the message before, and then none
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


class RunningStream:
    """An EncryptStream whose caller sends one message after the other."""

    def __init__(self, caller: Caller, key_id: str) -> None:
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stub = envelope_pb2_grpc.EnvelopeServiceStub(caller.channel)
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        self.answers = stub.EncryptStream(iter(self._sent.get, None), metadata=metadata, timeout=60)
        self._named: dict[str, Any] = {"key_id": key_id, "frame_length": 1024}

    def send(self) -> None:
        """Sends a frame."""
        self._sent.put(envelope_pb2.EncryptStreamRequest(plaintext=bytes(1024), **self._named))
        self._named = {}
