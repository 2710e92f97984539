"""Grants at work: who gets what by a grant, tokens, constraints, delegation, ending, listings, limits, other workers.

Rows marked "field" are those of AWS KMS users' reports; each says what was right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.operations.service import ALICE, BOB, EVE, Host, Worker

Make = Callable[..., Host]
DENIED, INVALID = "AccessDeniedException", "ValidationException"
S3 = {"name": "s3", "account": ALICE.account, "token": "token-of-s3-00000004", "service": "s3.amazonaws.com"}
SOURCE = "arn:aws:s3:eu-central-1:111122223333:bucket"
ROOT, EVES_ROOT = f"arn:aws:iam::{ALICE.account}:root", f"arn:aws:iam::{EVE.account}:root"


def numbers(*operations: str) -> list[Any]:
    named = keys_pb2.GrantOperation.DESCRIPTOR.values
    by_name = {value.name.replace("GRANT_OPERATION_", "").replace("_", "").lower(): value.number for value in named}
    return [by_name[operation.lower()] for operation in operations]


def names(entry: Any) -> list[str]:
    found = keys_pb2.GrantOperation.DESCRIPTOR.values_by_number
    return [found[number].name.removeprefix("GRANT_OPERATION_") for number in entry.operations]


def grant(
    worker: Worker, key_id: str, *operations: str, to: Any = BOB, by: Any = ALICE, **fields: Any
) -> pb.CreateGrantResponse:
    """Creates a grant of operations, as the caller `by`, to the caller or ARN `to`."""
    grantee = getattr(to, "arn", to)
    allowed = numbers(*(operations or ("Encrypt", "Decrypt")))
    answer: pb.CreateGrantResponse = worker.call(
        "CreateGrant", by=by, key_id=key_id, **{"grantee_principal": grantee, "operations": allowed, **fields}
    )
    return answer


@pytest.fixture
def host(make_host: Make) -> Host:
    """Alice may do all in her account. Bob of the same account, eve of another and s3 have no policies."""
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": []} for caller in (ALICE, BOB, EVE)]
    callers[0]["policies"] = ["full-access"]
    callers.append({**S3, "arn": f"arn:aws:iam::{ALICE.account}:role/s3", "policies": []})
    return make_host(principals=callers)


@pytest.fixture
def worker(host: Host) -> Worker:
    return host.worker()


def encrypts(worker: Worker, key: Any, by: Any = BOB, **fields: Any) -> bool:
    """Returns whether a caller may encrypt. Any other answer than yes and AccessDeniedException fails."""
    try:
        worker.call("Encrypt", by=by, key_id=key.arn, plaintext=b"p", **fields)
    except Exception as error:
        assert type(error).__name__ == DENIED, error
        return False
    return True


# --- what a grant gives ----------------------------------------------------------------------------------------------


def test_a_grant_allows_its_operations_on_its_key_until_it_is_revoked(worker: Worker) -> None:
    key, other = worker.create(), worker.create()
    assert not encrypts(worker, key)
    made = grant(worker, key.key_id, "Encrypt")
    assert encrypts(worker, key) and encrypts(worker, key)
    assert encrypts(worker, key, grant_tokens=[made.grant_token])
    assert not encrypts(worker, other) and not encrypts(worker, other, grant_tokens=[made.grant_token])
    blob = worker.encrypt(key.key_id)
    assert worker.refusal("Decrypt", by=BOB, ciphertext_blob=blob, key_id=key.arn).code == DENIED
    assert worker.refusal("DisableKey", by=BOB, key_id=key.key_id).code == DENIED
    worker.call("RevokeGrant", key_id=key.key_id, grant_id=made.grant_id)
    assert not encrypts(worker, key) and not encrypts(worker, key, grant_tokens=[made.grant_token])


def test_another_account_needs_no_policy_for_a_grant(worker: Worker) -> None:
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", to=EVE)
    assert encrypts(worker, key, by=EVE)
    assert not encrypts(worker, key, by=BOB)


def test_a_token_is_no_credential(worker: Worker) -> None:
    key = worker.create()
    made = grant(worker, key.key_id, "Encrypt", to=EVE)
    assert not encrypts(worker, key, by=BOB, grant_tokens=[made.grant_token])
