"""Grants at work: who gets what by a grant, tokens, constraints, delegation, ending, listings, limits, other workers.

Rows marked "field" are those of AWS KMS users' reports; each says what was right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.errors import AccessDeniedException
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.operations import streams
from tests.operations.service import ALICE, AWAY, BOB, EVE, OPERATIONS, Host, Worker, refusal_of
from tests.registry.damaging import damaged_rows

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
    except AccessDeniedException:
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


def test_a_grant_to_an_account_is_left_to_its_identity_policies(make_host: Make) -> None:
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[1] |= {"account": EVE.account, "arn": BOB.arn.replace(ALICE.account, EVE.account), "policies": []}
    worker = make_host(principals=callers).worker()
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", to=EVES_ROOT)
    assert encrypts(worker, key, by=EVE)
    assert not encrypts(worker, key, by=BOB)


def test_a_deny_counts_against_a_grant(make_host: Make) -> None:
    deny = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*"}}
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[1]["policies"] = [json.dumps(deny)]
    worker = make_host(principals=callers).worker()
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", "DescribeKey")
    assert not encrypts(worker, key)
    assert worker.call("DescribeKey", by=BOB, key_id=key.key_id)


def test_all_operations_of_a_symmetric_key(worker: Worker) -> None:
    key = worker.create()
    blob = worker.encrypt(key.key_id)
    calls: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
        (("Decrypt",), "Decrypt", {"ciphertext_blob": blob}),
        (("GenerateDataKey",), "GenerateDataKey", {"key_id": key.arn, "number_of_bytes": 16}),
        (("GenerateDataKeyWithoutPlaintext",), "GenerateDataKeyWithoutPlaintext",
         {"key_id": key.arn, "number_of_bytes": 16}),
        (("ReEncryptFrom", "ReEncryptTo"), "ReEncrypt", {"ciphertext_blob": blob, "destination_key_id": key.arn}),
        (("DescribeKey",), "DescribeKey", {"key_id": key.arn}),
        (("Encrypt",), "EncryptBatch", {"key_id": key.arn, "items": [{"plaintext": b"p"}]}),
    ]  # fmt: skip
    for operations, name, fields in calls:
        assert not answered(worker, name, fields)
        made = grant(worker, key.key_id, *operations, to=EVE)
        assert answered(worker, name, fields)
        worker.call("RevokeGrant", key_id=key.key_id, grant_id=made.grant_id)
        assert not answered(worker, name, fields)


def answered(worker: Worker, name: str, fields: dict[str, Any]) -> bool:
    """Returns whether eve's call is answered, or the one item of her batch; else she is denied."""
    if name.endswith("Batch"):
        (result,) = worker.call(name, by=EVE, **fields).results
        return not result.HasField("error")
    try:
        worker.call(name, by=EVE, **fields)
    except AccessDeniedException:
        return False
    return True


UNFIT = ("Sign", "Verify", "GetPublicKey", "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate")


@pytest.mark.parametrize("operation", UNFIT)
def test_operations_that_the_key_has_not(worker: Worker, operation: str) -> None:
    key = worker.create()
    fields = {"key_id": key.key_id, "grantee_principal": BOB.arn, "operations": numbers("Decrypt", operation)}
    refusal = worker.refusal("CreateGrant", **fields)
    assert (refusal.code, refusal.text.endswith(f"cannot allow {operation}.")) == (INVALID, True)


# --- constraints -----------------------------------------------------------------------------------------------------

CONSTRAINED = [
    # constraint, encryption context of the call, allowed
    ({"encryption_context_equals": {"a": "1"}}, {"a": "1"}, True),
    ({"encryption_context_equals": {"a": "1"}}, {"a": "1", "b": "2"}, False),
    ({"encryption_context_equals": {"a": "1"}}, {}, False),
    ({"encryption_context_equals": {"a": "1"}}, {"A": "1"}, False),  # the guide: exact; the model: keys in any case
    ({"encryption_context_equals": {"a": "1", "b": "2"}}, {"b": "2", "a": "1"}, True),
    ({"encryption_context_subset": {"a": "1"}}, {"a": "1", "b": "2"}, True),
    ({"encryption_context_subset": {"a": "1"}}, {"a": "1"}, True),
    ({"encryption_context_subset": {"a": "1"}}, {"a": "2", "b": "1"}, False),
    ({"encryption_context_subset": {"a": "1"}}, {"a": "1 "}, False),
    ({"encryption_context_subset": {"a": "1", "b": "22"}}, {"b": "22"}, False),
    ({"encryption_context_subset": {"a": "1"}, "encryption_context_equals": {"a": "1", "b": "2"}},
     {"a": "1", "b": "2"}, True),
    ({"encryption_context_subset": {"c": "1"}, "encryption_context_equals": {"a": "1"}}, {"a": "1"}, False),
    ({"source_arn": SOURCE}, {}, False),  # no caller acts for a resource
]  # fmt: skip


