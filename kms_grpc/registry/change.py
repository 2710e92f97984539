"""A change of a key, its grants, an alias or an access key, as the change log has it."""

from __future__ import annotations

from dataclasses import dataclass

Name = tuple[str, str]
"""(kind, name) of a Change."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log."""

    sequence: int
    kind: str
    """`key`, `grants`, `alias` or `access key`."""
    name: str
    """A key id (also of `grants`), `<account>/alias/<name>`, or an access key id."""
