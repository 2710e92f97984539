"""The effort of a measurement: FULL for figures that can be compared, GLIMPSE to see that every row can be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kms_grpc.bench.statistics import ROUNDS

ITEM_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True)
class Effort:
    """The number of rounds per measurement, and the amount of work in a round."""

    rounds: int = ROUNDS
    batches: int = 100
    """Batches of 1,000 items for the rows of the core."""
    calls: int = 5_000
    """Calls for the row of the executor."""
    seconds: float = 2.0
    """Seconds of load on a server."""
    warm_up: float = 0.5
    keys: int = 100_000
    few_keys: int = 100
    cached_keys: int = 16_384
    materials: int = 10_000
    """Key materials of the key that is rotated most."""
    stream_mib: int = 1_024
    """Size of a stream."""
    stalled_streams: int = 64
    message_mib: int = 64


FULL: Final = Effort()
GLIMPSE: Final = Effort(
    rounds=1,
    batches=1,
    calls=20,
    seconds=0.2,
    warm_up=0.05,
    keys=200,
    few_keys=20,
    cached_keys=64,
    materials=60,
    stream_mib=16,
    stalled_streams=4,
    message_mib=2,
)
