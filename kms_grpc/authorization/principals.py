"""The Principal element of key policies: how it is read, and which callers it means.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from kms_grpc.authorization.caller import Caller
from kms_grpc.authorization.document import Element
from kms_grpc.authorization.policy import Principals

INVALID: Final = "Policy contains a statement with one or more invalid principals."
_NAME = r"[\w+=,.@-]+"
_ARN: Final = re.compile(
    rf"arn:[a-z0-9-]+:(?:iam::[0-9]{{12}}:(?:root|(?:user|role)/(?:[!-)+->@-~]+/)*{_NAME})"
    rf"|sts::[0-9]{{12}}:(?:assumed-role/{_NAME}/{_NAME}|federated-user/{_NAME}))",
    re.ASCII,
)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_SERVICE: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.ASCII)
_PROVIDER: Final = re.compile(
    r"arn:[a-z0-9-]+:iam::[0-9]{12}:(?:oidc|saml)-provider/[!-)+->@-~]+|[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.ASCII
)


def is_principal(text: str) -> bool:
    """Returns whether a text is the ARN of an account's root, a user, a role, a session of one, or a federated user."""
    return _ARN.fullmatch(text) is not None


class Meant(Enum):
    """How a Principal element means a caller."""

    NOT = 0
    BY_ACCOUNT = 1
    """Through the caller's account, which may delegate to identity policies."""
    DIRECTLY = 2


def read(part: Element, excluded: bool) -> Principals:
    """Returns a Principal element, or with `excluded` a NotPrincipal element. Raises MalformedPolicyDocumentException:
    every value must be well formed; none but `*` alone has wildcards."""
    if part.value == "*":
        return Principals(True, frozenset(), frozenset(), frozenset(), frozenset(), excluded)
    if isinstance(part.value, str) or not (kinds := part.members()):
        part.refuse(INVALID)
    found: dict[str, list[str]] = {}
    for kind, values in kinds.items():
        if kind not in ("AWS", "Service", "Federated") or not values.each():
            values.refuse(INVALID)
        found[kind] = [_checked(kind, value) for value in values.each()]
    aws = found.get("AWS", [])
    accounts = frozenset(text for text in aws if text.endswith(":root") or _ACCOUNT.fullmatch(text))
    return Principals(
        everybody="*" in aws,
        accounts=accounts,
        arns=frozenset(aws) - accounts - {"*"},
        services=frozenset(found.get("Service", [])),
        federated=frozenset(found.get("Federated", [])),
        excluded=excluded,
    )


def account_of(arn: str) -> str | None:
    """Returns the account of a principal's ARN; None for a text that no principal can have."""
    return arn.split(":")[4] if _ARN.fullmatch(arn) else None


def _checked(kind: str, part: Element) -> str:
    text = part.text()
    if kind == "AWS":
        valid = text == "*" or _ACCOUNT.fullmatch(text) or _ARN.fullmatch(text)
    else:
        valid = (_SERVICE if kind == "Service" else _PROVIDER).fullmatch(text)
    if not valid:
        part.refuse(INVALID)
    return text


def meaning(principals: Principals, caller: Caller) -> Meant:
    """Returns how an element means a caller. NotPrincipal means everybody of whom it does not name all: the account,
    the role and the session."""
    if principals.excluded:
        return Meant.NOT if _names_all(principals, caller) else Meant.DIRECTLY
    if principals.everybody or caller.principal.service in principals.services:
        return Meant.DIRECTLY
    if not principals.arns.isdisjoint(caller.arns):
        return Meant.DIRECTLY
    if caller.root in principals.accounts or caller.principal.account in principals.accounts:
        return Meant.DIRECTLY if caller.is_root else Meant.BY_ACCOUNT
    return Meant.NOT


def _names_all(principals: Principals, caller: Caller) -> bool:
    if principals.everybody or caller.principal.service in principals.services:
        return True
    account = caller.root in principals.accounts or caller.principal.account in principals.accounts
    return account and (caller.is_root or principals.arns.issuperset(caller.arns))
