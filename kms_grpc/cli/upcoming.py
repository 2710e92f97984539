"""The upcoming events of a key, in words: "deleted on 2026-12-24, in 30 days"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

_DAY: Final = 86_400
_HOUR: Final = 3_600


def upcoming(key: Mapping[str, Any], rotation: Mapping[str, Any] | None = None, now: datetime | None = None) -> str:
    """Returns the deletion, expiry and rotation that are ahead, the next one first, separated by semicolons.

    `key` is a KeyMetadata and `rotation` an answer of GetKeyRotationStatus, both with AWS's member names.
    """
    now = now or datetime.now(UTC)
    coming = sorted(_dates(key, rotation or {}))
    words = [f"{what} on {when:%Y-%m-%d}, {_in(when, now)}" for when, what in coming]
    if key["KeyState"] == "PendingImport":
        words.insert(0, "waits for its key material")
    return "; ".join(words)


def _dates(key: Mapping[str, Any], rotation: Mapping[str, Any]) -> Iterator[tuple[datetime, str]]:
    for what, date in (
        ("deleted", key.get("DeletionDate")),
        ("material expires", key.get("ValidTo")),
        ("rotated", rotation.get("NextRotationDate")),
    ):
        if date is not None:
            yield datetime.fromisoformat(date), what


def _in(when: datetime, now: datetime) -> str:
    """Returns the time left, rounded up to whole days, or to whole hours on the last day."""
    seconds = (when - now).total_seconds()
    if seconds <= 0:
        return "which is now"
    unit, name = (_DAY, "day") if seconds > _DAY else (_HOUR, "hour")
    count = math.ceil(seconds / unit)
    return f"in {count} {name}{'' if count == 1 else 's'}"


def rotation_of(rotation: Mapping[str, Any] | None) -> str:
    """Returns the automatic rotation in a few words, for a table."""
    if not rotation or not rotation.get("KeyRotationEnabled"):
        return "off"
    return f"every {rotation['RotationPeriodInDays']} days"
