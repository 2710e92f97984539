"""The caller of a question in the terms of policies: ARNs, role of a session, account's root, tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kms_grpc.model.principal import Principal


class Caller(NamedTuple):
    """A principal, and what is known of it beside its ARN. All ARNs are in the principal's partition."""

    principal: Principal
    root: str
    """ARN of the account's root."""
    role: str | None = None
    """ARN of the role that a session was made from, with its path; None for others."""
    tags: Mapping[str, str] = {}

    @property
    def is_root(self) -> bool:
        return self.principal.arn == self.root

    @property
    def arns(self) -> tuple[str, ...]:
        """The ARNs of Principal elements that mean this caller alone."""
        return (self.principal.arn,) if self.role is None else (self.principal.arn, self.role)


def caller_of(principal: Principal, tags: Mapping[str, str] | None = None, role: str | None = None) -> Caller:
    """Returns the caller that a principal is. A session's ARN does not tell its role's path: `role` does; without it
    the role has none."""
    _, partition, service, _, account, resource = principal.arn.split(":", 5)
    if role is None and service == "sts" and resource.startswith("assumed-role/"):
        role = f"arn:{partition}:iam::{account}:role/{resource.split('/')[1]}"
    return Caller(principal, f"arn:{partition}:iam::{principal.account}:root", role, tags or {})
