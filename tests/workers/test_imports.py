"""Import of key material on a real server with two workers and connections to both."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from contextlib import ExitStack

from kms_grpc.v1 import key_management_pb2 as pb
from tests.conftest import StartServer
from tests.faults.audit_log import records
from tests.faults.service import wait_until
from tests.operations.external_keys import EXTERNAL, NEVER, wanted, wrap
from tests.served import Served
from tests.workers.connections import ask_all, connect, outcome

AT_ONCE = 32
SERVICE_ACCOUNT = "000000000000"


def test_of_thirty_two_imports_at_once_one_succeeds(server: Served) -> None:
    """Each worker gets sixteen imports, all sent before the first response. The key then works in both workers."""
    with ExitStack() as held:
        callers = connect(server, held)
        of_each = [[caller for caller in callers if caller.worker == worker] for worker in (0, 1)]
        senders = [(of_each[0] * 16)[i // 2] if i % 2 else (of_each[1] * 16)[i // 2] for i in range(AT_ONCE)]
        assert Counter(caller.worker for caller in senders) == {0: AT_ONCE // 2, 1: AT_ONCE // 2}
        key_id = callers[0].call("CreateKey", origin=EXTERNAL).key_metadata.key_id
        got = callers[0].call("GetParametersForImport", **wanted(key_id))
        encrypted = wrap(got.public_key, "RSAES_OAEP_SHA_256", os.urandom(32))
        fields = {"key_id": key_id, "import_token": got.import_token, "encrypted_key_material": encrypted}
        request = pb.ImportKeyMaterialRequest(expiration_model=NEVER, **fields)
        ids = [uuid.uuid4().hex for _ in senders]
        calls = [caller.send("ImportKeyMaterial", request, id_) for caller, id_ in zip(senders, ids, strict=True)]
        outcomes = Counter(answer if isinstance(answer, str) else "done" for answer in map(outcome, calls))
        assert outcomes == {"done": 1, "InvalidImportTokenException": AT_ONCE - 1}
        assert not any(isinstance(answer, str) for answer in ask_all(callers, "Encrypt", key_id=key_id, plaintext=b"p"))
        listed = callers[0].call("ListKeyRotations", key_id=key_id, include_key_material=1).rotations
        assert len(listed) == 1
        expected = {"import-tokens": AT_ONCE, "import-wrapping-keys": 1}
        wait_until(lambda: uses(server, ids) == expected, f"the service's own audit: {uses(server, ids)}")


def uses(server: Served, request_ids: list[str]) -> Counter[str]:
    """Counts the uses of AWS owned keys for these calls by purpose, from the audit of the service's own account."""
    service_events = [record for record in records(server.data_dir) if record["eventType"] == "AwsServiceEvent"]
    details = [
        record["serviceEventDetails"] for record in service_events if record["recipientAccountId"] == SERVICE_ACCOUNT
    ]
    return Counter(one["purpose"] for one in details if one.get("requestID") in request_ids)


def test_a_new_server_generates_wrapping_pairs_during_the_call(start_server: StartServer) -> None:
    """The keeper has no pair ready yet. This holds in each worker."""
    server = start_server(workers=2)
    with ExitStack() as held:
        callers = connect(server, held)
        key_id = callers[0].call("CreateKey", origin=EXTERNAL).key_metadata.key_id
        one_of_each = [next(caller for caller in callers if caller.worker == worker) for worker in (0, 1)]
        asked = wanted(key_id, "RSAES_OAEP_SHA_256", "RSA_4096")
        answers = ask_all(one_of_each, "GetParametersForImport", **asked)
        assert len({answer.public_key for answer in answers}) == len(answers)