@pytest.mark.parametrize("crowded", [False, True], ids=["few", "many"])
@pytest.mark.parametrize(("constraints", "context", "allowed"), CONSTRAINED)
def test_constraints(
    worker: Worker, crowded: bool, constraints: dict[str, Any], context: dict[str, str], allowed: bool
) -> None:
    """With many grants to one principal they are found by what the call's context shows."""
    key = worker.create()
    for number in range(40 if crowded else 0):
        grant(worker, key.key_id, "Encrypt", constraints={"encryption_context_equals": {"tenant": str(number)}})
    grant(worker, key.key_id, "Encrypt", constraints=constraints)
    for _ in range(2):  # the second call might be answered by a Permit
        assert encrypts(worker, key, encryption_context=context) is allowed
    if crowded:
        assert encrypts(worker, key, encryption_context={"tenant": "39"})
        assert not encrypts(worker, key, encryption_context={"tenant": "40"})


def test_no_permit_answers_for_another_context(worker: Worker) -> None:
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", constraints={"encryption_context_equals": {"a": "1"}})
    for _ in range(3):
        assert encrypts(worker, key, encryption_context={"a": "1"})
        assert not encrypts(worker, key, encryption_context={"a": "2"})


def test_a_grant_without_conditions_answers_by_a_permit(worker: Worker) -> None:
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", constraints={"encryption_context_equals": {"a": "1"}})
    grant(worker, key.key_id, "Encrypt")
    assert encrypts(worker, key, encryption_context={"z": "9"})
    before = len(worker.executor._permits)
    assert encrypts(worker, key, encryption_context={"y": "8"})
    assert before == len(worker.executor._permits) >= 1


def test_constraints_do_not_concern_operations_without_a_context(worker: Worker) -> None:
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", "DescribeKey", constraints={"encryption_context_equals": {"a": "1"}})
    assert worker.call("DescribeKey", by=BOB, key_id=key.key_id)


BOUNDS = [
    # pairs, taken: AWS allows 8 pairs and 384 characters
    ({f"k{i}": "v" for i in range(8)}, True),
    ({f"k{i}": "v" for i in range(9)}, False),
    ({"k": "v" * 384}, True),
    ({"k": "v" * 385}, False),
    ({"k": "\u2603" * 384}, True),
]


@pytest.mark.parametrize("kind", ["encryption_context_equals", "encryption_context_subset"])
@pytest.mark.parametrize(("pairs", "taken"), BOUNDS)
def test_bounds_of_constraints(worker: Worker, kind: str, pairs: dict[str, str], taken: bool) -> None:
    fields = {"key_id": worker.create().key_id, "grantee_principal": BOB.arn, "operations": numbers("Decrypt")}
    if taken:
        assert worker.call("CreateGrant", constraints={kind: pairs}, **fields)
    else:
        assert worker.refusal("CreateGrant", constraints={kind: pairs}, **fields).code == INVALID


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_checked_before_anything_is_authorized(worker: Worker) -> None:
    """It is refused alike for those who may use the key, those who may not, and where there is no such key."""
    key = worker.create()
    token = grant(worker, key.key_id, "Encrypt").grant_token
    bad = [
        "x",
        "A" * 156,
        token[:-1],
        token + "A",
        token.swapcase(),
        "\u2603",
        token[:60] + token[61:] + "A",
        token + "=",
    ]
    assert token not in bad
    for by, name in ((ALICE, key.arn), (BOB, key.arn), (EVE, key.arn), (ALICE, "alias/none")):
        for text in bad:
            refusal = worker.refusal("Encrypt", by=by, key_id=name, plaintext=b"p", grant_tokens=[token, text])
            assert refusal.code == "InvalidGrantTokenException", text
            assert text not in refusal.text or text == "x"


