"""The answers of each operation for keys of each state, origin, spec and kind, by AWS's published table
(tests/aws_facts.py), which has operations that are not built as well; and the changes of state.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kms_grpc.errors import KMSError
from kms_grpc.model.key import Key, KeyState, Material, MaterialState, Origin
from kms_grpc.model.key_state import RULES, refusal
from kms_grpc.model.key_transitions import FIRST_STATE, TRANSITIONS, Event, after, as_of, state_after, with_materials
from tests.aws_facts import ANSWERS, KEY_STATES, MODEL, STATES

S = KeyState
KEY = Key("k", "arn:aws:kms:r:1:key/k", "1", "r", KeyState.ENABLED, "", 1, b"m" * 32)
KEYS = {
    "symmetric": KEY,
    "external": replace(KEY, origin=Origin.EXTERNAL),
    "external with material pending rotation": replace(KEY, origin=Origin.EXTERNAL, pending_material_id=b"n" * 32),
    "rsa": replace(KEY, spec="RSA_2048"),
    "hmac": replace(KEY, spec="HMAC_256"),
    "in a store": replace(KEY, origin=Origin.AWS_CLOUDHSM),
    "in an external store": replace(KEY, origin=Origin.EXTERNAL_KEY_STORE),
    "multi-region": replace(KEY, multi_region=True),
}
CELLS = [
    pytest.param(name, state, code, sort, id=f"{name}-{state}-{sort}-{code}")
    for name, codes in KEY_STATES.items()
    for state, code in zip(STATES, codes, strict=True)
    for sort in KEYS
]


def told(error: KMSError | None) -> tuple[str, str, str | None, str | None] | None:
    return None if error is None else (error.code, error.text, error.key, error.state)


@pytest.mark.parametrize(("name", "state", "code", "sort"), CELLS)
def test_cell(name: str, state: str, code: str, sort: str) -> None:
    key = replace(KEYS[sort], state=KeyState(state))
    answer = ANSWERS[code].get(sort, ANSWERS[code]["*"])
    error = told(refusal(RULES[name], key))
    if answer is None:
        assert error is None
        return
    assert error == (answer[0], answer[1].format(arn=key.arn, origin=key.origin, spec=key.spec), key.arn, state)


def test_every_operation_on_a_key_has_its_row_here_and_in_the_table() -> None:
    """The operations that have no key have no row."""
    assert set(KEY_STATES) == set(RULES)
    assert set(MODEL["operations"]) - set(RULES) == {"CreateKey", "ListKeys", "GenerateRandom", "ListRetirableGrants"}


# --- from state to state -----------------------------------------------------------------------------------------

PATHS = """
                     Enabled         Disabled        PendingImport
