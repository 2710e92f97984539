"""A second evaluator, written from AWS's pages alone: it reads the JSON of policies anew for each request, and is slow.

It knows no compiled policy and shares nothing with kms_grpc.authorization. A request is a dictionary: action, resource
(None without one), the caller's arn, role, account and service, the account of the key, and `context`, the values of
condition keys by their names in lower case.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import re
from typing import Any

CROSSING = [
    "encrypt",
    "decrypt",
    "reencryptfrom",
    "reencryptto",
    "generatedatakey",
    "generatedatakeywithoutplaintext",
    "generatedatakeypair",
    "generatedatakeypairwithoutplaintext",
    "generatemac",
    "verifymac",
    "sign",
    "verify",
    "derivesharedsecret",
    "encapsulate",
    "decapsulate",
    "describekey",
    "getpublickey",
    "getkeyrotationstatus",
    "creategrant",
    "listgrants",
    "retiregrant",
    "revokegrant",
]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def glob(pattern: list[str], text: str) -> bool:
    """Compares a list of plain characters, `ANY` and `ONE` with a text, by a table of what fits up to where."""
    row = [True] + [False] * len(text)
    for part in pattern:
        if part == "ANY":
            for place in range(1, len(row)):
                row[place] = row[place] or row[place - 1]
        else:
            row = [False] + [row[place] and part in ("ONE", text[place]) for place in range(len(text))]
    return row[-1]


class Unresolved(Exception):
    """A variable has no value."""


def parts_of(text: str, request: dict[str, Any], variables: bool, wild: bool = True) -> list[str]:
    """Turns a pattern of a policy into what glob takes."""
    found: list[str] = []
    while text:
        variable = re.match(r"\$\{(.*?)\}", text) if variables else None
        if variable:
            found += list(inserted(variable[1], request))
            text = text[variable.end() :]
            continue
        found.append({"*": "ANY", "?": "ONE"}.get(text[0], text[0]) if wild else text[0])
        text = text[1:]
    return found


def inserted(name: str, request: dict[str, Any]) -> str:
    if name in ("*", "?", "$"):
        return name
    key, comma, default = name.partition(",")
    values = request["context"].get(key.strip().lower())
    if values and len(values) == 1:
        return str(values[0])
    if comma:
        return default.strip()[1:-1]
    raise Unresolved


def ips(text: str) -> Any:
    address = ipaddress.ip_address(text)
    return address.ipv4_mapped or address if address.version == 6 else address


def moment(text: str) -> float:
    if text.lstrip("-").replace(".", "", 1).isdigit():
        return float(text)
    date = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def one_value(operator: str, policy: str, value: str, request: dict[str, Any], variables: bool) -> bool:
    """Compares one value under a positive operator."""
    try:
        if operator == "StringEquals":
            return glob(parts_of(policy, request, variables, wild=False), value)
        if operator == "StringEqualsIgnoreCase":
            wanted = "".join(parts_of(policy, request, variables, wild=False))
            return wanted.lower() == value.lower()
        if operator == "StringLike":
            return glob(parts_of(policy, request, variables), value)
        if operator in ("ArnEquals", "ArnLike"):
            return arn(policy, value, request, variables)
        if operator == "Bool":
            return policy.lower() == value.lower()
        if operator == "BinaryEquals":
            return base64.b64decode(policy) == base64.b64decode(value, validate=True)
        if operator == "IpAddress":
            return ips(value) in ipaddress.ip_network(policy, strict=False)
        kind, comparison = re.fullmatch(r"(Numeric|Date)(\w+)", operator).groups()  # type: ignore[union-attr]
        read = float if kind == "Numeric" else moment
        ours, theirs = read(value), read(policy)
    except ValueError:
        return False
    return {
        "Equals": ours == theirs,
        "LessThan": ours < theirs,
        "LessThanEquals": ours <= theirs,
        "GreaterThan": ours > theirs,
        "GreaterThanEquals": ours >= theirs,
    }[comparison]


def arn(policy: str, value: str, request: dict[str, Any], variables: bool) -> bool:
    if policy == "*":
        return True
    masked = re.sub(r"\$\{.*?\}", lambda found: found[0].replace(":", "\0"), policy).split(":", 5)
    wanted = [part.replace("\0", ":") for part in masked]
    given = value.split(":", 5)
    if len(wanted) != len(given):
        return False
    return all(glob(parts_of(one, request, variables), other) for one, other in zip(wanted, given, strict=True))


NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def condition(name: str, key: str, wanted: Any, request: dict[str, Any], effect: str, variables: bool) -> bool:
    """Says whether one line of a Condition element holds."""
    values = request["context"].get(key.lower())
    wanted = [str(each).lower() if isinstance(each, bool) else str(each) for each in listed(wanted)]
    if name == "Null":
        return ("true" if not values else "false") in [each.lower() for each in wanted]
    quantifier, _, operator = name.rpartition(":")
    optional = operator.endswith("IfExists")
    operator = operator.removesuffix("IfExists")
    positive = NEGATED.get(operator, operator)
    if not values:
        if optional:
            return True
        return {"ForAllValues": True, "ForAnyValue": False, "": operator in NEGATED}[quantifier]

    def fits(value: str) -> bool:
        hit = any(one_value(positive, each, value, request, variables) for each in wanted)
        return not hit if operator in NEGATED else hit

    every = quantifier == "ForAllValues" or (not quantifier and effect == "Allow")
    return all(map(fits, values)) if every else any(map(fits, values))


def action_fits(statement: dict[str, Any], action: str) -> bool:
    def among(patterns: Any) -> bool:
        return any(glob(parts_of(each.lower(), {}, False), action.lower()) for each in listed(patterns))

    if "NotAction" in statement:
        return not among(statement["NotAction"])
    return "Action" in statement and among(statement["Action"])


def resource_fits(statement: dict[str, Any], request: dict[str, Any], variables: bool) -> bool:
    def among(patterns: Any) -> bool:
        found = [resource(each, request, variables) for each in listed(patterns)]  # all: each may be unresolved
        return any(found)

    if "NotResource" in statement:
        return not among(statement["NotResource"])
    return "Resource" in statement and among(statement["Resource"])


def resource(pattern: str, request: dict[str, Any], variables: bool) -> bool:
    colons, place, depth = 0, 0, 0
    while place < len(pattern) and colons < 5:
        depth += pattern.startswith("${", place) - (pattern[place] == "}")
        colons += pattern[place] == ":" and depth == 0
        place += 1
    parts = parts_of(pattern[:place], request, False) + parts_of(pattern[place:], request, variables)
    return pattern == "*" or glob(parts, request["resource"] or "*")


def principal_means(statement: dict[str, Any], request: dict[str, Any]) -> str:
    """Returns `no`, `account` or `caller`."""
    own = {request["arn"], request["role"]} - {None}
    partition = request["arn"].split(":")[1]
    accounts = {f"arn:{partition}:iam::{request['account']}:root", request["account"]}
    element = statement.get("Principal", statement.get("NotPrincipal"))
    aws = [] if element == "*" else listed(element.get("AWS", []))
    service = element != "*" and request["service"] in listed(element.get("Service", []))
    everybody = element == "*" or "*" in aws
    is_root = request["arn"] in accounts
    if "NotPrincipal" in statement:
        named = accounts & set(aws) and (is_root or own <= set(aws))
        return "no" if everybody or service or named else "caller"
    if everybody or service or own & set(aws):
        return "caller"
    if accounts & set(aws):
        return "caller" if is_root else "account"
    return "no"


def statement_fits(statement: dict[str, Any], request: dict[str, Any], variables: bool) -> bool:
    if not action_fits(statement, request["action"]):
        return False
    try:
        fits = resource_fits(statement, request, variables)
        for name, block in statement.get("Condition", {}).items():
            for key, wanted in block.items():
                if variables and name.rpartition(":")[2].startswith(("String", "Arn")):
                    for text in listed(wanted):
                        parts_of(str(text), request, True)
                fits &= condition(name, key, wanted, request, statement["Effect"], variables)
    except Unresolved:
        return False
    return fits


def allowed(identity: list[str], key_policy: str | None, request: dict[str, Any]) -> bool:
    """Decides as AWS KMS does, given the texts of the policies. `key_policy` is None for actions without a key."""
    documents = [(json.loads(text), False) for text in identity]
    documents += [(json.loads(key_policy), True)] if key_policy is not None else []
    own, direct, through_account = False, False, False
    for document, of_key in documents:
        variables = document.get("Version") == "2012-10-17"
        for statement in listed(document["Statement"]):
            means = principal_means(statement, request) if of_key else "caller"
            if means == "no" or not statement_fits(statement, request, variables):
                continue
            if statement["Effect"] == "Deny":
                return False
            own |= not of_key
            direct |= of_key and means == "caller"
            through_account |= of_key
    own |= request["arn"].endswith(f"::{request['account']}:root")
    if key_policy is None:
        return own
    if request["account"] != request["key_account"]:
        crossing = request["action"].removeprefix("kms:").lower() in CROSSING
        return crossing and through_account and own
    return direct or (through_account and own)
