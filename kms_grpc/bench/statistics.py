"""Medians, percentiles, and the row that holds a measurement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

ROUNDS: Final = 5
"""Number of times that measurement and reference take turns. The row holds the medians."""


@dataclass(frozen=True, slots=True)
class BenchRow:
    """A measurement. `ratio` is value / reference; `goal` is its upper bound, or with `at_least` its lower bound."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    goal: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """True if the ratio meets the goal; None without a goal."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def row_of(
    name: str,
    unit: str,
    goal: float | None,
    values: Sequence[float],
    references: Sequence[float],
    *,
    at_least: bool = False,
) -> BenchRow:
    """Returns a row of the medians. Raises ValueError if the median of the references is not above zero."""
    value, reference = median(values), median(references)
    if reference <= 0:
        raise ValueError(f"{name}: its reference took no time that could be measured")
    return BenchRow(name, value, unit, reference, value / reference, goal, at_least)


def interleaved(
    name: str,
    unit: str,
    goal: float | None,
    measure: Callable[[], float],
    reference: Callable[[], float],
    rounds: int = ROUNDS,
    *,
    at_least: bool = False,
) -> BenchRow:
    """Measures value and reference by turns, so that a slower machine slows both."""
    pairs = [(measure(), reference()) for _ in range(rounds)]
    return row_of(name, unit, goal, [value for value, _ in pairs], [bare for _, bare in pairs], at_least=at_least)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Returns a percentile by nearest rank; `share` is between 0 and 1. Raises ValueError if there are no values."""
    if not ordered:
        raise ValueError("no percentile of nothing")
    rank = math.ceil(share * len(ordered) - 1e-9)
    return ordered[max(rank, 1) - 1]