def test_a_token_belongs_to_its_region(worker: Worker) -> None:
    token = grant(worker, worker.create().key_id, "Encrypt").grant_token
    away = worker.create(region=AWAY)
    fields = {"key_id": away.key_id, "plaintext": b"p", "grant_tokens": [token]}
    assert worker.refusal("Encrypt", region=AWAY, **fields).code == "InvalidGrantTokenException"


def test_a_bad_token_is_noticed_on_a_warm_call(worker: Worker) -> None:
    key = worker.create()
    for name, fields in (("Encrypt", {"plaintext": b"p"}), ("GenerateDataKey", {"number_of_bytes": 16})):
        for _ in range(2):
            worker.call(name, key_id=key.key_id, **fields)
        assert (
            worker.refusal(name, key_id=key.key_id, grant_tokens=["x"], **fields).code == "InvalidGrantTokenException"
        )
    worker.call("DescribeKey", key_id=key.key_id)
    assert worker.refusal("DescribeKey", key_id=key.key_id, grant_tokens=["x"]).code == "InvalidGrantTokenException"


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_makes_equal_requests_one_grant(worker: Worker) -> None:
    """field: identical parameters give the same id and a new token; anything that differs gives another grant."""
    key, other = worker.create(), worker.create()
    limits = {"encryption_context_subset": {"a": "1", "b": "2"}}
    same: dict[str, Any] = {"name": "n", "constraints": limits, "retiring_principal": EVE.arn}
    first = grant(worker, key.key_id, "Encrypt", "Decrypt", **same)
    again = grant(worker, key.key_id, "Decrypt", "Encrypt", **same)
    assert again.grant_id == first.grant_id
    assert again.grant_token != first.grant_token
    for token in (first.grant_token, again.grant_token):
        assert encrypts(worker, key, encryption_context={"a": "1", "b": "2"}, grant_tokens=[token])
    others = [
        grant(worker, other.key_id, "Encrypt", "Decrypt", **same),
        grant(worker, key.key_id, "Encrypt", **same),
        grant(worker, key.key_id, "Encrypt", "Decrypt", to=EVE, **same),
        grant(worker, key.key_id, "Encrypt", "Decrypt", **same | {"name": "N"}),
        grant(worker, key.key_id, "Encrypt", "Decrypt", **same | {"constraints": SUBSET}),
        grant(worker, key.key_id, "Encrypt", "Decrypt", **same | {"constraints": {"encryption_context_equals": {
            "a": "1", "b": "2"}}}),
        grant(worker, key.key_id, "Encrypt", "Decrypt", **same | {"retiring_principal": BOB.arn}),
        grant(worker, key.key_id, "Encrypt", "Decrypt", name="n", constraints=limits),
    ]  # fmt: skip
    assert len({made.grant_id for made in others} | {first.grant_id}) == len(others) + 1
    worker.call("RevokeGrant", key_id=key.key_id, grant_id=first.grant_id)
    assert grant(worker, key.key_id, "Encrypt", "Decrypt", **same).grant_id != first.grant_id


def test_without_a_name_every_request_makes_a_grant(worker: Worker) -> None:
    key = worker.create()
    assert grant(worker, key.key_id).grant_id != grant(worker, key.key_id).grant_id


