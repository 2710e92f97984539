"""The mark as a writer sees it: read before a commit, advanced after it and before its answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.registry.mark import Mark, MarkUnusable

_log = logging.getLogger(__name__)


class Forward:
    """Advances the mark of a shard with each commit of this process. Thread-safe.

    A commit cannot be undone when its mark cannot be written. It is answered, and the process writes nothing more to
    the shard until the mark has that commit too.
    """

    def __init__(self, mark: Mark, region: str) -> None:
        self._mark = mark
        self._region = region
        self._lock = threading.Lock()
        self._behind: dict[int, int] = {}
        """Counters of commits that the mark does not have."""

    def catch_up(self) -> None:
        """Writes the counters that the mark lacks. Raises DependencyTimeoutException if that fails again."""
        if not self._behind:
            return
        with self._lock:
            try:
                self._mark.advance(self._behind)
            except (OSError, MarkUnusable) as error:
                raise self._refusal(error) from error
            self._behind = {}
        _log.warning("region %s: its mark %s is written again", self._region, self._mark.path)

    def known(self) -> Sequence[int]:
        """Returns the counters in the mark. Raises DependencyTimeoutException if it cannot be read."""
        try:
            return self._mark.stated()
        except (OSError, MarkUnusable) as error:
            raise self._refusal(error) from error

    def advance(self, counters: Mapping[int, int]) -> None:
        """Writes the counters of a commit to the mark."""
        if not counters:
            return
        try:
            self._mark.advance(counters)
        except (OSError, MarkUnusable) as error:
            _log.error("region %s: its mark %s cannot be written: %s", self._region, self._mark.path, error)
            with self._lock:
                self._behind |= {bucket: max(count, self._behind.get(bucket, 0)) for bucket, count in counters.items()}

    def _refusal(self, error: Exception) -> DependencyTimeoutException:
        reason = error.strerror if isinstance(error, OSError) else error
        return DependencyTimeoutException(
            f"Nothing is written to the registry of region {self._region}, because its mark {self._mark.path} cannot "
            f"be used: {reason}. Put the file or its disk right; `kms-grpc check` says more."
        )
