"""Reads the audit log of a data directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(data_dir: Path) -> Iterator[dict[str, Any]]:
    """Returns all records of all processes. Leaves out lines that a crash has cut short."""
    for path in sorted((data_dir / "audit").glob("*.jsonl*")):
        for line in path.read_bytes().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def created_keys(data_dir: Path) -> set[str]:
    """Returns the ids of the keys that the CreateKey records of the log name."""
    made = (record for record in records(data_dir) if record["eventName"] == "CreateKey" and "errorCode" not in record)
    return {resource["ARN"].rpartition("/")[2] for record in made for resource in record["resources"]}
