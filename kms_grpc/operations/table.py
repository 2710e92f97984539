"""The table of operations. An rpc without a row is not served.

Each module of handlers/ declares the rows of its operations. Limits of single fields are in the protos, key states in
model/key_state.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kms_grpc.operations.handlers import (
    aliases,
    data_keys,
    deletion,
    encryption,
    importing,
    keys,
    limits,
    policies,
    random,
    rotation,
    streams,
    tags,
)
from kms_grpc.operations.operation import Operation, Row, compiled


def joined(*parts: Iterable[Row[Any]]) -> tuple[Operation, ...]:
    """Returns the compiled rows. TypeError where two have the same name, or one has no rpc."""
    rows = [row for part in parts for row in part]
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"{', '.join(twice)}: two rows declare it")
    return tuple(compiled(row) for row in rows)


TABLE = joined(
    keys.ROWS,
    aliases.ROWS,
    deletion.ROWS,
    tags.ROWS,
    policies.ROWS,
    rotation.ROWS,
    importing.ROWS,
    encryption.ROWS,
    data_keys.ROWS,
    random.ROWS,
    encryption.BATCH_ROWS,
    data_keys.BATCH_ROWS,
    streams.ROWS,
    limits.ROWS,
)
"""Counter files number operations in this order. They are made anew at each start, so the order may change."""

NAMES = tuple(operation.name for operation in TABLE)
