"""Evaluates statements: which of them match a question, and what of the question was read for it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from kms_grpc.authorization.base import Question
from kms_grpc.authorization.caller import Caller
from kms_grpc.authorization.condition_keys import KeyReference, key_of
from kms_grpc.authorization.operators import NULL, OPERATORS, agrees
from kms_grpc.authorization.patterns import matches, value_of
from kms_grpc.authorization.policy import Condition, Quantifier, Statement


class Reading:
    """One evaluation of a question. `read` collects the attributes that condition keys and variables have read."""

    __slots__ = ("caller", "question", "read", "resource")

    def __init__(self, question: Question, caller: Caller) -> None:
        self.question = question
        self.caller = caller
        self.resource = question.resource if question.key is None else question.key.arn
        self.read: set[str] = set()

    def values(self, reference: KeyReference) -> tuple[str, ...] | None:
        """Returns the values of a condition key in this request; None if it is absent."""
        key = key_of(reference)
        self.read.add(key.reads)
        if key.find is None:
            return None
        return key.find(self.question, self.caller, reference.suffix) or None


def matches_request(statement: Statement, reading: Reading) -> bool:
    """Returns whether a statement that covers the question's action matches its resource and conditions. A variable
    that has no value makes the statement match nothing, a Deny as well."""
    if not _covers_resource(statement, reading):
        return False
    if statement.variables and any(value_of(variable, reading.values) is None for variable in statement.variables):
        return False
    holds = True
    for condition in statement.conditions:
        holds = holds and _holds(condition, reading, statement.allows)
    return holds


def _covers_resource(statement: Statement, reading: Reading) -> bool:
    """Returns whether the statement is about the resource. An action without one is matched by `*` alone."""
    if not statement.resources:
        return False
    resource = reading.resource or "*"
    for pattern in statement.resources:
        if pattern.text == "*" or matches(pattern, resource, reading.values):
            return not statement.other_resources
    return statement.other_resources


def _holds(condition: Condition, reading: Reading, allows: bool) -> bool:
    found, name = reading.values(condition.key), condition.operator
    if name == NULL:
        return (found is None) in condition.values
    operator = OPERATORS[name]
    if found is not None and len(found) == 1:  # what most conditions read, whatever their quantifier
        return agrees(operator, condition.values, found[0], reading.values)
    if found is None:
        if condition.if_exists or condition.quantifier is Quantifier.ALL:
            return True
        return operator.negated and condition.quantifier is Quantifier.NONE
    agreeing = [agrees(operator, condition.values, text, reading.values) for text in found]
    if condition.quantifier is Quantifier.NONE:
        return all(agreeing) if allows else any(agreeing)
    return all(agreeing) if condition.quantifier is Quantifier.ALL else any(agreeing)
