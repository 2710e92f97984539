"""The identity of an authenticated caller."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Principal(NamedTuple):
    """An authenticated caller. `arn` is as configured; `within` has it in another partition. `service` is its service
    principal (`s3.amazonaws.com`), if an AWS service acts for the account."""

    name: str
    arn: str
    account: str
    service: str | None = None
    issued_ns: int | None = None
    """When its temporary credential was issued, ns since 1970; None for a permanent one."""

    def within(self, partition: str) -> Principal:
        """Returns the principal with its ARN in a partition. Each partition of AWS has accounts and ARNs of its own,
        while this service's callers call regions of several."""
        return self if self.arn.startswith(f"arn:{partition}:") else _within(self, partition)


@lru_cache(1024)
def _within(principal: Principal, partition: str) -> Principal:
    _, _, in_partition = principal.arn.partition(":")
    _, _, rest = in_partition.partition(":")
    return principal._replace(arn=f"arn:{partition}:{rest}")
