"""The identity of an authenticated caller."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `service` is its service principal (`s3.amazonaws.com`), if an AWS service acts for the
    account."""

    name: str
    arn: str
    account: str
    service: str | None = None
