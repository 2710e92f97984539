"""Identity policies: those with a name, and those that a configuration gives as a file or inline.

| name | allows |
|---|---|
| `administrator` | to manage keys, without cryptography: AWS's key administrator |
| `user` | to use keys: AWS's key user |
| `reader` | to list and describe keys, their policies, rotations and public keys |
| `auditor` | to list and describe, and to have decisions explained |
| `full-access` | everything |

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.parsing import parse
from kms_grpc.authorization.policy import Statement, Statements
from kms_grpc.configured_files import DISK, NamedFiles
from kms_grpc.errors import KMSError
from kms_grpc.issuer_settings import MappingSettings
from kms_grpc.misfits import ConfigurationError
from kms_grpc.principal_settings import PrincipalSettings, is_inline, policy_file

_LISTS: Final = ("kms:List*", "kms:DescribeKey", "kms:DescribeCustomKeyStores")
_DESCRIBES: Final = ("kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:GetKeyLastUsage")

BUILT_IN: Final[Mapping[str, Sequence[tuple[str, tuple[str, ...]]]]] = {
    "administrator": [
        (
            "ManageKeys",
            (
                "kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*",
                "kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource",
                "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand", "kms:ImportKeyMaterial",
                "kms:ReplicateKey", "kms:ConnectCustomKeyStore", "kms-grpc:*",
            ),
        ),
    ],
    "user": [
        (
            "UseKeys",
            (
                "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:GenerateMac",
                "kms:VerifyMac", "kms:Sign", "kms:Verify", "kms:DeriveSharedSecret", "kms:Encapsulate",
                "kms:Decapsulate", "kms:DescribeKey", "kms:GetPublicKey", "kms:GenerateRandom",
            ),
        ),
    ],
    "reader": [("ReadKeys", (*_LISTS, *_DESCRIBES, "kms:GetPublicKey"))],
    "auditor": [("ReadKeys", (*_LISTS, *_DESCRIBES)), ("Explain", ("kms-grpc:ExplainDecision",))],
    "full-access": [("Everything", ("kms:*", "kms-grpc:*"))],
}  # fmt: skip
"""Named policies: their statements' Sids and the actions that they allow on everything."""


class Identity(NamedTuple):
    """The policies and tags of a principal."""

    statements: Statements
    tags: Mapping[str, str]


NO_POLICIES: Final = Identity(Statements(()), {})


def identities(
    principals: Iterable[PrincipalSettings | MappingSettings], files: NamedFiles = DISK
) -> dict[str, Identity]:
    """Returns the identities of principals, and of those that mappings make, by name. Raises ConfigurationError."""
    return {each.name: identity(each.name, each.policies or (), each.tags, files) for each in principals}


def identity(principal: str, policies: Sequence[str], tags: Mapping[str, str], files: NamedFiles = DISK) -> Identity:
    """Returns the identity that settings describe. Raises ConfigurationError with the place in the policy."""
    read = (_read(principal, index, each, files) for index, each in enumerate(policies))
    return Identity(Statements(tuple(statement for one in read for statement in one)), tags)


def document_of(name: str) -> str:
    """Returns the document of a named policy."""
    statements = [
        {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": "*"} for sid, actions in BUILT_IN[name]
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def label(index: int, policy: str) -> str:
    """Returns the name of a policy: its own, its file's, or its place where it stands inline."""
    return f"policies[{index}]" if is_inline(policy) else policy


def _read(principal: str, index: int, policy: str, files: NamedFiles) -> tuple[Statement, ...]:
    try:
        return parse(_document(policy, files), PolicyKind.IDENTITY, label(index, policy))
    except KMSError as error:
        raise ConfigurationError(f"principal {principal}: policy {label(index, policy)}: {error.text}") from None
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"principal {principal}: policy {policy}: {said}") from None
    except KeyError:
        raise ConfigurationError(
            f"principal {principal}: policy {policy!r} is none of {', '.join(BUILT_IN)}; the path of a file has a / or"
            " ends in .json"
        ) from None


def _document(policy: str, files: NamedFiles) -> str:
    if is_inline(policy):
        return policy
    path = policy_file(policy)
    if path is None:
        return document_of(policy)
    return files.text(path)
