"""Errors and log lines about rows that were changed on disk."""

from __future__ import annotations

import logging

from kms_grpc.errors import KeyUnavailableException, KMSInternalException
from kms_grpc.registry.sql.rows import Place, Row, RowKind, Values, digest

_log = logging.getLogger(__name__)
_LOGGED_LIMIT = 10_000


class DamageReports:
    """Words the errors about damaged rows of one shard, and logs each damaged row once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._logged: set[tuple[str, bytes]] = set()

    def log_once(self, kind: RowKind, row: Row) -> None:
        seen = (kind.table.name, digest(*map(repr, row)))
        if seen in self._logged or len(self._logged) >= _LOGGED_LIMIT:
            return
        self._logged.add(seen)
        name = self.name(kind, kind.values(row))
        _log.error("region %s: %s was changed on disk and is left out", self.place.region, name)

    def name(self, kind: RowKind, values: Values) -> str:
        """Returns the name of a damaged row, in text that can be printed."""
        return kind.describe(self.place, values).encode("utf-8", "backslashreplace").decode()

    def unavailable(self, name: str, what: str = "row") -> KeyUnavailableException:
        """Returns the refusal of a key, an alias or an access key whose row (or other `what`) is damaged."""
        return KeyUnavailableException(
            f"{name} is unavailable: its {what} in the registry was changed on disk. Restore the registry of region "
            f"{self.place.region} from a backup; `kms-grpc check` lists all that is damaged.",
            key=name,
        )

    def latest_time_damaged(self) -> KMSInternalException:
        """Returns the refusal of a shard whose recorded time is damaged: the time may have gone back."""
        return KMSInternalException(
            f"The registry of region {self.place.region} cannot be used: the latest time that it recorded was changed "
            "on disk. Restore the registry from a backup."
        )
