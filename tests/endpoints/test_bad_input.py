"""Thousands of invalid requests to a server with two workers: each gets a proper error, and the server keeps serving.

`KMS_GRPC_TEST_SEED` repeats a run.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.aws_facts import BEYOND_THE_MODEL, errors_of
from tests.bad_requests import BadRequest, World, bad_requests
from tests.endpoints.calls import Reply, ask, connected, metadata
from tests.examples import CONTEXT, EXAMPLES
from tests.served import Served

EVERYWHERE = {"ValidationException", "AccessDeniedException", "ThrottlingException", "UnsupportedOperationException"}
OWN = {name: {"NotAuthorizedException"} for name in ("CreateAlias", "UpdateAlias", "DeleteAlias")}  # alias/aws/
NEVER = {"KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"}  # nothing here is broken
WITHOUT_TEXT = ("InvalidCiphertextException", "NotAuthorizedException")
FROM_HANDLERS = {
    "AlreadyExistsException",
    "DryRunOperationException",  # everything before the handler was done
    "InvalidMarkerException",
    "LimitExceededException",
    "MalformedPolicyDocumentException",
}
WITH_A_KEY = {"InvalidCiphertextException", "InvalidGrantIdException"}
"""Errors that a handler raised if the record names the key that was found first."""
SEEDS, CASES_PER_OPERATION = 2, 36
SEED = int(os.environ.get("KMS_GRPC_TEST_SEED", "1"))


def allowed(operation: str) -> set[str]:
    """Returns the errors that an operation may answer: those of AWS's model, and a few that any operation has."""
    listed = errors_of(operation.removesuffix("Batch")) | BEYOND_THE_MODEL.get(operation, set())
    return (listed | EVERYWHERE | OWN.get(operation, set())) - NEVER


class Attack:
    """The keys that the cases name. Every write is undone, so that the next case gets as far as it can."""

    def __init__(self, served: Served) -> None:
        self.channels = connected(served.address, served.token)
        self.sent = metadata(served.token)
        key, second = (self._do("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id for _ in range(2))
        away = ask(self.channels[0], "CreateKey", sent=metadata(served.token, "eu-west-1")).answer.key_metadata
        sealing = pb.EncryptRequest(key_id=key, plaintext=b"plain", encryption_context=CONTEXT)
        self.world = World(
            other_region="eu-west-1",
            key_id=key,
            second_key_id=second,
            other_region_key_id=away.key_id,
            blob=self._do("Encrypt", sealing).ciphertext_blob,
        )
        self.restore()

    def _do(self, name: str, request: Any = None) -> Any:
        reply = ask(self.channels[0], name, request, self.sent)
        assert reply.code == "OK", reply
        return reply.answer

    def restore(self) -> None:
        """Enables both keys, and leaves the first with its one alias."""
        for key_id in (self.world.key_id, self.world.second_key_id):
            state = self._do("DescribeKey", pb.DescribeKeyRequest(key_id=key_id)).key_metadata.key_state
            if state == keys_pb2.KEY_STATE_PENDING_DELETION:
                self._do("CancelKeyDeletion", pb.CancelKeyDeletionRequest(key_id=key_id))
            if state != keys_pb2.KEY_STATE_ENABLED:
                self._do("EnableKey", pb.EnableKeyRequest(key_id=key_id))
        kept = (self.world.alias, self.world.key_id)
        aliases = [
            (alias.alias_name, alias.target_key_id)
            for key_id in (self.world.key_id, self.world.second_key_id)
            for alias in self._do("ListAliases", pb.ListAliasesRequest(key_id=key_id)).aliases
        ]
        for alias in aliases:
            if alias != kept:
                self._do("DeleteAlias", pb.DeleteAliasRequest(alias_name=alias[0]))
        if kept not in aliases:
            self._do("CreateAlias", pb.CreateAliasRequest(alias_name=kept[0], target_key_id=kept[1]))

    def send(self, number: int, case: BadRequest) -> Reply:
        sent = [*self.sent, ("kms-request-id", f"bad-{number}")]
        reply = ask(self.channels[number % 2], case.operation, case.raw, sent)
        if reply.code == "OK" and EXAMPLES[case.operation].writes:
            self.restore()
        return reply


def problems(case: BadRequest, reply: Reply) -> Iterator[str]:
    """Yields the faults of a response."""
    if reply.code == "OK":
        results = getattr(reply.answer, "results", ())
        yield from (p for r in results if r.HasField("error") for p in item_problems(case, r.error))
        return
    if reply.reason not in allowed(case.operation) or reply.domain != "kms_grpc.v1":
        yield f"{reply.code} {reply.reason} {reply.text!r} is not an error of {case.operation}"
    if (reply.text == "") is not (reply.reason in WITHOUT_TEXT):
        yield f"text {reply.text!r}"
    if "Traceback" in reply.text or "kms_grpc." in reply.text.replace("kms_grpc.v1.", ""):
        yield f"its text reveals internals: {reply.text!r}"
    if reply.trailer_bytes >= 4096:
        yield f"{reply.trailer_bytes} bytes of trailers"


def item_problems(case: BadRequest, error: Any) -> Iterator[str]:
    """Yields the faults of an error in an item of a batch."""
    info = error_details_pb2.ErrorInfo()
    if not (error.details and error.details[0].Unpack(info) and error.code):
        yield f"an error without its details: {error}"
    if info.reason not in allowed(case.operation) or info.domain != "kms_grpc.v1":
        yield f"{info.reason} {error.message!r} is not an error of an item of {case.operation}"
    if (error.message == "") is not (info.reason == "InvalidCiphertextException"):
        yield f"text {error.message!r}"


def records(served: Served, count: int) -> list[dict[str, Any]]:
    """Waits for the audit records of all cases and returns them. Records of the keeper have no request id."""
    for _ in range(300):
        lines = [line for log in (served.data_dir / "audit").glob("*.jsonl") for line in log.read_bytes().splitlines()]
        found = [record for record in map(json.loads, lines) if record.get("requestID", "").startswith("bad-")]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} audit records of {count} calls")


def reached_a_handler(record: dict[str, Any]) -> bool:
    code = record.get("errorCode")
    used = code in WITH_A_KEY and bool(record["resources"])
    return code is None or code in FROM_HANDLERS or used


@pytest.mark.timeout(600)
def test_invalid_requests_get_proper_errors(server: Served) -> None:
    attack = Attack(server)
    before = children(server)
    cases = [
        case for seed in range(SEED, SEED + SEEDS) for case in bad_requests(seed, attack.world, CASES_PER_OPERATION)
    ]
    found, outcomes = [], Counter[str]()
    for number, case in enumerate(cases):
        reply = attack.send(number, case)
        outcomes[reply.reason or "OK"] += 1
        found += [f"{case.what}: {problem}" for problem in problems(case, reply)]
    assert found == [], f"{len(found)} of {len(cases)}, seed {SEED}"
    assert len(outcomes) >= 10, outcomes
    audited = records(server, len(cases))
    assert len(audited) == len(cases), "one record per call"
    reached = sum(map(reached_a_handler, audited))
    assert reached * 3 >= len(cases), f"{reached} of {len(cases)} reached a handler: {outcomes}"
    assert "Traceback" not in server.log_text()
    assert children(server) == before, "a worker died"
    for channel in attack.channels:
        assert ask(channel, "ListKeys", sent=attack.sent).code == "OK"
        channel.close()


def children(served: Served) -> list[int]:
    """Returns the pids of the server's processes."""
    group = served.process.pid
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(int(stat.parent.name))
    return sorted(found)
