"""The configuration in force changes with its number alone, and nobody is judged by another one."""

from __future__ import annotations

import pytest

from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.certificates import Certificates
from kms_grpc.authentication.in_force import Configured, InForce
from kms_grpc.authentication.key_sources import KeySources
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.model.principal import Principal

ORDERS = Principal("orders", "arn:aws:iam::123456789012:role/orders", "123456789012")


def configured(number: int, *names: str) -> Configured:
    principals = {name: ORDERS._replace(name=name) for name in names}
    tokens, certificates = BearerTokens([], lambda: 0), Certificates([], lambda: 0)
    return Configured(number, principals, tokens, {}, {name: name.encode() for name in names}, certificates)


def test_a_configuration_is_in_force_from_its_number_on() -> None:
    number = [0]
    in_force = InForce(configured(0, "p"), KeySources(), lambda: number[0])
    in_force.prepare(configured(1, "q"))
    assert in_force.principal_named("p"), "it is ready, and not in force yet"
    assert in_force.principal_named("q") is None
    number[0] = 1
    assert (in_force.principal_named("p"), in_force.digest_of("q")) == (None, b"q")
    in_force.prepare(configured(2, "refused"))
    in_force.prepare(configured(3, "r"))
    number[0] = 3
    assert list(in_force.current().principals) == ["r"]


def test_a_worker_without_the_configuration_in_force_judges_nobody() -> None:
    number = [1]
    in_force = InForce(configured(0, "p"), KeySources(), lambda: number[0])
    in_force.prepare(configured(2, "q"))
    for _ in range(2):
        with pytest.raises(DependencyTimeoutException):
            in_force.current()
    number[0] = 2
    assert in_force.principal_named("q")


def test_a_caller_is_found_by_its_arn_in_any_partition() -> None:
    in_force = InForce(configured(0, "p"), KeySources(), lambda: 0)
    assert in_force.principal_with_arn("arn:aws-cn:iam::123456789012:role/orders") == ORDERS._replace(name="p")
    assert in_force.principal_with_arn("arn:aws:iam::123456789012:role/other") is None
