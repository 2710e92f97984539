"""Named points at which a test can have the process killed, to prove that nothing acknowledged is lost.

`KMS_GRPC_FAULT=name` makes the first passing of that point end in SIGKILL, `name:3` the third; with
`KMS_GRPC_FAULT_GROUP=1` the whole process group dies; with `KMS_GRPC_FAULT_IN=worker` only workers are armed (those
begun as `python -m kms_grpc worker`). Without the variable a point is one dictionary look-up.
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
    "start.shard.after",
    "migration.before",
    "migration.between",
    "migration.after",
    "commit.before",
    "commit.after",
    "epoch.after",
    "answer.before",
    "outbox.copied",
    "outbox.cleared",
)
"""Every point there is, so that the crash test can visit each; `fault_point` refuses other names."""

_countdown: dict[str, int] = {}


def arm(specification: str) -> None:
    """Arm one point from `name` or `name:n` (n from 1)."""
    name, _, passing = specification.partition(":")
    if name not in POINTS:
        raise ValueError(f"KMS_GRPC_FAULT={specification}: no such fault point; known are {', '.join(POINTS)}")
    _countdown[name] = int(passing or 1)


def fault_point(name: str) -> None:
    """Die here if this point is armed and its turn has come."""
    if name in _countdown:
        _pass(name)


def _pass(name: str) -> None:
    _countdown[name] -= 1
    if _countdown[name] > 0:
        return
    if os.environ.get("KMS_GRPC_FAULT_GROUP"):
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if "KMS_GRPC_FAULT" in os.environ and os.environ.get("KMS_GRPC_FAULT_IN") in (None, *sys.argv[1:2]):
    arm(os.environ["KMS_GRPC_FAULT"])
