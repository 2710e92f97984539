"""Output of rows, loads and the facts about the machine, as tables or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from kms_grpc.bench.facts import facts
from kms_grpc.bench.load import LoadReport
from kms_grpc.bench.statistics import BenchRow
from kms_grpc.cli.output import print_facts, print_table


def number(value: float | None) -> str:
    """Returns a number with three significant digits: 13,400 · 94.2 · 0.31."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def print_rows(rows: Sequence[BenchRow]) -> None:
    print_table(("name", "value", "reference", "unit", "ratio", "goal", "holds"), [_cells(row) for row in rows])


def print_loads(reports: Sequence[LoadReport]) -> None:
    columns = ("load", "workers", "calls/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs/call", "failed")
    print_table(columns, [_load_cells(report) for report in reports])


def print_facts_below(generator: str | None) -> None:
    """Prints versions, libcrypto and processor, and the load generator if there was one."""
    found = facts()
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    load = {} if generator is None else {"load by": generator}
    click.echo()
    print_facts({**found, "versions": versions, **load})


def as_json(reports: Sequence[LoadReport]) -> list[dict[str, Any]]:
    return [{**msgspec.to_builtins(report), "rate": report.rate, "cpu_us": report.cpu_us} for report in reports]


def _cells(row: BenchRow) -> Sequence[object]:
    return (
        row.name,
        number(row.value),
        number(row.reference),
        row.unit,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.goal is None else f"{'≥' if row.at_least else '≤'} {row.goal:.2f}",
        "" if row.holds is None else row.holds,
    )


def _load_cells(report: LoadReport) -> Sequence[object]:
    failed = ", ".join(f"{count:,} {status}" for status, count in report.failures.items()) or "0"
    speeds = (number(each) for each in (report.rate, report.p50, report.p99, report.p999))
    return (report.name, len(report.workers), *speeds, number(report.cpu_us) or "unknown", failed)