def test_a_retried_call_makes_one_grant(worker: Worker) -> None:
    key = worker.create()
    fields = {"key_id": key.key_id, "grantee_principal": BOB.arn, "operations": numbers("Decrypt")}
    answers = [worker.call("CreateGrant", request_id="retried", **fields) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(worker.call("ListGrants", key_id=key.key_id).grants) == 1


# --- delegation ------------------------------------------------------------------------------------------------------

SUBSET, WIDER = {"encryption_context_subset": {"a": "1"}}, {"encryption_context_subset": {"a": "1", "b": "2"}}
EQUAL, OTHER = {"encryption_context_equals": {"a": "1"}}, {"encryption_context_equals": {"a": "1", "b": "2"}}
DELEGATED: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...], bool]] = [
    # constraints of the parent, which allows Encrypt and CreateGrant; of the child; its operations; allowed
    ({}, {}, ("Encrypt",), True),
    ({}, {}, ("Encrypt", "CreateGrant"), True),
    ({}, {}, ("Decrypt",), False),
    ({}, {}, ("Encrypt", "Decrypt"), False),
    ({}, {}, ("RetireGrant",), False),
    ({}, SUBSET, ("Encrypt",), True),
    (SUBSET, {}, ("Encrypt",), False),
    (SUBSET, SUBSET, ("Encrypt",), True),
    (SUBSET, WIDER, ("Encrypt",), True),
    (WIDER, SUBSET, ("Encrypt",), False),
    (SUBSET, EQUAL, ("Encrypt",), True),
    (SUBSET, OTHER, ("Encrypt",), True),
    (EQUAL, EQUAL, ("Encrypt",), True),
    (EQUAL, OTHER, ("Encrypt",), False),
    (EQUAL, SUBSET, ("Encrypt",), False),
    (EQUAL, {**EQUAL, **SUBSET}, ("Encrypt",), True),
    (WIDER, {**EQUAL, **WIDER}, ("Encrypt",), True),  # no context fits both, so it gives nothing
    (SUBSET, {"source_arn": SOURCE}, ("Encrypt",), False),
    ({}, {"source_arn": SOURCE}, ("Encrypt",), True),
]


@pytest.mark.parametrize(("parent", "child", "operations", "allowed"), DELEGATED)
def test_a_grant_gives_no_more_than_the_one_it_is_made_by(
    worker: Worker, parent: dict[str, Any], child: dict[str, Any], operations: tuple[str, ...], allowed: bool
) -> None:
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", "CreateGrant", constraints=parent or None)
    fields = {"key_id": key.arn, "grantee_principal": EVE.arn, "operations": numbers(*operations)}
    fields |= {"constraints": child} if child else {}
    if allowed:
        assert worker.call("CreateGrant", by=BOB, **fields)
    else:
        assert worker.refusal("CreateGrant", by=BOB, **fields).code == DENIED


def test_delegation_goes_on_and_its_end_does_not(worker: Worker) -> None:
    """A grant outlives the one by which it was created."""
    key = worker.create()
    first = grant(worker, key.key_id, "Encrypt", "CreateGrant")
    grant(worker, key.arn, "Encrypt", "CreateGrant", to=EVE, by=BOB)
    carol = f"arn:aws:iam::{EVE.account}:role/carol"
    refused = {"grantee_principal": carol, "operations": numbers("Decrypt")}
    assert worker.refusal("CreateGrant", by=EVE, key_id=key.arn, **refused).code == DENIED
    grant(worker, key.arn, "Encrypt", to=carol, by=EVE)
    worker.call("RevokeGrant", key_id=key.key_id, grant_id=first.grant_id)
    assert not encrypts(worker, key) and encrypts(worker, key, by=EVE)


def test_a_policy_lets_give_more_than_one_has(make_host: Make) -> None:
    may_grant = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "kms:CreateGrant", "Resource": "*"},
    }
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[1]["policies"] = [json.dumps(may_grant)]
    worker = make_host(principals=callers).worker()
    key = worker.create()
    assert not encrypts(worker, key)
    grant(worker, key.key_id, "Encrypt", "Decrypt", by=BOB)
    assert encrypts(worker, key)


# --- ending ----------------------------------------------------------------------------------------------------------


def made_for(worker: Worker, key: Any, **fields: Any) -> dict[str, Any]:
    made = grant(worker, key.key_id, "Encrypt", *fields.pop("more", ()), **fields)
    return {"key_id": key.arn, "grant_id": made.grant_id}


