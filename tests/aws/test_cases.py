"""Runs the table of cases through both doors: a call gives the same response, or the same error and text.

Every operation and every error that AWS's model lists for it is in the table, or in NOT_HERE with the reason.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel

from kms_grpc.operations.table import TABLE
from tests.aws.cases import CASES, REACHABLE, Case
from tests.aws.doors import OPERATIONS, DoorClient, Refused
from tests.aws.world import World
from tests.aws_facts import KEY_STATES, answer_in

MODEL: ServiceModel = botocore.session.Session().get_service_model("kms")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MATERIAL = re.compile(r"\b[0-9a-f]{64}\b")
"""Ids of key materials and grants."""
ALIAS = re.compile(r"alias/case-[0-9]+-[0-9]+")

NOT_HERE: Mapping[str, str] = {
    "CloudHsmClusterInvalidConfiguration": "custom key stores are not supported yet",
    "ConflictException": "an automatic rotation is due within 20 minutes: test_errors_over_time.py",
    "CustomKeyStore": "custom key stores are not supported yet",
    "DependencyTimeoutException": "the shard is locked: test_storage_and_quota_errors.py",
    "ExpiredImportTokenException": "needs 24 hours: test_errors_over_time.py",
    "InvalidKeyUsageException": "keys of other usages are not supported yet",
    "KeyUnavailableException": "a row was changed on disk: test_storage_and_quota_errors.py",
    "KMSInternalException": "only a defect causes it: tests/operations/test_audit.py",
    "Xks": "external key stores are not supported yet",
    "CreateAlias InvalidAliasNameException": "AWS answers ValidationException instead, as recorded there",
    "CreateKey InvalidArnException": "none of its supported members takes an ARN",
    "CreateGrant LimitExceededException": "a key's quota of grants: tests/operations/test_grants.py",
    "CreateKey LimitExceededException": "the account's quota of keys: test_storage_and_quota_errors.py",
    "EnableKey LimitExceededException": "AWS's former quota of enabled keys; our quota counts keys in any state",
    "ListRetirableGrants NotFoundException": "a well-formed principal counts as existing, as in policies",
    "ListKeyRotations UnsupportedOperationException": "keys that cannot rotate are not supported yet",
    "PutKeyPolicy UnsupportedOperationException": "every key that callers may change takes a policy",
    "RotateKeyOnDemand UnsupportedOperationException": "keys that cannot rotate are not supported yet",
    "TagResource LimitExceededException": "AWS lists two errors for too many tags; we answer with TagException",
}
"""Errors without a row in the table, and the reason: the beginning of a name, or an operation and a name."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_both_doors_respond_alike(case: Case, doors: dict[str, DoorClient]) -> None:
    responses = {name: _response(case, door) for name, door in doors.items()}
    assert responses["aws"] == responses["grpc"]


def _response(case: Case, door: DoorClient) -> Any:
    """Returns the response without random parts. An error must be the expected one."""
    world = World(door)
    members = case.prepare(world)
    try:
        answer = door.call(case.operation, members)
    except Refused as refused:
        assert (refused.code, refused.text) == (case.error, case.text.format(**world.facts))
        return refused.code, _anonymous(refused.text, {})
    assert case.error == "", f"was answered: {answer}"
    return _comparable(answer, {}, case.operation)


def _comparable(value: Any, seen: dict[str, str], name: str) -> Any:
    """Replaces ids by numbers, dates by a word and bytes by their count, and drops empty values, because the gRPC door
    has fields without presence."""
    if isinstance(value, dict):
        members = {member: _comparable(inside, seen, member) for member, inside in sorted(value.items())}
        return {member: inside for member, inside in members.items() if inside not in ("", False, 0, [])}
    if isinstance(value, list):
        return [_comparable(item, seen, name) for item in value]
    if isinstance(value, datetime.datetime):
        return "a date"
    if isinstance(value, bytes):
        return value if value == b"plaintext" else f"{len(value)} bytes"
    if name in ("NextMarker", "GrantToken"):
        return f"{len(value)} characters"
    return _anonymous(value, seen) if isinstance(value, str) else value


def _anonymous(text: str, seen: dict[str, str]) -> str:
    for pattern in (UUID, MATERIAL, ALIAS):
        text = pattern.sub(lambda found: seen.setdefault(found[0], f"<{len(seen)}>"), text)
    return text


# --- completeness of the table -----------------------------------------------------------------------------------


def test_operations_that_aws_lacks_are_in_another_service() -> None:
    assert set(OPERATIONS) <= set(MODEL.operation_names)
    others = {operation.name: operation.service for operation in TABLE if operation.name not in OPERATIONS}
    assert not set(others) & set(MODEL.operation_names), f"AWS's clients cannot call {others}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_and_every_error_of_it_has_a_case(operation: str) -> None:
    rows = {case.error for case in CASES if case.operation == operation}
    assert "" in rows, "no case that succeeds"
    missing = {shape.name for shape in MODEL.operation_model(operation).error_shapes} - rows
    assert {error for error in missing if not _is_excused(operation, error)} == set()


def _is_excused(operation: str, error: str) -> bool:
    if error == "KMSInvalidStateException" and operation in KEY_STATES:
        answers = [answer_in(operation, state, sort) for state, sort in REACHABLE.items()]
        if not any(answer and answer[0] == error for answer in answers):
            return True  # no state that calls lead to is refused, as published
    return f"{operation} {error}" in NOT_HERE or any(error.startswith(name) for name in NOT_HERE)


def test_no_exception_in_the_list_is_outdated() -> None:
    rows = {name for case in CASES for name in (case.error, f"{case.operation} {case.error}")} - {""}
    assert {name for name in NOT_HERE if name in rows} == set()
    assert all(NOT_HERE.values())


def test_case_ids_are_unique() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
