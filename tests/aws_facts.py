"""Facts that AWS publishes about its operations. They are independent of the product, and each is written once, here.

- `MODEL`: members, limits, errors and enum values, from AWS's service model (tests/contract/extract_aws_model.py)
- `KEY_STATES` and `ANSWERS`: what each operation does to a key in each state, by the sort of key
- `AWS_MANAGED`: who may call an operation on an AWS managed key
- `TAKES_ALIASES`: the operations that accept an alias where others want a key id or key ARN

The last three also name operations that are not built yet, so that building one adds nothing to this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL: dict[str, Any] = json.loads((Path(__file__).parent / "contract" / "aws_model.json").read_text("utf-8"))
SHAPES: dict[str, Any] = MODEL["shapes"]


def errors_of(operation: str) -> set[str]:
    """The errors that AWS's model lists for an operation; none for an operation that AWS does not have."""
    return set(MODEL["operations"].get(operation, {"errors": ()})["errors"])


BEYOND_THE_MODEL = {"DescribeKey": {"InvalidGrantTokenException"}}
"""Errors that AWS's model does not list: DescribeKey takes grant tokens, and they may be wrong."""


def members_of(operation: str) -> set[str]:
    """The members of an operation's request, in AWS's spelling; none for an operation that AWS does not have."""
    described = MODEL["operations"].get(operation)
    return set(SHAPES[described["input"]]["members"]) if described else set()


OWN_LIMITS = {
    ("DecryptRequest", "CiphertextBlob"): (1, 65663, "a batch seals items of 64 KiB, and Decrypt opens each of them"),
    ("ReEncryptRequest", "CiphertextBlob"): (1, 65663, "as Decrypt"),
    ("CreateKeyRequest", "Tags"): (None, 200, "AWS answers TagException beyond 50; a list needs an upper limit"),
    ("TagResourceRequest", "Tags"): (None, 200, "as CreateKey"),
    ("UntagResourceRequest", "TagKeys"): (None, 200, "as CreateKey"),
    ("DecryptRequest", "DryRunModifiers"): (None, 10, "AWS has one value and no upper limit"),
    ("ReEncryptRequest", "DryRunModifiers"): (None, 10, "as Decrypt"),
    ("ListAliasesRequest", "Limit"): (1, 100, "AWS's text says 1 to 100; its shape is shared with ListKeys"),
    ("CreateGrantRequest", "Operations"): (1, 100, "AWS's text says at least one; a list needs an upper limit"),
    ("ListGrantsRequest", "Limit"): (1, 100, "as ListAliases"),
    ("ListRetirableGrantsRequest", "Limit"): (1, 100, "as ListAliases"),
    ("ListResourceTagsRequest", "Limit"): (1, 50, "AWS's text says 1 to 50; its shape is shared with ListKeys"),
    ("ScheduleKeyDeletionRequest", "PendingWindowInDays"): (7, 30, "AWS's text; its shape says 1 to 365"),
}
"""Limits that differ from AWS's shape: (message, member) to the smallest, the largest, and the reason."""


def limits_of(message: str, member: str, shape: str) -> tuple[int | None, int | None]:
    """The smallest and largest size of a member of type `shape`; None where there is no such limit."""
    own = OWN_LIMITS.get((message, member))
    return own[:2] if own else (SHAPES[shape].get("min"), SHAPES[shape].get("max"))


# --- key states --------------------------------------------------------------------------------------------------

