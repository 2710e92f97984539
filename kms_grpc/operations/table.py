"""The table of operations. An rpc without a row is not served.

Each module of handlers/ declares the rows of its operations as ROWS; a new module is found automatically. Limits of
single fields are in the protos, key states in model/key_state.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

from kms_grpc.operations import handlers
from kms_grpc.operations.operation import NOT_BUILT, UNKNOWN, Operation, Row, compiled


def declared() -> Iterator[Row[Any]]:
    """Yields the rows of all modules of handlers/."""
    for found in pkgutil.iter_modules(handlers.__path__, f"{handlers.__name__}."):
        yield from getattr(importlib.import_module(found.name), "ROWS", ())


def joined(rows: Iterable[Row[Any]]) -> tuple[Operation, ...]:
    """Returns the compiled rows. Raises TypeError if two have the same name, or one has no rpc."""
    rows = list(rows)
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"{', '.join(twice)}: two rows declare it")
    return tuple(compiled(row) for row in rows)


TABLE = joined(declared())
"""Counter files number operations in this order. They are made anew at each start, so the order may change."""

NAMES = tuple(operation.name for operation in TABLE)
COUNTED = (*NAMES, NOT_BUILT, UNKNOWN)
"""The names by which calls are counted."""
