"""The generator of bad requests is what its users rely on: the same seed, the same cases, and none are missing."""

from __future__ import annotations

from collections import Counter

from kms_grpc.operations.contract.descriptors import descriptor
from tests.bad_requests import METHODS, NOT_UTF8, VALID, World, bad_requests, gets_far

CASES = bad_requests(seed=1)


def test_the_seed_decides_everything() -> None:
    assert bad_requests(seed=1) == CASES
    assert bad_requests(seed=2) != CASES


def test_every_operation_and_every_field_is_there() -> None:
    assert set(VALID) == set(METHODS)
    fields = {(name, field.json_name) for name, make in VALID.items() for field in descriptor(make(World())).fields}
    assert {(case.operation, case.member) for case in CASES if case.member} == fields


def test_of_some_cases_a_third_comes_to_a_handler_whatever_the_seed() -> None:
    for seed in range(3):
        cases = bad_requests(seed, count=1200)
        assert len(cases) == 1200
        far = Counter(case.operation for case in cases if gets_far(case, World()))
        assert far.total() >= 400
        assert set(far) == set(VALID), "every handler is met"


def test_text_that_is_not_utf8_is_really_in_the_bytes() -> None:
    patched = [case for case in CASES if "not UTF-8" in case.what]
    assert len(patched) > 100
    assert all(any(bad in case.raw for bad in NOT_UTF8) for case in patched)
