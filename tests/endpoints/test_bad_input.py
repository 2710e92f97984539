"""Bad input against a real server: every answer is an error that AWS lists for the operation, and the server goes on.

KMS_GRPC_TEST_SEED picks other cases; a failure prints what was sent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.bad_requests import BadRequest, World, bad_requests, gets_far
from tests.faults.service import Service

SEED = int(os.environ.get("KMS_GRPC_TEST_SEED", "0"))
CASES = 1200
MODEL = json.loads((Path(__file__).parents[1] / "contract" / "aws_model.json").read_text())
EVERYWHERE = {"ValidationException", "AccessDeniedException", "ThrottlingException", "UnsupportedOperationException"}
BEYOND_THE_MODEL = {
    "CreateAlias": {"NotAuthorizedException"},
    "UpdateAlias": {"NotAuthorizedException"},
    "DeleteAlias": {"NotAuthorizedException"},
}
"""A name under alias/aws/ is NotAuthorizedException, though the model doesn't list it."""
OUT_OF_USE = ("DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion")
"""Operations after which a key is not Enabled."""
NEVER = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE}
TRAILER_BYTES = 4096
BEFORE_A_HANDLER = ("validation error", "unknown field", "is not encoded as", "can't be read as", "Please specify")


class Answer(NamedTuple):
    """`reason` is None for a call that was done."""

    code: grpc.StatusCode
    reason: str | None
    text: str
    trailer_bytes: int


class Wire:
    """Raw bytes to a server, and what it says to them."""

    def __init__(self, service: Service) -> None:
        self._channel = grpc.insecure_channel(service.address)
        self._metadata = (("authorization", f"Bearer {service.token}"),)

    def send(self, path: str, raw: bytes) -> Answer:
        try:
            self._channel.unary_unary(path)(raw, metadata=self._metadata, timeout=30)
        except grpc.RpcError as error:
            return self._refused(error)
        return Answer(grpc.StatusCode.OK, None, "", 0)

    def _refused(self, error: grpc.RpcError) -> Answer:
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        known = status is not None and any(detail.Unpack(info) for detail in status.details)
        size = sum(len(key) + len(value) for key, value in error.trailing_metadata())
        reason = info.reason if known and info.domain == "kms_grpc.v1" else "no ErrorInfo"
        return Answer(error.code(), reason, error.details() or "", size)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    server = Service(tmp_path_factory.mktemp("bad-input") / "data", ("eu-central-1", "us-east-1"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def world(service: Service) -> World:
    here, there = service.caller("eu-central-1"), service.caller("us-east-1")
    keys = [caller.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id for caller in (here, here, there)]
    context = {"purpose": "bad requests"}
    request = pb.EncryptRequest(key_id=keys[0], plaintext=b"plain", encryption_context=context)
    world = World(
        "eu-central-1", "us-east-1", "123456789012", *keys, blob=here.call("Encrypt", request).ciphertext_blob
    )
    here.call("CreateAlias", pb.CreateAliasRequest(target_key_id=keys[0], alias_name=world.alias))
    return world


def is_good(case: BadRequest, answer: Answer) -> bool:
    """Whether `answer` is one that the case may get."""
    listed = {*MODEL["operations"][case.operation]["errors"], *EVERYWHERE, *BEYOND_THE_MODEL.get(case.operation, ())}
    named = answer.reason is None or answer.reason in listed
    quiet = "Traceback" not in answer.text and "Error" not in answer.text
    return named and quiet and answer.code not in NEVER and answer.trailer_bytes < TRAILER_BYTES


def came_to_a_handler(case: BadRequest, answer: Answer, world: World) -> bool:
    """Done, or refused for something that only the work itself finds out."""
    stopped = answer.reason == "UnsupportedOperationException" or any(text in answer.text for text in BEFORE_A_HANDLER)
    return answer.reason is None or (gets_far(case, world) and not stopped)


@pytest.mark.timeout(120)
def test_bad_input_gets_a_listed_error_and_the_server_goes_on(service: Service, world: World) -> None:
    wire, wrong, reasons, handled = Wire(service), [], Counter(), 0
    for case in bad_requests(SEED, world, CASES):
        answer = wire.send(case.path, case.raw)
        reasons[answer.reason or "done"] += 1
        handled += came_to_a_handler(case, answer, world)
        if not is_good(case, answer):
            wrong.append((case.what, case.raw[:200].hex(), answer))
        if case.operation in OUT_OF_USE and answer.reason is None:
            enable_again(service, world)
    assert wrong == [], f"seed {SEED}"
    assert handled >= CASES / 3, reasons
    assert len(reasons) > 6, reasons
    assert_unharmed(service, world)


def enable_again(service: Service, world: World) -> None:
    """What a case has taken out of use, for those that come after it."""
    here = service.caller()
    for key_id in (world.key_id, world.second_key_id):
        state = here.call("DescribeKey", pb.DescribeKeyRequest(key_id=key_id)).key_metadata.key_state
        if state == keys_pb2.KEY_STATE_PENDING_DELETION:
            here.call("CancelKeyDeletion", pb.CancelKeyDeletionRequest(key_id=key_id))
        here.call("EnableKey", pb.EnableKeyRequest(key_id=key_id))


def assert_unharmed(service: Service, world: World) -> None:
    """The blob still opens, both workers are those that were started, and the log holds no failure."""
    request = pb.DecryptRequest(ciphertext_blob=world.blob, encryption_context=dict(world.context))
    assert service.caller().call("Decrypt", request).plaintext == b"plain"
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert sum("is ready" in line["message"] for line in lines) == 3, "two workers and the keeper, each once"
