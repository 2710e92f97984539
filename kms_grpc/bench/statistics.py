"""Medians and percentiles, and the one shape in which a measurement is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

ROUNDS: Final = 5
"""Measurement and reference take turns so many times; each is told by its median."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `ratio` is value / reference; `holds` says whether it is at most `goal`, of rates `at_least`."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    goal: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        """None where there is no goal."""
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
) -> Row:
    """The row that compares medians. ValueError where a median of the references is not above zero."""
    value, reference = median(values), median(references)
    if reference <= 0:
        raise ValueError(f"{name}: its reference took no time that could be measured")
    return Row(name, value, unit, reference, value / reference, goal, at_least)


def interleaved(
    name: str,
    unit: str,
    goal: float | None,
    measure: Callable[[], float],
    reference: Callable[[], float],
    rounds: int = ROUNDS,
    *,
    at_least: bool = False,
) -> Row:
    """Measures by turns, so that a machine that slows down slows down both."""
    pairs = [(measure(), reference()) for _ in range(rounds)]
    return row_of(name, unit, goal, [value for value, _ in pairs], [bare for _, bare in pairs], at_least=at_least)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all are not above: nearest rank. ValueError where there is
    none."""
    if not ordered:
        raise ValueError("no percentile of nothing")
    rank = math.ceil(share * len(ordered) - 1e-9)
    return ordered[max(rank, 1) - 1]
