"""One call on its way through the executor, and what every call may draw on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kms_grpc.audit.base import AuditLog
from kms_grpc.audit.counters import Counters
from kms_grpc.audit.record import AuditRecord
from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authorization.base import Authorizer
from kms_grpc.clock import Clock
from kms_grpc.config import Limits, Quotas
from kms_grpc.model.principal import Principal
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.shards import Shard, Shards

if TYPE_CHECKING:
    from kms_grpc.operations.operation import Operation


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service, put together by app.py."""

    shards: Shards
    authentication: BearerTokens
    authorizer: Authorizer
    audit_log: AuditLog
    counters: Counters
    clock: Clock
    quotas: Quotas
    limits: Limits


@dataclass(slots=True)
class Call:
    """What a handler gets beside its request and keys. `transaction` is there exactly where the operation's row says `writes`."""

    operation: Operation
    service: Service
    credentials: Credentials
    record: AuditRecord
    principal: Principal = field(init=False)
    shard: Shard = field(init=False)
    transaction: Transaction | None = None
    stable: bool = True
    """Whether all decisions so far read nothing but what a Permit may rely on."""

    @property
    def account(self) -> str:
        return self.principal.account

    @property
    def writing(self) -> Transaction:
        assert self.transaction is not None, f"{self.operation.name}: its row does not say that it writes"
        return self.transaction


NO_CONTEXT: Mapping[str, str] = {}