EnableKey            Enabled         Enabled         -
DisableKey           Disabled        Disabled        -
ScheduleKeyDeletion  PendingDeletion PendingDeletion PendingDeletion
CancelKeyDeletion    -               -               -
ImportKeyMaterial    Enabled         Disabled        Enabled
lost                 PendingImport   PendingImport   PendingImport
"""


@pytest.mark.parametrize("line", PATHS.strip().splitlines()[1:])
def test_paths_of_an_external_key(line: str) -> None:
    """ "-" stands for an operation that is refused. An import into a disabled key leaves it disabled."""
    what, *ends = line.split()
    event = Event.MATERIAL_LOST if what == "lost" else Event(what)
    for begin, end in zip((S.ENABLED, S.DISABLED, S.PENDING_IMPORT), ends, strict=True):
        if end != "-":
            key = replace(KEYS["external"], state=begin, material_missing=event is Event.MATERIAL_LOST)
            assert state_after(key, event) == end


@pytest.mark.parametrize(
    ("begin", "event", "missing", "end"),
    [
        (S.PENDING_DELETION, Event.DELETION_CANCELLED, False, S.DISABLED),  # never straight to Enabled
        (S.PENDING_DELETION, Event.DELETION_CANCELLED, True, S.PENDING_IMPORT),
        (S.PENDING_REPLICA_DELETION, Event.DELETION_CANCELLED, False, S.DISABLED),
        (S.PENDING_DELETION, Event.MATERIAL_LOST, True, S.PENDING_DELETION),
        (S.PENDING_IMPORT, Event.MATERIAL_IMPORTED, True, S.PENDING_IMPORT),  # another material is missing still
        (S.CREATING, Event.DELETION_SCHEDULED, False, S.PENDING_DELETION),
        (S.UNAVAILABLE, Event.DELETION_SCHEDULED, False, S.PENDING_DELETION),
        (S.PENDING_REPLICA_DELETION, Event.LAST_REPLICA_DELETED, False, S.PENDING_DELETION),
        (S.CREATING, Event.REPLICA_MADE, False, S.ENABLED),
        (S.CREATING, Event.REPLICA_MADE, True, S.PENDING_IMPORT),
        (S.ENABLED, Event.PRIMARY_CHANGING, False, S.UPDATING),
        (S.UPDATING, Event.PRIMARY_CHANGED, False, S.ENABLED),
    ],
)
def test_paths(begin: KeyState, event: Event, missing: bool, end: KeyState) -> None:
    assert after(replace(KEY, state=begin, material_missing=missing), event).state is end


def test_only_imports_and_enabling_make_a_key_enabled() -> None:
    enabling = {event for event, paths in TRANSITIONS.items() if S.ENABLED in paths.values()}
    assert enabling == {Event.ENABLED, Event.MATERIAL_IMPORTED, Event.REPLICA_MADE, Event.PRIMARY_CHANGED}
    assert {origin for origin, state in FIRST_STATE.items() if state is S.PENDING_IMPORT} == {Origin.EXTERNAL}


@pytest.mark.parametrize(
    ("state", "expires_ns", "now_ns", "end"),
    [
        (S.ENABLED, 10, 9, S.ENABLED),
        (S.ENABLED, 10, 10, S.PENDING_IMPORT),  # at the moment
        (S.DISABLED, 10, 11, S.PENDING_IMPORT),
        (S.PENDING_DELETION, 10, 11, S.PENDING_DELETION),
        (S.ENABLED, None, 1 << 62, S.ENABLED),
    ],
)
def test_material_expires_at_its_date(state: KeyState, expires_ns: int | None, now_ns: int, end: KeyState) -> None:
    key = as_of(replace(KEYS["external"], state=state, expires_ns=expires_ns), now_ns)
    assert (key.state, key.material_missing) == (end, expires_ns is not None and now_ns >= expires_ns)


def _material(state: MaterialState, there: bool = True, expires_ns: int | None = None) -> Material:
    return Material("k", "1", state.encode(), b"w" if there else None, 1, Origin.EXTERNAL, state, expires_ns)


M = MaterialState


@pytest.mark.parametrize(
    ("materials", "missing", "expires_ns", "pending"),
    [
        ([], True, None, False),
        ([_material(M.CURRENT)], False, None, False),
        ([_material(M.CURRENT, expires_ns=9), _material(M.NON_CURRENT, expires_ns=7)], False, 7, False),
        ([_material(M.CURRENT), _material(M.NON_CURRENT, there=False)], True, None, False),
        ([_material(M.CURRENT), _material(M.PENDING_ROTATION, expires_ns=3)], False, None, True),
        ([_material(M.PENDING_ROTATION)], True, None, True),
    ],
)
def test_columns_that_follow_from_materials(
    materials: list[Material], missing: bool, expires_ns: int | None, pending: bool
) -> None:
    """A material that waits for a rotation has no influence on the columns but pending_material_id."""
    key = with_materials(KEYS["external"], materials)
    assert (key.material_missing, key.expires_ns, key.pending_material_id is not None) == (missing, expires_ns, pending)
