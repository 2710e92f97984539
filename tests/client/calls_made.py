"""What the server's audit says of the calls under an encryption context."""

from __future__ import annotations

import collections
import json
import uuid

from tests.served import Served


def context_of_its_own() -> dict[str, str]:
    """By which the calls of one test are known."""
    return {"test": str(uuid.uuid4())}


def calls_made(server: Served, context: dict[str, str]) -> collections.Counter[str]:
    """Calls that were answered OK, by operation. What yields plaintext keys is in the log before it is answered."""
    lines = (
        line for log in (server.data_dir / "audit").glob("worker-*.jsonl") for line in log.read_bytes().splitlines()
    )
    mark = context["test"].encode()
    records = [json.loads(line) for line in lines if mark in line]
    return collections.Counter(record["eventName"] for record in records if "errorCode" not in record)
