"""The one-off process before the others: first start and migrations."""

from __future__ import annotations

from collections.abc import Callable

from kms_grpc.config import Settings
from kms_grpc.crypto import keyring
from kms_grpc.processes import child_protocol
from kms_grpc.processes.child_protocol import SupervisorLink


def run(prepare: Callable[[Settings], None]) -> int:
    """The main of the process `prepare`; returns its exit code. What `prepare` raises is the reason the server
    gives."""
    return child_protocol.run(lambda tie: _run(tie, prepare))


def _run(tie: SupervisorLink, prepare: Callable[[Settings], None]) -> int:
    keyring.forbid_core_dumps()
    prepare(tie.settings)
    return 0
