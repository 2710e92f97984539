"""Reads policy documents: checks them against the grammar and compiles them.

The first sentence of an error is AWS's where it is known; the place in the document follows. Source:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html and
https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from kms_grpc.authorization import document, patterns, principals
from kms_grpc.authorization.base import Deciding, PolicyKind
from kms_grpc.authorization.condition_blocks import read_conditions
from kms_grpc.authorization.document import SYNTAX, Element
from kms_grpc.authorization.patterns import Pattern, Variable
from kms_grpc.authorization.policy import Principals, Statement

VERSIONS: Final = ("2012-10-17", "2008-10-17")
"""Versions of the policy language. Only the first one has variables; a document without a version is of the second."""
_MEMBERS: Final = {
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
}  # fmt: skip
_ACTION: Final = re.compile(r"\*|[a-z0-9*?-]+:[a-z0-9*?]+", re.ASCII)


def parse(text: str, kind: PolicyKind, name: str) -> tuple[Statement, ...]:
    """Returns the statements of a policy document. `name` is the policy's name in the audit.

    Raises MalformedPolicyDocumentException with the place of the error, and LimitExceededException over 32 KiB.
    """
    whole = document.read(text)
    members = whole.members()
    for member in members.keys() - {"Version", "Id", "Statement"}:
        members[member].refuse(f"Unknown field {member[:100]}")
    version = members["Version"].text() if "Version" in members else VERSIONS[1]
    if version not in VERSIONS:
        members["Version"].refuse("The policy must contain a valid version string")
    if "Id" in members:
        members["Id"].text()
    if "Statement" not in members or not members["Statement"].each():
        whole.refuse("Missing required field Statement")
    lines = document.statement_lines(text)
    read = [
        _statement(part, Deciding(kind, name, "", index, line), version == VERSIONS[0])
        for index, (part, line) in enumerate(zip(members["Statement"].each(), lines, strict=True))
    ]
    if kind is PolicyKind.IDENTITY:
        _check_sids(read, members["Statement"])
    return tuple(read)


def _statement(part: Element, named: Deciding, variables: bool) -> Statement:
    members, kind = part.members(), named.kind
    for member in members.keys() - _MEMBERS:
        members[member].refuse(f"Unknown field {member[:100]}")
    allows = _allows(part, members)
    whom = _principals(part, members, kind, allows)
    actions, other_actions = _element(part, members, "Action", kind, _action)
    resources, other_resources = _element(part, members, "Resource", kind, lambda one: _resource(one, variables))
    conditions = read_conditions(members.get("Condition"), kind, allows, variables)
    inserted = [variable for pattern in resources for variable in pattern.variables]
    inserted += [variable for condition in conditions for variable in condition.variables]
    return Statement(
        named=named._replace(sid=members["Sid"].text()) if "Sid" in members else named,
        allows=allows,
        principals=whom,
        actions=actions,
        other_actions=other_actions,
        resources=resources,
        other_resources=other_resources,
        conditions=conditions,
        variables=_needed(inserted),
    )


def _needed(variables: list[Variable]) -> tuple[Variable, ...]:
    return tuple(dict.fromkeys(variable for variable in variables if variable.default is None))


def _allows(part: Element, members: dict[str, Element]) -> bool:
    if "Effect" not in members:
        part.refuse("Missing required field Effect")
    effect = members["Effect"].text()
    if effect not in ("Allow", "Deny"):
        members["Effect"].refuse(f"Invalid effect: {effect[:100]}")
    return effect == "Allow"


def _principals(part: Element, members: dict[str, Element], kind: PolicyKind, allows: bool) -> Principals | None:
    named = [member for member in ("Principal", "NotPrincipal") if member in members]
    if kind is PolicyKind.IDENTITY:
        for member in named:
            members[member].refuse("Policy document should not specify a principal.")
        return None
    if len(named) != 1:
        part.refuse("Missing required field Principal" if not named else _one_of("Principal"))
    if named == ["NotPrincipal"] and allows:
        members["NotPrincipal"].refuse("NotPrincipal cannot be used with Allow.")
    return principals.read(members[named[0]], named == ["NotPrincipal"])


def _element(
    part: Element, members: dict[str, Element], name: str, kind: PolicyKind, read: Callable[[Element], Pattern]
) -> tuple[tuple[Pattern, ...], bool]:
    """Returns Action or NotAction, Resource or NotResource, and whether it was the Not one. A key policy may leave both
    out; the statement has no effect then."""
    named = [member for member in (name, f"Not{name}") if member in members]
    if len(named) == 2:
        part.refuse(_one_of(name))
    if not named:
        if kind is PolicyKind.IDENTITY:
            part.refuse(f"Policy statement must contain {name.lower()}s.")
        return (), False
    element = members[named[0]]
    if not element.each():
        element.refuse(f"Policy statement must contain {name.lower()}s.")
    return tuple(read(one) for one in element.each()), named[0] != name


def _one_of(name: str) -> str:
    return f"{SYNTAX} A statement cannot have both {name} and Not{name}."


def _action(part: Element) -> Pattern:
    text = part.text().lower()
    if not _ACTION.fullmatch(text):
        part.refuse("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    return patterns.compiled(text, wild=True, variables=False)


def _resource(part: Element, variables: bool) -> Pattern:
    text = part.text()
    if text != "*" and not text.startswith("arn:"):
        part.refuse(f'Resource {text[:100]} must be in ARN format or "*".')
    try:
        return patterns.resource(text, variables=variables)
    except ValueError as error:
        part.refuse(f"{SYNTAX} {error}.")


def _check_sids(statements: list[Statement], part: Element) -> None:
    sids = [statement.named.sid for statement in statements if statement.named.sid]
    for statement in statements:
        if sids.count(statement.named.sid) > 1:
            part.refuse("Statement IDs (SID) in a single policy must be unique.")
