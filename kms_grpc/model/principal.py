"""Who calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `service` names the service principal (`s3.amazonaws.com`) acting for the account, if
    it is one."""

    name: str
    arn: str
    account: str
    service: str | None = None
