"""The operations that a key's state, origin, spec and kind allow: one table for all operations of AWS KMS.

A row stands for operations, a column for a key state. A cell holds checks, made in order; an empty cell allows the
operation. The published table is https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html. Where it leaves
the error of a key pending deletion open (Disabled or KMSInvalidState), the answer here is KMSInvalidStateException.
If a cell checks both, the state comes before origin and spec for rotation, as AWS was seen to answer (a disabled RSA
key is DisabledException), and after them for importing, as published. key_transitions.py has the changes of state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kms_grpc.errors import DisabledException, KMSError, KMSInvalidStateException, UnsupportedOperationException
from kms_grpc.model.key import Key, KeyState, Origin
from kms_grpc.model.key_spec import is_symmetric_encryption

S = KeyState


def _always(key: Key) -> bool:
    return True


def _is_asymmetric(key: Key) -> bool:
    return not is_symmetric_encryption(key.spec)


def _is_in_a_key_store(key: Key) -> bool:
    return key.origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE)


@dataclass(frozen=True, slots=True)
class Check:
    """One reason to refuse: the class of the error, its text with {arn}, {origin} and {spec}, and the keys refused."""

    error: type[KMSError]
    text: str
    refuses: Callable[[Key], bool] = _always


def _state(text: str) -> Check:
    return Check(KMSInvalidStateException, f"{{arn}} {text}")


def _unsupported(text: str, refuses: Callable[[Key], bool] = _always) -> Check:
    return Check(UnsupportedOperationException, text, refuses)


_ORIGIN = "{arn} origin is {origin} which is not valid for this operation."

DISABLED = Check(DisabledException, "{arn} is disabled.")
PENDING_DELETION = _state("is pending deletion.")
PENDING_REPLICA_DELETION = _state("is pending replica deletion.")
NOT_PENDING_DELETION = _state("is not pending deletion.")
PENDING_IMPORT = _state("is pending import.")
UNAVAILABLE = _state("is unavailable.")
CREATING = _state("is creating.")
UPDATING = _state("is updating.")
ORIGIN = _unsupported(_ORIGIN)
NOT_AWS_KMS = _unsupported(_ORIGIN, lambda key: key.origin is not Origin.AWS_KMS)
NOT_EXTERNAL = _unsupported(_ORIGIN, lambda key: key.origin is not Origin.EXTERNAL)
IN_A_KEY_STORE = _unsupported(_ORIGIN, _is_in_a_key_store)
ASYMMETRIC = _unsupported("{arn} key spec is {spec} which is not valid for this operation.", _is_asymmetric)
ASYMMETRIC_WITHOUT_TEXT = _unsupported("", _is_asymmetric)
"""The refusal of RotateKeyOnDemand, to which AWS gives no text."""
SINGLE_REGION = _unsupported("{arn} is not a multi-region primary key.", lambda key: not key.multi_region)
NOTHING_TO_ROTATE_TO = Check(
    KMSInvalidStateException,
    "No available key material pending rotation for the key: {arn}.",
    lambda key: key.origin is Origin.EXTERNAL and key.pending_material_id is None,
)


Cell = tuple[Check, ...]
_STATES = (
    S.ENABLED,
    S.DISABLED,
    S.PENDING_DELETION,
    S.PENDING_REPLICA_DELETION,
    S.PENDING_IMPORT,
    S.UNAVAILABLE,
    S.CREATING,
    S.UPDATING,
)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A row of the table: what an operation checks in each key state."""

    cells: Mapping[KeyState, Cell] = field(repr=False)


def _row(*cells: Check | Cell) -> Rule:
    tuples = [cell if isinstance(cell, tuple) else (cell,) for cell in cells]
    return Rule(dict(zip(_STATES, tuples, strict=True)))


_OK: Cell = ()
_PD = (PENDING_DELETION, PENDING_REPLICA_DELETION)
_FIT = (NOT_AWS_KMS, ASYMMETRIC)
_FIT_ON_DEMAND = (ASYMMETRIC_WITHOUT_TEXT, IN_A_KEY_STORE, NOTHING_TO_ROTATE_TO)
_LISTED = (ASYMMETRIC, IN_A_KEY_STORE)
_EXT = NOT_EXTERNAL
_EXT_PD = ((NOT_EXTERNAL, PENDING_DELETION), (NOT_EXTERNAL, PENDING_REPLICA_DELETION))
_NOT_PD = NOT_PENDING_DELETION
_REPLICATED = (SINGLE_REGION,)

