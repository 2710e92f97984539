"""Condition operators: how each reads the values of a policy and of a request, and compares them.

A request's value that an operator cannot read equals nothing and is neither less nor more than anything.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import base64
import ipaddress
import operator as compare
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NamedTuple

from kms_grpc.authorization.patterns import Pattern, Values, compiled, matches

NULL: Final = "Null"
"""The operator that asks whether a key is absent. Its values are `true` and `false`."""


class ValueKind(NamedTuple):
    """The type that an operator compares values as."""

    of_policy: Callable[[str, bool], Any]
    """Returns a policy's value, compiled; the flag says whether variables are read. ValueError if it has no sense."""
    of_request: Callable[[str], Any]
    """Returns a request's value. ValueError if it cannot be read."""


class Operator(NamedTuple):
    """A condition operator. `test` compares a request's value with a policy's."""

    kind: ValueKind
    test: Callable[[Any, Any, Values], bool]
    negated: bool = False


def agrees(operator: Operator, values: tuple[Any, ...], text: str, lookup: Values) -> bool:
    """Returns whether one value of a request fulfils an operator with a policy's values: one of them, or with a negated
    operator none."""
    try:
        found = operator.kind.of_request(text)
    except ValueError:
        return operator.negated
    test, negated = operator.test, operator.negated
    for value in values:
        if test(found, value, lookup):
            return not negated
    return negated


# --- kinds -----------------------------------------------------------------------------------------------------------


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("a number is needed") from None
    if not number.is_finite():
        raise ValueError("a number is needed")
    return number


@lru_cache(256)  # calls of one second ask for one date
def _date(text: str) -> Decimal:
    """Returns seconds since 1970, of a date in ISO 8601 or of such a number."""
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return Decimal(text)
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a date is needed, such as 2026-12-31T23:59:59Z, or seconds since 1970") from None
    return Decimal(str((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()))


_TRUTH_OF: Final = {"true": True, "false": False}


def _truth(text: str) -> bool:
    found = _TRUTH_OF.get(text.lower())
    if found is None:
        raise ValueError("true or false is needed")
    return found


def _binary(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _network(text: str, variables: bool) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Returns the network of an address or a range; bits beyond the prefix count for nothing."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("an IP address or a range such as 203.0.113.0/24 is needed") from None


@lru_cache(4096)  # callers come back
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _arn_pattern(text: str, variables: bool) -> tuple[Pattern, ...]:
    """Returns the patterns of an ARN's six parts, or one for `*`. Colons in variables separate nothing."""
    parts = re.findall(r"(?:^|:)((?:\$\{[^}]*\}|[^:])*)", text)
    if len(parts) > 6:
        parts = [*parts[:5], ":".join(parts[5:])]
    return tuple(compiled(part, wild=True, variables=variables) for part in parts)


def _arn(text: str) -> list[str]:
    return text.split(":", 5)


def _text(wild: bool, folded: bool) -> Callable[[str, bool], Pattern]:
    return lambda text, variables: compiled(text, wild=wild, variables=variables, folded=folded)


_EXACT = ValueKind(_text(False, False), str)
_LIKE = ValueKind(_text(True, False), str)
_FOLDED = ValueKind(_text(False, True), str.lower)
_ARNS = ValueKind(_arn_pattern, _arn)
_NUMBERS = ValueKind(lambda text, _: _number(text), _number)
_DATES = ValueKind(lambda text, _: _date(text), _date)
_TRUTHS = ValueKind(lambda text, _: _truth(text), _truth)
_BINARIES = ValueKind(lambda text, _: _binary(text), _binary)
_ADDRESSES = ValueKind(_network, _address)


# --- tests -----------------------------------------------------------------------------------------------------------


def _fits(text: str, pattern: Pattern, lookup: Values) -> bool:
    return matches(pattern, text, lookup)


def _fits_folded(text: str, pattern: Pattern, lookup: Values) -> bool:
    """Compares in lower case; so are the values of variables."""
    return matches(pattern, text, lambda key: tuple(value.lower() for value in lookup(key) or ()) or None)


def _fits_arn(parts: list[str], patterns: tuple[Pattern, ...], lookup: Values) -> bool:
    if len(patterns) == 1 and patterns[0].text == "*":
        return True
    return len(patterns) == len(parts) and all(
        matches(pattern, part, lookup) for pattern, part in zip(patterns, parts, strict=True)
    )


def _within(address: Any, network: Any, lookup: Values) -> bool:
    return address.version == network.version and address in network


def _compared(comparison: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Values], bool]:
    return lambda found, value, _: comparison(found, value)


def _ordered(prefix: str, kind: ValueKind) -> dict[str, Operator]:
    """Returns the six operators of a kind that has an order."""
    orders = {"LessThan": compare.lt, "LessThanEquals": compare.le, "GreaterThan": compare.gt}
    orders |= {"GreaterThanEquals": compare.ge, "Equals": compare.eq}
    found = {prefix + name: Operator(kind, _compared(order)) for name, order in orders.items()}
    return found | {f"{prefix}NotEquals": Operator(kind, _compared(compare.eq), negated=True)}


OPERATORS: Final = {
    "StringEquals": Operator(_EXACT, _fits),
    "StringNotEquals": Operator(_EXACT, _fits, negated=True),
    "StringEqualsIgnoreCase": Operator(_FOLDED, _fits_folded),
    "StringNotEqualsIgnoreCase": Operator(_FOLDED, _fits_folded, negated=True),
    "StringLike": Operator(_LIKE, _fits),
    "StringNotLike": Operator(_LIKE, _fits, negated=True),
    **_ordered("Numeric", _NUMBERS),
    **_ordered("Date", _DATES),
    "Bool": Operator(_TRUTHS, _compared(compare.eq)),
    "BinaryEquals": Operator(_BINARIES, _compared(compare.eq)),
    "IpAddress": Operator(_ADDRESSES, _within),
    "NotIpAddress": Operator(_ADDRESSES, _within, negated=True),
    "ArnEquals": Operator(_ARNS, _fits_arn),
    "ArnLike": Operator(_ARNS, _fits_arn),
    "ArnNotEquals": Operator(_ARNS, _fits_arn, negated=True),
    "ArnNotLike": Operator(_ARNS, _fits_arn, negated=True),
    NULL: Operator(_TRUTHS, _compared(compare.eq)),
}
"""All operators, by their names without prefix and suffix."""
