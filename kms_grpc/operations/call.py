"""One call on its way through the executor, and what every call may draw on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from kms_grpc.audit.base import AuditLog
from kms_grpc.audit.counters import Counters
from kms_grpc.audit.record import AuditRecord, head
from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authorization.base import STABLE_ATTRIBUTES, Authorizer, Question
from kms_grpc.clock import Clock
from kms_grpc.config import Limits, Quotas
from kms_grpc.errors import KMSError
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal
from kms_grpc.registry.base import OutboxRow, Transaction
from kms_grpc.registry.shards import Shard, Shards

if TYPE_CHECKING:
    from kms_grpc.operations.operation import Operation


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service, put together by app.py."""

    shards: Shards
    authentication: Authentication
    authorizer: Authorizer
    audit_log: AuditLog
    counters: Counters
    clock: Clock
    quotas: Quotas
    limits: Limits
    managed_services: frozenset[str] = frozenset()
    """Services that have an AWS managed key, by the name after `alias/aws/`."""
    non_committing_suites: bool = False
    """DecryptStream reads messages whose suite does not commit to its key."""


class Call(msgspec.Struct):
    """What a handler gets beside its request and keys; a Struct because one is made per call, at a third of a
    dataclass's price."""

    operation: Operation
    service: Service
    credentials: Credentials
    time_ns: int
    """Wall clock at which the call came in, ns since 1970."""
    record: AuditRecord
    caller: Principal | None = None
    called: Shard | None = None
    keys: tuple[Key, ...] = ()
    """Those that the call is about, as far as they are known."""
    transaction: Transaction | None = None
    prepared: Any = None
    """What the row's `prepare` made."""
    beside: list[OutboxRow] = msgspec.field(default_factory=list)
    """Records of what the service did with keys of its own for this call; they go the way of the call's own."""
    refusal: KMSError | None = None
    """An error that the caller gets although the transaction is kept: what it counts must not be undone."""
    stable: bool = True
    """Whether all decisions so far read nothing but what a Permit may rely on."""

    @property
    def principal(self) -> Principal:
        assert self.caller is not None
        return self.caller

    @property
    def shard(self) -> Shard:
        assert self.called is not None
        return self.called

    @property
    def account(self) -> str:
        return self.principal.account

    @property
    def region(self) -> str:
        """The called region, as named by the caller or by default; it may be one that is not served."""
        return self.credentials.region or self.service.shards.default.region

    @property
    def audit_head(self) -> bytes:
        return head(self.operation.name, self.region, self.operation.read_only, self.caller, self.keys)

    def may(self, action: str, key: Key | None, context: Mapping[str, str]) -> bool:
        """Ask the authorizer, and keep in mind whether its answer may be kept."""
        decision = self.service.authorizer.decide(Question(self.principal, action, key, context))
        self.stable = self.stable and decision.read <= STABLE_ATTRIBUTES
        return decision.allowed

    @property
    def writing(self) -> Transaction:
        assert self.transaction is not None, f"{self.operation.name}: its row does not say that it writes"
        return self.transaction


NO_CONTEXT: Mapping[str, str] = {}