def test_who_may_retire(worker: Worker) -> None:
    """Its retiring principal; its grantee where RetireGrant is among its operations; the account that created it."""
    key = worker.create()
    rows: list[tuple[dict[str, Any], Any, bool]] = [
        ({}, BOB, False),
        ({}, EVE, False),
        ({}, ALICE, True),  # of the account that created it, with a policy
        ({"more": ("RetireGrant",)}, BOB, True),
        ({"more": ("RetireGrant",)}, EVE, False),
        ({"retiring_principal": EVE.arn}, EVE, True),
        ({"retiring_principal": EVE.arn}, BOB, False),
        ({"retiring_principal": EVES_ROOT}, EVE, False),  # eve has no policy that lets her
        ({"to": EVE, "more": ("RetireGrant",), "constraints": EQUAL}, EVE, True),
        ({"retiring_service_principal": "s3.amazonaws.com"}, "token-of-s3-00000004", True),
        ({"retiring_service_principal": "ec2.amazonaws.com"}, "token-of-s3-00000004", False),
    ]
    for fields, by, allowed in rows:
        named = made_for(worker, key, **fields)
        if allowed:
            worker.call("RetireGrant", by=by, **named)
            assert worker.refusal("RetireGrant", **named).code == "NotFoundException"
        else:
            assert worker.refusal("RetireGrant", by=by, **named).code == DENIED, fields


def test_nobody_learns_of_another_accounts_key_by_a_grant_that_is_not_there(make_host: Make) -> None:
    worker = make_host().worker()
    key = worker.create()
    missing = key.arn.replace(key.key_id, "00000000-0000-4000-8000-000000000000")
    made = grant(worker, key.key_id)
    told = {
        worker.refusal("RetireGrant", by=EVE, key_id=arn, grant_id=grant_id)
        for arn in (key.arn, missing)
        for grant_id in ("5e" * 32, made.grant_id)
    }
    assert [refusal.code for refusal in told] == [DENIED]


def test_retiring_by_a_token(worker: Worker) -> None:
    key = worker.create()
    token = grant(worker, key.key_id, "Encrypt", to=EVE, retiring_principal=BOB.arn).grant_token
    assert worker.refusal("RetireGrant", by=EVE, grant_token=token).code == DENIED
    worker.call("RetireGrant", by=BOB, grant_token=token)
    assert not encrypts(worker, key, by=EVE)
    assert worker.refusal("RetireGrant", by=BOB, grant_token=token).code == "InvalidGrantTokenException"


def test_a_grant_cannot_be_ended_on_another_key(worker: Worker) -> None:
    key, other = worker.create(), worker.create()
    made = made_for(worker, key)
    for name in ("RevokeGrant", "RetireGrant"):
        assert worker.refusal(name, **made | {"key_id": other.arn}).code == "NotFoundException"
    assert len(worker.call("ListGrants", key_id=key.key_id).grants) == 1


def test_revoking_needs_a_policy(worker: Worker) -> None:
    key = worker.create()
    made = made_for(worker, key, retiring_principal=BOB.arn, more=("RetireGrant",))
    for by in (BOB, EVE):
        assert worker.refusal("RevokeGrant", by=by, **made).code == DENIED


@pytest.mark.parametrize("name", ["CreateGrant", "RetireGrant", "RevokeGrant"])
def test_a_dry_run_changes_nothing(worker: Worker, name: str) -> None:
    key = worker.create()
    made = made_for(worker, key)
    fields = {"key_id": key.arn, "grantee_principal": BOB.arn, "operations": numbers("Decrypt")}
    before = worker.call("ListGrants", key_id=key.key_id)
    worker.audit()
    fields = fields if name == "CreateGrant" else made
    assert worker.refusal(name, dry_run=True, **fields).code == "DryRunOperationException"
    assert worker.audit()[-1]["responseElements"] is None
    assert worker.call("ListGrants", key_id=key.key_id) == before
    assert worker.refusal(name, dry_run=True, by=BOB, **fields).code == DENIED


def test_a_dry_run_reports_what_would_be_refused(make_host: Make) -> None:
    worker = make_host(quotas={"grants_per_key": 1}).worker()
    key = worker.create()
    fields = {"key_id": key.arn, "grantee_principal": BOB.arn, "operations": numbers("Sign")}
    assert worker.refusal("CreateGrant", dry_run=True, **fields).code == INVALID
    grant(worker, key.key_id)
    fields["operations"] = numbers("Decrypt")
    assert worker.refusal("CreateGrant", dry_run=True, **fields).code == "LimitExceededException"
    unknown = {"key_id": key.arn, "grant_id": "5e" * 32, "dry_run": True}
    assert worker.refusal("RevokeGrant", **unknown).code == "NotFoundException"


# --- the key's state -------------------------------------------------------------------------------------------------