STATES = (
    *("Enabled", "Disabled", "PendingDeletion", "PendingReplicaDeletion"),
    *("PendingImport", "Unavailable", "Creating", "Updating"),
)
_TABLE = """
                                     Enabled Disabled PD PRD  PendingImport Unavailable Creating Updating
CancelKeyDeletion                    4       4        OK OK   4             4           4        4
CreateAlias                          OK      OK       3  3r   OK            OK          OK       OK
CreateGrant                          OK      1        3  3r   5             OK          14       OK
Decrypt                              OK      1        3  3r   5             11          14       OK
Encrypt                              OK      1        3  3r   5             11          14       OK
ReEncrypt                            OK      1        3  3r   5             11          14       OK
GenerateDataKey                      OK      1        3  3r   5             11          14       OK
GenerateDataKeyWithoutPlaintext      OK      1        3  3r   5             11          14       OK
GenerateDataKeyPair                  OK      1        3  3r   5             11          14       OK
GenerateDataKeyPairWithoutPlaintext  OK      1        3  3r   5             11          14       OK
DeleteAlias                          OK      OK       OK OK   OK            OK          OK       OK
DeleteImportedKeyMaterial            9       9        9  9    9             9           14       15
DescribeKey                          OK      OK       OK OK   OK            OK          OK       OK
GetKeyPolicy                         OK      OK       OK OK   OK            OK          OK       OK
ListAliases                          OK      OK       OK OK   OK            OK          OK       OK
ListGrants                           OK      OK       OK OK   OK            OK          OK       OK
ListKeyPolicies                      OK      OK       OK OK   OK            OK          OK       OK
ListResourceTags                     OK      OK       OK OK   OK            OK          OK       OK
PutKeyPolicy                         OK      OK       OK OK   OK            OK          OK       OK
RetireGrant                          OK      OK       OK OK   OK            OK          OK       OK
RevokeGrant                          OK      OK       OK OK   OK            OK          OK       OK
DisableKey                           OK      OK       3  3r   5             OK          14       15
EnableKey                            OK      OK       3  3r   5             OK          14       15
EnableKeyRotation                    7       1        3  3r   6             6           14       7
DisableKeyRotation                   7       1        3  3r   6             6           14       7
GetKeyRotationStatus                 7       7        7  7    6             6           14       7
GenerateMac                          OK      1        3  3r   5             11          14       OK
VerifyMac                            OK      1        3  3r   5             11          14       OK
Sign                                 OK      1        3  3r   5             11          14       OK
Verify                               OK      1        3  3r   5             11          14       OK
GetPublicKey                         OK      1        3  3r   5             11          14       OK
GetParametersForImport               9       9        89 89r  9             9           14       15
ImportKeyMaterial                    9       9        89 89r  9             9           14       9
ReplicateKey                         16      1        3  3r   5             11          14       15
ScheduleKeyDeletion                  OK      OK       3  3r   OK            OK          OK       15
TagResource                          OK      OK       3  3r   OK            OK          OK       OK
UntagResource                        OK      OK       3  3r   OK            OK          OK       OK
UpdateKeyDescription                 OK      OK       3  3r   OK            OK          OK       OK
UpdateAlias                          OK      OK       3  3r   OK            OK          OK       OK
UpdatePrimaryRegion                  16      1        3  3r   5             11          14       16
RotateKeyOnDemand                    7'      1        3  3r   5             7'          14       15
ListKeyRotations                     7l      7l       7l 7l   7l            7l          7l       7l
GetKeyLastUsage                      OK      OK       OK OK   OK            OK          OK       OK
DeriveSharedSecret                   OK      1        3  3r   5             11          14       OK
"""
KEY_STATES = {line.split()[0]: line.split()[1:] for line in _TABLE.strip().splitlines()[1:]}
"""For each operation a code of ANSWERS per state, in the order of STATES.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html. Where the page leaves the error of a key
pending deletion open, it is KMSInvalidStateException. Rows that the page lacks are recorded, or follow similar rows.
"""

Answer = tuple[str, str] | None
"""The error's code and text; None where the operation goes on."""

