"""Counts calls by the server's audit log, for an encryption context that belongs to one test."""

from __future__ import annotations

import collections
import json
import uuid

from tests.served import Served


def new_context() -> dict[str, str]:
    """Returns an encryption context by which the calls of one test can be found."""
    return {"test": str(uuid.uuid4())}


def calls_made(server: Served, context: dict[str, str]) -> collections.Counter[str]:
    """Returns the number of successful calls by operation. The log has a call that returns a plaintext key before the
    caller has the response."""
    lines = (
        line for log in (server.data_dir / "audit").glob("worker-*.jsonl") for line in log.read_bytes().splitlines()
    )
    mark = context["test"].encode()
    records = [json.loads(line) for line in lines if mark in line]
    return collections.Counter(record["eventName"] for record in records if "errorCode" not in record)