def test_a_disabled_key_is_not_used_by_a_grant_and_loses_none(worker: Worker) -> None:
    key = worker.create()
    made = grant(worker, key.key_id, "Encrypt", "DescribeKey")
    worker.call("DisableKey", key_id=key.key_id)
    fields = {"by": BOB, "key_id": key.arn, "plaintext": b"p"}
    assert worker.refusal("Encrypt", **fields).code == "DisabledException"
    assert worker.refusal("Encrypt", **fields, grant_tokens=[made.grant_token]).code == "DisabledException"
    assert worker.call("DescribeKey", by=BOB, key_id=key.arn)
    worker.call("EnableKey", key_id=key.key_id)
    assert encrypts(worker, key)


@pytest.mark.parametrize("name", ["RetireGrant", "RevokeGrant"])
@pytest.mark.parametrize("way", ["DisableKey", "ScheduleKeyDeletion"])
def test_grants_end_in_every_state(worker: Worker, name: str, way: str) -> None:
    key = worker.create()
    made = made_for(worker, key)
    worker.call(way, key_id=key.key_id)
    assert len(worker.call("ListGrants", key_id=key.key_id).grants) == 1
    worker.call(name, **made)
    assert not worker.call("ListGrants", key_id=key.key_id).grants


def test_the_grants_of_a_deleted_key_are_gone(worker: Worker) -> None:
    key = worker.create()
    made = grant(worker, key.key_id, "Encrypt", retiring_principal=BOB.arn)
    registry = worker.shard().registry
    with registry.writing() as transaction:
        found = transaction.keys.find(key.key_id)
        assert found is not None
        transaction.keys.remove(found)
    assert registry.grants.find(made.grant_id) is None
    assert not damaged_rows(registry)
    assert worker.refusal("RetireGrant", by=BOB, grant_token=made.grant_token).code == "InvalidGrantTokenException"


# --- listings --------------------------------------------------------------------------------------------------------


def test_a_listed_grant_is_as_it_was_given(worker: Worker) -> None:
    """field: each principal comes back in the member that it was given in; IssuingAccount is the caller's account."""
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", "CreateGrant", to=EVE)
    worker.call(
        "CreateGrant", by=EVE, key_id=key.arn, grantee_service_principal="s3.amazonaws.com",
        retiring_service_principal="ec2.amazonaws.com", constraints={"source_arn": SOURCE, **WIDER}, name="n",
        operations=numbers("Encrypt"),
    )  # fmt: skip
    first, second = worker.call("ListGrants", key_id=key.key_id).grants
    assert (first.grantee_principal, first.issuing_account, first.key_id) == (EVE.arn, ROOT, key.arn)
    assert not (first.HasField("constraints") or first.HasField("name") or first.HasField("retiring_principal"))
    assert names(first) == ["ENCRYPT", "CREATE_GRANT"]
    assert (second.grantee_service_principal, second.retiring_service_principal) == (
        "s3.amazonaws.com", "ec2.amazonaws.com",
    )  # fmt: skip
    assert not (second.HasField("grantee_principal") or second.HasField("retiring_principal"))
    assert (second.issuing_account, second.name, second.constraints.source_arn) == (EVES_ROOT, "n", SOURCE)
    assert dict(second.constraints.encryption_context_subset) == {"a": "1", "b": "2"}
    assert second.creation_date.seconds == 1_800_000_000


def test_pages_and_filters(worker: Worker) -> None:
    key = worker.create()
    made = [grant(worker, key.key_id, to=(BOB, EVE)[number % 2]).grant_id for number in range(7)]
    listed: list[str] = []
    marker = None
    while True:
        page = worker.call("ListGrants", key_id=key.key_id, limit=3, marker=marker)
        listed += [entry.grant_id for entry in page.grants]
        if not page.truncated:
            break
        marker = page.next_marker
    assert listed == made
    to_eve = worker.call("ListGrants", key_id=key.key_id, grantee_principal=EVE.arn)
    assert [entry.grant_id for entry in to_eve.grants] == made[1::2]
    only = worker.call("ListGrants", key_id=key.key_id, grant_id=made[2])
    assert [entry.grant_id for entry in only.grants] == [made[2]]
    assert not worker.call("ListGrants", key_id=key.key_id, grant_id=made[2], grantee_principal=EVE.arn).grants
    assert not worker.call("ListGrants", key_id=worker.create().key_id, grant_id=made[2]).grants
    filtered = {"grantee_principal": EVE.arn, "marker": marker}
    assert worker.refusal("ListGrants", key_id=key.key_id, **filtered).code == "InvalidMarkerException"
    assert worker.refusal("ListGrants", key_id=worker.create().key_id, marker=marker).code == "InvalidMarkerException"


