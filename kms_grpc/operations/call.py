"""One call on its way through the executor, and the parts of the service that every call may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from kms_grpc.audit.base import AuditLog
from kms_grpc.audit.counters import Counters
from kms_grpc.audit.record import AuditRecord, head
from kms_grpc.audit.sampling import RefusalSampling
from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.credentials import REGION_LENGTH, Credentials
from kms_grpc.authentication.in_force import InForce
from kms_grpc.authorization.base import (
    CONTEXT,
    NO_FACTS,
    NO_GRANTS,
    STABLE_ATTRIBUTES,
    Authorizer,
    Decision,
    Facts,
    Question,
)
from kms_grpc.clock import Clock
from kms_grpc.config import Limits, Quotas
from kms_grpc.errors import KMSError
from kms_grpc.model.grant import Grant
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.basis import Basis
from kms_grpc.registry.grant_search import GrantSearch, OnKey
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard, Shards

FAILURES: Final = 300
"""Calls whose credentials do not verify that an address may make before they are throttled."""
FAILURE_RATE: Final = 10
"""Such calls that it may make each second from then on."""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service. app.py puts them together."""

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
    sampling: RefusalSampling = field(default_factory=RefusalSampling)
    """Decides which refusals of unknown callers are written."""
    failures: RefusalSampling = field(default_factory=lambda: RefusalSampling(burst=FAILURES, per_second=FAILURE_RATE))
    """Counts calls whose credentials do not verify, by peer address. Beyond the rate they are throttled."""
    non_committing_suites: bool = False
    """DecryptStream reads messages whose algorithm suite does not commit to its key."""
    configured: Callable[[str], Principal | None] = lambda arn: None
    """Finds a principal of the configuration by its ARN, in whatever partition."""
    serves_tls: bool = False
    """All TCP ports of the doors use TLS."""
    in_force: InForce | None = None
    """The configuration of callers, which a reload replaces. None: it is not reloaded."""


class MustWrite(Exception):
    """The call must write before it can be answered, and its thread may not wait for the disk. Nothing was done,
    audited or counted yet: execute the call again on a thread that may wait."""


class Call(msgspec.Struct):
    """The state of one call. A handler gets it beside its request and keys.

    It is a msgspec Struct because one is made per call, at a third of the cost of a dataclass."""

    operation: str
    """The operation's name."""
    read_only: bool
    """CloudTrail's readOnly."""
    service: Service
    credentials: Credentials
    time_ns: int
    """Wall clock at which the call arrived, ns since 1970."""
    record: AuditRecord
    caller: Principal | None = None
    called: Shard | None = None
    keys: tuple[Key, ...] = ()
    """The keys that the call concerns, as far as they are known."""
    transaction: Transaction | None = None
    prepared: Any = None
    """The result of the row's `prepare`."""
    beside: list[OutboxRow] = msgspec.field(default_factory=list)
    """Audit records of what the service did with its own keys for this call. They are written with the call's own."""
    refusal: KMSError | None = None
    """An error that the caller gets although the transaction commits, because what it counted must be kept."""
    basis: Basis | None = None
    """The words that the admission of the call relies on."""
    cells: tuple[int, ...] = ()
    """The counters that count the call, if a Permit names them (audit/counters.py)."""
    may_write: bool = True
    """The call's thread may wait for a write."""
    stable: bool = True
    """True while all authorization decisions of this call have read only attributes that a Permit may rely on: those of
    STABLE_ATTRIBUTES, and the encryption context."""
    reads_context: bool = False
    """An authorization decision of this call has read the encryption context: a Permit is for this context alone."""
    denial: Decision | None = None
    """The last decision, where it denied."""
    permit_head: bytes = b""
    """The head of the audit record, if a Permit has it ready."""

    @property
    def principal(self) -> Principal:
        """The caller, after authentication. Its ARN is in the partition of the called region, as are all ARNs that it
        is compared with."""
        assert self.caller is not None
        return self.caller if self.called is None else self.caller.within(self.called.partition)

    @property
    def shard(self) -> Shard:
        """The shard of the called region, after it was found."""
        assert self.called is not None
        return self.called

    @property
    def account(self) -> str:
        """The caller's account."""
        assert self.caller is not None
        return self.caller.account

    @property
    def region(self) -> str:
        """The called region, as the caller named it, else the default one. It may be a region that is not served; of a
        text too long for any region it is the beginning."""
        return (self.credentials.region or self.service.shards.default.region)[:REGION_LENGTH]

    @property
    def audit_head(self) -> bytes:
        """The beginning of the audit record: the members that calls with the same caller and keys share."""
        if self.permit_head:
            return self.permit_head
        return head(self.operation, self.region, self.read_only, self.caller and self.principal, self.keys)

    def may(
        self,
        action: str,
        key: Key | None,
        context: Mapping[str, str],
        facts: Facts = NO_FACTS,
        resource: str | None = None,
        grant: Grant | None = None,
    ) -> bool:
        """Returns the authorizer's decision, and notes in `stable` and `reads_context` what a Permit may rely on.
        `resource` is for what has no key policy, `grant` the grant that the call makes or ends (Question)."""
        grants = NO_GRANTS if key is None else OnKey(self.grants, key.key_id)
        question = Question(self.principal, action, key, context, facts, resource, grants, grant)
        decision = self.service.authorizer.decide(question)
        self.denial = None if decision.allowed else decision
        self.reads_context = self.reads_context or CONTEXT in decision.read
        self.stable = self.stable and decision.read - {CONTEXT} <= STABLE_ATTRIBUTES
        return decision.allowed

    @property
    def grants(self) -> GrantSearch:
        """The grants of the called region, from the transaction inside a write, else from the shard's cache."""
        return self.shard.grants if self.transaction is None else GrantSearch(self.transaction.grants)

    @property
    def writing(self) -> Transaction:
        """The call's transaction, in operations that write."""
        assert self.transaction is not None, f"{self.operation}: declare its row as a Write"
        return self.transaction


NO_CONTEXT: Mapping[str, str] = {}