EXTERNAL = ("external", "external with material pending rotation")
ORIGIN = ("UnsupportedOperationException", "{arn} origin is {origin} which is not valid for this operation.")
SPEC = ("UnsupportedOperationException", "{arn} key spec is {spec} which is not valid for this operation.")
PENDING_DELETION = ("KMSInvalidStateException", "{arn} is pending deletion.")
PENDING_REPLICA_DELETION = ("KMSInvalidStateException", "{arn} is pending replica deletion.")
IN_STORES = dict.fromkeys(("in a store", "in an external store"), ORIGIN)
ANSWERS: dict[str, dict[str, Answer]] = {
    "OK": {"*": None},
    "1": {"*": ("DisabledException", "{arn} is disabled.")},
    "3": {"*": PENDING_DELETION},
    "3r": {"*": PENDING_REPLICA_DELETION},
    "4": {"*": ("KMSInvalidStateException", "{arn} is not pending deletion.")},
    "5": {"*": ("KMSInvalidStateException", "{arn} is pending import.")},
    "6": {"*": ORIGIN},
    "7": {"*": None, **dict.fromkeys(EXTERNAL, ORIGIN), **IN_STORES, "rsa": SPEC, "hmac": SPEC},
    "7'": {
        "*": None,
        **IN_STORES,
        **dict.fromkeys(("rsa", "hmac"), ("UnsupportedOperationException", "")),
        "external": (
            "KMSInvalidStateException",
            "No available key material pending rotation for the key: {arn}.",
        ),
    },
    "7l": {"*": None, **IN_STORES, "rsa": SPEC, "hmac": SPEC},
    "89": {"*": ORIGIN, **dict.fromkeys(EXTERNAL, PENDING_DELETION)},
    "89r": {"*": ORIGIN, **dict.fromkeys(EXTERNAL, PENDING_REPLICA_DELETION)},
    "9": {"*": ORIGIN, **dict.fromkeys(EXTERNAL, None)},
    "11": {"*": ("KMSInvalidStateException", "{arn} is unavailable.")},
    "14": {"*": ("KMSInvalidStateException", "{arn} is creating.")},
    "15": {"*": ("KMSInvalidStateException", "{arn} is updating.")},
    "16": {"*": ("UnsupportedOperationException", "{arn} is not a multi-region primary key."), "multi-region": None},
}
"""For each code the answer by the sort of key; "*" stands for every other sort."""


def answer_in(operation: str, state: str, sort: str = "symmetric") -> Answer:
    """The published answer of an operation for a key of that state and sort."""
    answers = ANSWERS[KEY_STATES[operation][STATES.index(state)]]
    return answers.get(sort, answers["*"])


# --- kinds of keys, names of keys --------------------------------------------------------------------------------

AWS_MANAGED = {
    "ACCOUNT": """DescribeKey GetKeyLastUsage GetKeyPolicy ListAliases ListGrants ListKeyPolicies ListResourceTags
        GetKeyRotationStatus ListKeyRotations GetPublicKey GetParametersForImport RevokeGrant""",
    "SERVICE": """Encrypt Decrypt ReEncrypt GenerateDataKey GenerateDataKeyWithoutPlaintext
        GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext GenerateMac VerifyMac Sign Verify
        DeriveSharedSecret CreateGrant RetireGrant""",
    "NOBODY": """EnableKey DisableKey PutKeyPolicy TagResource UntagResource
        UpdateKeyDescription CreateAlias UpdateAlias DeleteAlias ScheduleKeyDeletion CancelKeyDeletion EnableKeyRotation
        DisableKeyRotation RotateKeyOnDemand ImportKeyMaterial DeleteImportedKeyMaterial
        ReplicateKey UpdatePrimaryRegion""",
}
"""Operations by who may call them on an AWS managed key: its account, the service that owns the key, or nobody. Its
policy lets the account do all that begins with Describe, Get or List; what does not fit the key is refused anyway.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""

TAKES_ALIASES = {
    *("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair"),
    *("GenerateDataKeyPairWithoutPlaintext", "GenerateMac", "VerifyMac", "Sign", "Verify", "DeriveSharedSecret"),
    *("DescribeKey", "GetPublicKey"),
}
"""Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-alias-name"""