def test_listing_needs_a_policy(worker: Worker) -> None:
    """No grant allows ListGrants, and nobody without a policy lists what a principal may retire."""
    key = worker.create()
    grant(worker, key.key_id, "Encrypt", "DescribeKey")
    assert worker.refusal("ListGrants", by=BOB, key_id=key.key_id).code == DENIED
    assert worker.refusal("ListRetirableGrants", by=BOB, retiring_principal=BOB.arn).code == DENIED


def test_retirable_grants_are_those_of_the_callers_account(make_host: Make) -> None:
    worker = make_host().worker()
    mine, eves = worker.create(), worker.create(by=EVE)
    first = grant(worker, mine.key_id, retiring_principal=BOB.arn)
    second = grant(worker, eves.key_id, to=EVE, by=EVE, retiring_principal=BOB.arn)
    grant(worker, mine.key_id, retiring_principal=EVE.arn)
    listed = worker.call("ListRetirableGrants", retiring_principal=BOB.arn).grants
    assert [entry.grant_id for entry in listed] == [first.grant_id, second.grant_id]
    assert [entry.key_id for entry in listed] == [mine.arn, eves.arn]
    assert worker.refusal("ListRetirableGrants", retiring_principal=EVE.arn).code == DENIED
    by_service = {"retiring_service_principal": "s3.amazonaws.com"}
    ours = grant(worker, mine.key_id, **by_service)
    grant(worker, eves.key_id, to=EVE, by=EVE, **by_service)
    listed = worker.call("ListRetirableGrants", **by_service).grants
    assert [entry.grant_id for entry in listed] == [ours.grant_id]


def test_the_quota_of_a_key(make_host: Make) -> None:
    worker = make_host(quotas={"grants_per_key": 2}).worker()
    key = worker.create()
    first = grant(worker, key.key_id, name="n")
    grant(worker, key.key_id)
    fields = {"key_id": key.key_id, "grantee_principal": BOB.arn, "operations": numbers("Decrypt")}
    assert worker.refusal("CreateGrant", **fields).code == "LimitExceededException"
    assert grant(worker, key.key_id, name="n").grant_id == first.grant_id, "no new grant"
    assert grant(worker, worker.create().key_id)
    worker.call("RevokeGrant", key_id=key.key_id, grant_id=first.grant_id)
    assert worker.call("CreateGrant", **fields)


# --- other workers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RetireGrant", "RevokeGrant"])
def test_another_worker_obeys_at_once(host: Host, name: str) -> None:
    worker, other = host.worker(), host.worker()
    key = worker.create()
    assert not encrypts(other, key)
    for _ in range(3):
        made = made_for(worker, key)
        assert encrypts(other, key) and encrypts(other, key)
        worker.call(name, **made)
        assert not encrypts(other, key)


@pytest.mark.parametrize("name", ["RetireGrant", "RevokeGrant"])
@pytest.mark.parametrize("streamed", ["EncryptStream", "DecryptStream"])
def test_a_running_stream_of_another_worker_ends_at_its_next_message(host: Host, name: str, streamed: str) -> None:
    worker, other = host.worker(), host.worker()
    key = worker.create()
    content = bytes(4096)
    written = streams.encrypt(worker, key.key_id, content)
    kept = made_for(worker, key, more=("GenerateDataKey", "Decrypt"))
    made = made_for(worker, key, more=("GenerateDataKey", "Decrypt"))
    encrypting = streams.encrypting(key.arn, content, 1000)
    messages = list(encrypting if streamed == "EncryptStream" else streams.decrypting(written, 1500))
    stream = streams.Stream(other, streamed, by=BOB)
    stream.send(messages[0])
    worker.call(name, **made)
    stream.send(messages[1])  # by the other grant
    worker.call(name, **kept)
    assert refusal_of(lambda: stream.send(messages[2])).code == DENIED


