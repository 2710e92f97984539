"""One table of cases through both doors: the same call gives the same answer, the same error and the same text; and
every operation, with every error that AWS's model gives it, is in the table or in a list that says why it can't be.
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
from tests.aws.doors import OPERATIONS, Door, Refused
from tests.aws.world import World
from tests.aws_facts import KEY_STATES, answer_in

MODEL: ServiceModel = botocore.session.Session().get_service_model("kms")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MATERIAL = re.compile(r"\b[0-9a-f]{64}\b")
ALIAS = re.compile(r"alias/case-[0-9]+-[0-9]+")

NOT_HERE: Mapping[str, str] = {
    "CloudHsmClusterInvalidConfiguration": "custom key stores are not built: UnsupportedOperationException names them",
    "ConflictException": "an automatic rotation is due within 20 minutes: test_due_work.py",
    "CustomKeyStore": "custom key stores are not built",
    "DependencyTimeoutException": "the disk does not answer: test_trouble.py",
    "ExpiredImportTokenException": "24 hours: test_due_work.py",
    "InvalidGrantTokenException": "grants are not built: UnsupportedOperationException names GrantTokens",
    "InvalidKeyUsageException": "keys of other usages are not built",
    "KeyUnavailableException": "a key was changed on the disk: test_trouble.py",
    "KMSInternalException": "a defect; what answers it is tests/operations/test_audit.py",
    "MalformedPolicyDocumentException": "key policies are not built: UnsupportedOperationException names Policy",
    "Xks": "custom key stores are not built",
    "CreateKey InvalidArnException": "no member of it takes an ARN that is built",
    "CreateKey LimitExceededException": "the account's quota of keys: test_trouble.py",
    "EnableKey LimitExceededException": "AWS's older quota of enabled keys; no quota here looks at the state",
    "ListKeyRotations UnsupportedOperationException": "keys that cannot rotate are not built",
    "RotateKeyOnDemand UnsupportedOperationException": "keys that cannot rotate are not built",
    "TagResource LimitExceededException": "AWS names two errors for too many tags: TagException is answered",
}
"""Errors of the model without a case, by the beginning of their name or with their operation, and the reason."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_both_doors_answer_alike(case: Case, doors: dict[str, Door]) -> None:
    told = {name: _told(case, door) for name, door in doors.items()}
    assert told["aws"] == told["grpc"]


def _told(case: Case, door: Door) -> Any:
    """Returns the answer without random parts. An error is compared with the case's."""
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
    """Ids are numbered as they come, dates are dates, bytes are so many; what is empty is left out, for a door without
    presence."""
    if isinstance(value, dict):
        told = {member: _comparable(inside, seen, member) for member, inside in sorted(value.items())}
        return {member: inside for member, inside in told.items() if inside not in ("", False, 0, [])}
    if isinstance(value, list):
        return [_comparable(item, seen, name) for item in value]
    if isinstance(value, datetime.datetime):
        return "a date"
    if isinstance(value, bytes):
        return value if value == b"plaintext" else f"{len(value)} bytes"
    if name == "NextMarker":
        return f"a marker of {len(value)}"
    return _anonymous(value, seen) if isinstance(value, str) else value


def _anonymous(text: str, seen: dict[str, str]) -> str:
    for pattern in (UUID, MATERIAL, ALIAS):
        text = pattern.sub(lambda found: seen.setdefault(found[0], f"<{len(seen)}>"), text)
    return text


# --- nothing is left out -----------------------------------------------------------------------------------------


def test_operations_are_those_of_aws_or_belong_to_the_envelope_service() -> None:
    assert set(OPERATIONS) <= set(MODEL.operation_names)
    others = {operation.name: operation.service for operation in TABLE if operation.name not in OPERATIONS}
    assert not set(others) & set(MODEL.operation_names), f"AWS's clients do not reach {others}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_and_every_error_of_it_has_a_case(operation: str) -> None:
    rows = {case.error for case in CASES if case.operation == operation}
    assert "" in rows, "no case that succeeds"
    missing = {shape.name for shape in MODEL.operation_model(operation).error_shapes} - rows
    assert {error for error in missing if not _is_excused(operation, error)} == set()


def _is_excused(operation: str, error: str) -> bool:
    if error == "KMSInvalidStateException" and operation in KEY_STATES:
        told = [answer_in(operation, state, sort) for state, sort in REACHABLE.items()]
        if not any(answer and answer[0] == error for answer in told):
            return True  # no state that calls lead to is refused, as published
    return f"{operation} {error}" in NOT_HERE or any(error.startswith(name) for name in NOT_HERE)


def test_every_exception_is_needed() -> None:
    rows = {name for case in CASES for name in (case.error, f"{case.operation} {case.error}")} - {""}
    assert {name for name in NOT_HERE if name in rows} == set()
    assert all(NOT_HERE.values())


def test_no_case_stands_twice() -> None:
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)
