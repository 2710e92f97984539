"""The end of calls that still run when their worker must stop: they are cancelled with a reason, and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from kms_grpc.errors import DependencyTimeoutException

STOPPING: Final = "The worker is stopping. Repeat the call; another worker answers it, or this one when it is back."


def stop(calls: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks of these calls, so that `stopped` and `is_stop` can distinguish them from calls that their
    callers cancelled."""
    for task in calls:
        task.cancel(STOPPING)


def is_stop(reason: asyncio.CancelledError) -> bool:
    return STOPPING in reason.args


def stopped(reason: asyncio.CancelledError) -> DependencyTimeoutException:
    """Returns the error of a call that `stop` has cancelled. Raises `reason` again if the caller has cancelled it."""
    if not is_stop(reason):
        raise reason
    return DependencyTimeoutException(STOPPING)