def test_a_grant_that_fits_none_leaves_other_keys_warm(worker: Worker) -> None:
    key, other = worker.create(), worker.create()
    worker.encrypt(other.key_id)
    grant(worker, key.key_id)
    operation = OPERATIONS["Encrypt"]
    raw = operation.request(key_id=other.key_id, plaintext=b"p").SerializeToString()
    assert worker.executor.warm(operation, worker.credentials(), raw) is not None


# --- condition keys --------------------------------------------------------------------------------------------------

FACTS: list[tuple[str, str, list[str] | str, dict[str, Any], bool]] = [
    # operator, condition key, value, what is sent, allowed
    ("ForAllValues:StringEquals", "kms:GrantOperations", ["Encrypt", "Decrypt"], {"operations": ("Encrypt",)}, True),
    ("ForAllValues:StringEquals", "kms:GrantOperations", ["Encrypt"], {"operations": ("Encrypt", "Decrypt")}, False),
    ("ForAnyValue:StringEquals", "kms:GrantOperations", ["kms:Encrypt"], {"operations": ("Encrypt",)}, False),
    ("StringEquals", "kms:GranteePrincipal", BOB.arn, {}, True),
    ("StringEquals", "kms:GranteePrincipal", EVE.arn, {}, False),
    ("StringEquals", "kms:RetiringPrincipal", EVE.arn, {"retiring_principal": EVE.arn}, True),
    ("StringEquals", "kms:RetiringPrincipal", EVE.arn, {}, False),
    ("Null", "kms:RetiringPrincipal", "true", {}, True),
    ("StringEquals", "kms:GrantConstraintType", "EncryptionContextSubset", {"constraints": SUBSET}, True),
    ("StringEquals", "kms:GrantConstraintType", "EncryptionContextSubset", {"constraints": EQUAL}, False),
    ("StringEquals", "kms:GrantConstraintType", "EncryptionContextEquals", {"constraints": EQUAL}, True),
    ("Null", "kms:GrantConstraintType", "true", {}, True),
    ("Bool", "kms:GrantIsForAWSResource", "true", {}, False),
    ("Bool", "kms:GrantIsForAWSResource", "false", {}, True),
    ("StringEquals", "kms:EncryptionContext:a", "1", {"constraints": SUBSET}, True),
    ("StringEquals", "kms:EncryptionContext:a", "1", {}, False),
]


@pytest.mark.parametrize(("operator", "name", "value", "sent", "allowed"), FACTS)
def test_condition_keys(
    make_host: Make, operator: str, name: str, value: Any, sent: dict[str, Any], allowed: bool
) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "kms:CreateGrant",
        "Resource": "*",
        "Condition": {operator: {name: value}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[1]["policies"] = [policy]
    worker = make_host(principals=callers).worker()
    fields: dict[str, Any] = {"key_id": worker.create().key_id, "grantee_principal": BOB.arn, **sent}
    fields["operations"] = numbers(*sent.get("operations", ("Encrypt",)))
    if allowed:
        assert worker.call("CreateGrant", by=BOB, **fields)
    else:
        assert worker.refusal("CreateGrant", by=BOB, **fields).code == DENIED


@pytest.mark.parametrize("operation", ["CreateGrant", "ListGrants", "RevokeGrant"])
def test_a_grant_is_for_a_service_where_a_service_calls(make_host: Make, operation: str) -> None:
    condition = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    statement = {"Effect": "Allow", "Action": f"kms:{operation}", "Resource": "*", "Condition": condition}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
    callers[1]["policies"] = [policy]
    callers.append({**S3, "arn": f"arn:aws:iam::{ALICE.account}:role/s3", "policies": [policy]})
    worker = make_host(principals=callers).worker()
    key = worker.create()
    fields: dict[str, Any] = {
        "CreateGrant": {"grantee_principal": BOB.arn, "operations": numbers("Encrypt")},
        "RevokeGrant": {"grant_id": grant(worker, key.key_id).grant_id},
        "ListGrants": {},
    }[operation]
    assert worker.refusal(operation, by=BOB, key_id=key.key_id, **fields).code == DENIED
    assert worker.call(operation, by=S3["token"], key_id=key.key_id, **fields) is not None