# fmt: off
#              Enabled         Disabled   PD, PRD   PendingImport   Unavailable     Creating  Updating
ANY =      _row(_OK,            _OK,       _OK, _OK, _OK,            _OK,            _OK,      _OK)
USE =      _row(_OK,            DISABLED,  *_PD,     PENDING_IMPORT, UNAVAILABLE,    CREATING, _OK)
GRANT =    _row(_OK,            DISABLED,  *_PD,     PENDING_IMPORT, _OK,            CREATING, _OK)
CHANGE =   _row(_OK,            _OK,       *_PD,     _OK,            _OK,            _OK,      _OK)
SWITCH =   _row(_OK,            _OK,       *_PD,     PENDING_IMPORT, _OK,            CREATING, UPDATING)
SCHEDULE = _row(_OK,            _OK,       *_PD,     _OK,            _OK,            _OK,      UPDATING)
CANCEL =   _row(_NOT_PD,        _NOT_PD,   _OK, _OK, _NOT_PD,        _NOT_PD,        _NOT_PD,  _NOT_PD)
ROTATION = _row(_FIT,           DISABLED,  *_PD,     ORIGIN,         ORIGIN,         CREATING, _FIT)
STATUS =   _row(_FIT,           _FIT,      _FIT, _FIT, ORIGIN,       ORIGIN,         CREATING, _FIT)
ROTATE =   _row(_FIT_ON_DEMAND, DISABLED,  *_PD,     PENDING_IMPORT, _FIT_ON_DEMAND, CREATING, UPDATING)
ROTATED =  _row(_LISTED,        _LISTED,   _LISTED, _LISTED, _LISTED, _LISTED,       _LISTED,  _LISTED)
PARAMS =   _row(_EXT,           _EXT,      *_EXT_PD, _EXT,           _EXT,           CREATING, UPDATING)
IMPORT =   _row(_EXT,           _EXT,      *_EXT_PD, _EXT,           _EXT,           CREATING, _EXT)
LOSE =     _row(_EXT,           _EXT,      _EXT, _EXT, _EXT,         _EXT,           CREATING, UPDATING)
COPY =     _row(_REPLICATED,    DISABLED,  *_PD,     PENDING_IMPORT, UNAVAILABLE,    CREATING, UPDATING)
MOVE =     _row(_REPLICATED,    DISABLED,  *_PD,     PENDING_IMPORT, UNAVAILABLE,    CREATING, _REPLICATED)
# fmt: on

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("DescribeKey", "GetKeyLastUsage", "GetKeyPolicy", "ListAliases", "ListGrants", "ListKeyPolicies"),
            "ListResourceTags",
        ),
        ANY,
    ),
    **dict.fromkeys(("DeleteAlias", "PutKeyPolicy", "RetireGrant", "RevokeGrant"), ANY),
    **dict.fromkeys(
        (
            *("Decrypt", "Encrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
            *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "GenerateMac", "VerifyMac"),
            *("Sign", "Verify", "GetPublicKey", "DeriveSharedSecret"),
        ),
        USE,
    ),
    "CreateGrant": GRANT,
    **dict.fromkeys(("CreateAlias", "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription"), CHANGE),
    **dict.fromkeys(("DisableKey", "EnableKey"), SWITCH),
    "ScheduleKeyDeletion": SCHEDULE,
    "CancelKeyDeletion": CANCEL,
    **dict.fromkeys(("DisableKeyRotation", "EnableKeyRotation"), ROTATION),
    "GetKeyRotationStatus": STATUS,
    "RotateKeyOnDemand": ROTATE,
    "ListKeyRotations": ROTATED,
    "GetParametersForImport": PARAMS,
    "ImportKeyMaterial": IMPORT,
    "DeleteImportedKeyMaterial": LOSE,
    "ReplicateKey": COPY,
    "UpdatePrimaryRegion": MOVE,
}
"""The rule of each operation. That of UpdateAlias is for the new target; for the old target it is ANY."""


def refusal(rule: Rule, key: Key) -> KMSError | None:
    """Returns the error that `rule` has for `key`, or None if the operation is allowed. The texts are AWS's."""
    for check in rule.cells[key.state]:
        if check.refuses(key):
            text = check.text.format(arn=key.arn, origin=key.origin, spec=key.spec)
            return check.error(text, key=key.arn, state=key.state)
    return None
