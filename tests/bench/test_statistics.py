"""Percentiles, medians and rows."""

from __future__ import annotations

import pytest

from kms_grpc.bench.core_rows import goal_of
from kms_grpc.bench.load import Plan, report_of
from kms_grpc.bench.printing import number
from kms_grpc.bench.statistics import BenchRow, interleaved, percentile, row_of

THOUSAND = list(range(1, 1001))


@pytest.mark.parametrize(
    ("ordered", "share", "expected"),
    [
        ([7], 0.5, 7),  # one value is every percentile
        ([7], 1, 7),
        ([1, 2], 0.5, 1),  # nearest rank: half of them are not above the first
        ([1, 2], 0.51, 2),
        ([1, 2, 3], 0.5, 2),
        (THOUSAND, 0.5, 500),
        (THOUSAND, 0.99, 990),
        (THOUSAND, 0.999, 999),  # 0.999 × 1000 is 999.0000000000001 by floats: not rank 1000
        (THOUSAND, 1, 1000),
        (THOUSAND, 0, 1),
        (list(range(1, 11)), 0.99, 10),  # too few to have such a percentile: the largest
    ],
)
def test_percentile_is_nearest_rank(ordered: list[float], share: float, expected: float) -> None:
    assert percentile(ordered, share) == expected


def test_a_percentile_needs_values() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("values", "references", "goal", "value", "reference", "ratio", "holds"),
    [
        ([3, 1, 2], [1, 1, 1], 2.0, 2, 1, 2.0, True),  # exactly the goal holds
        ([3, 1, 2.1], [1, 1, 1], 2.0, 2.1, 1, 2.1, False),
        ([2, 2, 90], [1, 70, 1], 2.0, 2, 1, 2.0, True),  # one disturbed round does not change the median
        ([10, 20], [4, 6], None, 15, 5, 3.0, None),  # without a goal nothing holds and nothing fails
    ],
)
def test_row_compares_medians(
    values: list[float], references: list[float], goal: float | None,
    value: float, reference: float, ratio: float, holds: bool | None,
) -> None:  # fmt: skip
    row = row_of("name", "µs", goal, values, references)
    fields = {"value": value, "reference": reference, "ratio": ratio, "goal": goal, "at_least": False, "holds": holds}
    assert row.as_json() == {"name": "name", "unit": "µs", **fields}


def test_a_reference_must_take_time() -> None:
    with pytest.raises(ValueError, match="no time"):
        row_of("name", "µs", 1.0, [1], [0])


@pytest.mark.parametrize(("value", "holds"), [(0.7, True), (0.6, True), (0.5, False)])
def test_a_rate_meets_its_goal_from_that_value_on(value: float, holds: bool) -> None:
    assert row_of("name", "GB/s", 0.6, [value], [1.0], at_least=True).holds is holds


def test_a_row_without_reference_neither_holds_nor_fails() -> None:
    assert BenchRow("load.encrypt.1024.rate", 5.0, "calls/s").as_json()["holds"] is None


def test_measurement_and_reference_take_turns() -> None:
    order: list[str] = []

    def measured(name: str, value: float) -> float:
        order.append(name)
        return value

    row = interleaved("n", "µs", 3.0, lambda: measured("ours", 6), lambda: measured("bare", 3), rounds=5)
    assert order == ["ours", "bare"] * 5
    assert (row.ratio, row.holds) == (2.0, True)


@pytest.mark.parametrize(
    ("name", "libcrypto", "goal"),
    [
        ("core.seal.1k", "OpenSSL 3.0.19 27 Jan 2026", 1.25),
        ("core.open.1k", "OpenSSL 3.5.1 1 Jul 2025", 1.35),  # with a faster AES, fixed costs have a larger share
        ("core.seal.1k", "OpenSSL 3.6.3 1 Jan 2026", 1.35),
        ("core.seal.1k.single", "OpenSSL 3.0.19 27 Jan 2026", 1.9),
        ("core.seal.1k.single", "OpenSSL 3.5.1 1 Jul 2025", 1.9),
    ],
)
def test_goal_of_a_core_row(name: str, libcrypto: str, goal: float) -> None:
    assert goal_of(name, libcrypto) == goal


@pytest.mark.parametrize(
    ("latencies", "failures", "cpu_ns", "calls", "failed", "rate", "cpu_us"),
    [
        ([2000] * 10, {}, 500_000, 10, 0, 5.0, 50.0),
        ([2000] * 6, {"UNAVAILABLE": 3, "INTERNAL": 1}, 500_000, 6, 4, 3.0, 50.0),  # failed calls used CPU as well
        ([], {"UNAVAILABLE": 3}, 300_000, 0, 3, 0.0, 100.0),
        ([], {}, 300_000, 0, 0, 0.0, None),  # nothing ended: no CPU per call
        ([2000] * 10, {}, None, 10, 0, 5.0, None),  # the server does not report its CPU time
    ],
)
def test_report(
    latencies: list[int], failures: dict[str, int], cpu_ns: int | None,
    calls: int, failed: int, rate: float, cpu_us: float | None,
) -> None:  # fmt: skip
    report = report_of(Plan("p", "e", "/p", b"", "/u"), latencies, failures, 2.0, ["0"], cpu_ns)
    assert (report.calls, report.failed, report.rate, report.cpu_us) == (calls, failed, rate, cpu_us)
    assert {report.p50, report.p99, report.p999, report.longest} == {2.0 if latencies else 0.0}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (13_400.4, "13,400"), (1000, "1,000"), (94.23, "94.2"), (0.3141, "0.314"), (0, "0")],
)
def test_numbers_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown
