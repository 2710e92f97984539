"""Reads the Condition element of statements: operators, condition keys and values.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.condition_keys import KeyReference, reference_to
from kms_grpc.authorization.document import SYNTAX, Element
from kms_grpc.authorization.operators import NULL, OPERATORS
from kms_grpc.authorization.patterns import Pattern, Variable
from kms_grpc.authorization.policy import Condition, Quantifier

_IF_EXISTS: Final = "IfExists"
_ONE_CONTEXT_PAIR: Final = "kms:encryptioncontext:"


def read_conditions(part: Element | None, kind: PolicyKind, allows: bool, variables: bool) -> tuple[Condition, ...]:
    """Returns the conditions of a statement: all of them must hold. Raises MalformedPolicyDocumentException for an
    unknown operator or key, and for values without sense under their operator."""
    if part is None:
        return ()
    return tuple(_read(part, kind, allows, variables))


def _read(part: Element, kind: PolicyKind, allows: bool, variables: bool) -> Iterator[Condition]:
    for whole, block in part.members().items():
        quantifier, operator, if_exists = _operator(whole, block)
        for name, values in block.members().items():
            key = reference_to(name)
            if key is None:
                values.refuse(f"Policy has an invalid condition key: {name[:100]}")
            if kind is PolicyKind.KEY and allows and quantifier and key.name == _ONE_CONTEXT_PAIR:
                values.refuse(f"OverlyPermissiveCondition: {quantifier} cannot be used with {name[:100]}.")
            yield _condition(operator, key, values, quantifier, if_exists, variables)


def _operator(whole: str, block: Element) -> tuple[Quantifier, str, bool]:
    """Returns the parts of an operator's name, such as ForAnyValue:StringLikeIfExists."""
    quantifier, colon, name = whole.rpartition(":")
    operator = name.removesuffix(_IF_EXISTS)
    valid = operator in OPERATORS and (quantifier in ("ForAllValues", "ForAnyValue") if colon else True)
    if not valid or (operator == NULL and (colon or name != NULL)):
        block.refuse(f"Invalid Condition type : {whole[:100]}")
    return Quantifier(quantifier), operator, name != operator


def _condition(
    operator: str, key: KeyReference, part: Element, quantifier: Quantifier, if_exists: bool, variables: bool
) -> Condition:
    if not part.each():
        part.refuse(f"{SYNTAX} A condition needs a value.")
    values = tuple(_value(operator, value, variables) for value in part.each())
    return Condition(operator, key, values, quantifier, if_exists, tuple(_variables(values)))


def _value(operator: str, part: Element, variables: bool) -> Any:
    text = part.text()
    try:
        return OPERATORS[operator].kind.of_policy(text, variables)
    except ValueError as error:
        part.refuse(f"{SYNTAX} {error}.")


def _variables(values: tuple[Any, ...]) -> Iterator[Variable]:
    for value in values:
        parts = (value,) if isinstance(value, Pattern) else value if isinstance(value, tuple) else ()
        for pattern in parts:
            yield from pattern.variables
