"""Row `policy.decide`: one decision under a key policy that reads the encryption context, the address and the time of
the call, so that no Permit stands for it. Two statements, a Deny and an Allow, have four conditions.

The reference is a bare evaluation: a key policy of one Allow that names the caller. The goal is 5 µs, stated as a ratio
to the reference of the same run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.base import Question
from kms_grpc.authorization.identity_policies import Identity
from kms_grpc.authorization.key_policies import compiled
from kms_grpc.bench.bench_data import BenchData
from kms_grpc.bench.statistics import BenchRow, interleaved
from kms_grpc.model.key import Key, KeyState
from kms_grpc.model.principal import Principal

NAMES: Final = ("policy.decide",)
GOAL_US: Final = 5.0
CALLS: Final = 2_000
ACCOUNT: Final = "123456789012"
CALLER: Final = Principal("orders", f"arn:aws:iam::{ACCOUNT}:role/orders", ACCOUNT)
KEY_ID: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEY: Final = Key(
    KEY_ID, f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/{KEY_ID}", ACCOUNT, "eu-central-1", KeyState.ENABLED, "", 0, None
)
FACTS: Final = {"aws:sourceip": ("10.1.2.3",), "aws:currenttime": ("2026-12-01T05:00:00Z",)}
NO_IDENTITIES: Final[Mapping[str, Identity]] = {}


class BenchFacts:
    """The facts of a call from 10.1.2.3 in December 2026."""

    def find(self, name: str, suffix: str) -> tuple[str, ...] | None:
        """See authorization.base.Facts."""
        return FACTS.get(name)


def _policy(*statements: dict[str, Any]) -> str:
    whole = {"Effect": "Allow", "Principal": {"AWS": CALLER.arn}, "Action": "kms:*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [whole | statement for statement in statements]})


CONDITIONED: Final = _policy(
    {"Effect": "Deny", "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
    {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": ["kms:Describe*", "kms:PutKeyPolicy"]},
    {
        "Action": ["kms:Encrypt", "kms:Decrypt"],
        "Condition": {
            "StringEquals": {"kms:EncryptionContext:app": "shop"},
            "IpAddress": {"aws:SourceIp": "10.1.0.0/16"},
            "DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"},
        },
    },
)


def measure(name: str, bench_data: BenchData) -> list[BenchRow]:
    ours, bare = _decision(CONDITIONED), _decision(_policy({}))
    row = interleaved(name, "µs", None, ours, bare, bench_data.effort.rounds)
    assert row.reference is not None, "it was measured"
    return [BenchRow(row.name, row.value, row.unit, row.reference, row.ratio, GOAL_US / row.reference)]


def _decision(policy: str) -> Callable[[], float]:
    """Returns a measurement of one decision, in microseconds."""
    statements = compiled(policy)
    authorizer = Policies(lambda: NO_IDENTITIES, lambda key: statements)
    question = Question(CALLER, "kms:Encrypt", KEY, {"app": "shop"}, BenchFacts())
    assert authorizer.decide(question).allowed, "the policy allows the call"

    def run() -> float:
        begun = time.perf_counter_ns()
        for _ in range(CALLS):
            authorizer.decide(question)
        return (time.perf_counter_ns() - begun) / CALLS / 1000

    return run
