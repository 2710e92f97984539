"""Fault points: named places where a test can have the process killed, to prove that acknowledged writes survive.

KMS_GRPC_FAULT=NAME         the process gets SIGKILL when it first reaches the point; NAME:3, the third time
KMS_GRPC_FAULT_GROUP=1      the whole process group gets SIGKILL
KMS_GRPC_FAULT_IN=worker    only processes started as `python -m kms_grpc worker` are affected

Without KMS_GRPC_FAULT, a fault point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

POINTS: Final = (
    "start.root_key.before",
    "start.root_key.after",
    "start.shard.before",
    "start.shard.marked",
    "start.shard.after",
    "start.hash.before",
    "start.hash.after",
    "migration.before",
    "migration.between",
    "migration.after",
    "commit.before",
    "commit.after",
    "mark.before",
    "mark.after",
    "epoch.after",
    "answer.before",
    "outbox.copied",
    "outbox.cleared",
)
"""All fault points. The crash tests visit each of them."""

_countdown: dict[str, int] = {}


def arm(specification: str) -> None:
    """Arms the point that `name` or `name:n` (n from 1) specifies. Raises ValueError for an unknown name."""
    name, _, passing = specification.partition(":")
    if name not in POINTS:
        raise ValueError(f"KMS_GRPC_FAULT={specification}: no such fault point; the points are {', '.join(POINTS)}")
    _countdown[name] = int(passing or 1)


def fault_point(name: str) -> None:
    """Kills the process if this point is armed and has been reached as often as specified."""
    if name in _countdown:
        _reach(name)


def _reach(name: str) -> None:
    _countdown[name] -= 1
    if _countdown[name] > 0:
        return
    if os.environ.get("KMS_GRPC_FAULT_GROUP"):
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if "KMS_GRPC_FAULT" in os.environ and os.environ.get("KMS_GRPC_FAULT_IN") in (None, *sys.argv[1:2]):
    arm(os.environ["KMS_GRPC_FAULT"])
