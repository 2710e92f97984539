"""The generator of bad requests changes every field, and a seed always gives the same cases."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import bad_requests as generator
from tests.bad_requests import NAMES, NOT_UTF8, World, bad_requests, gets_far
from tests.examples import EXAMPLES, METHODS

CASES = bad_requests(seed=1)


def test_the_seed_decides_everything() -> None:
    assert bad_requests(seed=1) == CASES
    assert bad_requests(seed=2) != CASES


def test_an_operation_changes_no_cases_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases of the other operations stay the same, in the same order."""
    all_of_them = bad_requests(seed=1, each=36)
    monkeypatch.setattr(generator, "NAMES", [name for name in NAMES if name != "EnableKey"])
    assert bad_requests(seed=1, each=36) == [case for case in all_of_them if case.operation != "EnableKey"]


def test_every_operation_and_every_field_is_there() -> None:
    unary = {name for name in EXAMPLES if not METHODS[name].client_streaming}
    assert unary - set(NAMES) == {"GetLimits"}, "its request has no fields"
    fields = {(name, field.json_name) for name in NAMES for field in METHODS[name].input_type.fields}
    assert {(case.operation, case.member) for case in CASES if case.member} == fields


def test_a_third_of_the_cases_comes_to_a_handler_with_any_seed() -> None:
    for seed in range(3):
        cases = bad_requests(seed, each=36)
        assert Counter(case.operation for case in cases) == dict.fromkeys(NAMES, 36)
        far = Counter(case.operation for case in cases if gets_far(case, World()))
        assert far.total() * 3 >= len(cases)
        assert set(far) == set(NAMES), "every handler is reached"


def test_bytes_that_are_not_utf8_are_in_the_request() -> None:
    patched = [case for case in CASES if "not UTF-8" in case.what]
    assert len(patched) > 100
    assert all(any(bad in case.raw for bad in NOT_UTF8) for case in patched)
