"""The process that runs before the others: it creates and migrates the shards."""

from __future__ import annotations

from collections.abc import Callable

from kms_grpc.config import Settings
from kms_grpc.crypto import keyring
from kms_grpc.processes import child_protocol
from kms_grpc.processes.child_protocol import SupervisorLink


def run(prepare: Callable[[Settings], None]) -> int:
    """Run the process `prepare` and return its exit code. An exception of `prepare` is the reason that the server
    reports for not starting."""
    return child_protocol.run(lambda link: _run(link, prepare))


def _run(link: SupervisorLink, prepare: Callable[[Settings], None]) -> int:
    keyring.forbid_core_dumps()
    prepare(link.settings)
    return 0
