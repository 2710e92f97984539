"""Copies the outboxes of real shards: `python -m tests.processes.outbox_copies DIR`, to be killed at fault points."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from kms_grpc.audit.log import FileAuditLog
from kms_grpc.clock import SystemClock
from kms_grpc.processes.outbox_copier import OutboxCopier
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard
from tests.registry.made import ACCOUNT, opened

REGIONS = ["eu-central-1", "eu-west-1"]


def record(event_id: str) -> bytes:
    """Returns a record like an audit record, with members that could be mistaken for its event id."""
    parameters = {"eventID": "not this one", "description": '"eventID":"nor this"'}
    return json.dumps({"requestParameters": parameters, "eventID": event_id}).encode()


def put_into_outbox(shard: Shard, event_ids: list[str]) -> None:
    with shard.registry.writing() as transaction:
        for event_id in event_ids:
            transaction.outbox.add(OutboxRow(event_id, ACCOUNT, record(event_id)))


def copy(folder: Path, regions: Sequence[str] = REGIONS) -> None:
    """Copy the outboxes of these regions with a new copier."""
    shards = opened(folder, REGIONS)
    run = RunFolder(folder)
    run.audit.mkdir(exist_ok=True)
    log = FileAuditLog(run.keeper_log, SystemClock())
    copier = OutboxCopier({s.region: s.registry for s in shards if s.region in regions}, log, run.keeper_position)
    copy_all(copier)
    log.close()
    shards.close()


def copy_all(copier: OutboxCopier) -> None:
    """Copies the outbox of each region, as the keeper's first pass does."""
    copier.copy([*copier._registries])


def copied(folder: Path) -> list[str]:
    """Returns the event ids in the log and in the files that it was rotated to."""
    files = sorted((folder / "audit").glob("keeper.jsonl*"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line)["eventID"] for path in files for line in path.read_bytes().splitlines()]


if __name__ == "__main__":
    copy(Path(sys.argv[1]))
