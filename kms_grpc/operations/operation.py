"""A row of the table, which declares an operation, and the compiled operation, with the facts derived from its rpc."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.operations.admission.permits import Permits, context_digest
from kms_grpc.operations.admission.selectors import KeySelector
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.audit_fields import Describer, describer_for
from kms_grpc.operations.contract.wire import Wire

KEY_MANAGEMENT = "kms_grpc.v1.KeyManagementService"
ENVELOPE = "kms_grpc.v1.EnvelopeService"


Request = TypeVar("Request", bound=Message)


NOT_BUILT: Final = "NotBuilt"
"""The name under which calls of all operations of AWS KMS that are not built are counted together."""
UNKNOWN: Final = "Unknown"
"""The name under which calls of all names that neither AWS KMS nor this version has are counted together."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """An operation that this version does not have, as the audit records a call of it."""

    name: str
    """The name as it was called, of at most 64 ASCII characters."""
    read_only: bool
    counted: str
    """NOT_BUILT or UNKNOWN."""


@dataclass(frozen=True, slots=True)
class Row(Generic[Request]):
    """The columns that all kinds of operations have. A subclass in kinds/ adds a handler and says how it is run."""

    name: str
    """The rpc's name."""
    request: type[Request]
    _: KW_ONLY
    keys: tuple[KeySelector, ...] = ()
    """Where the request names its keys; the handler gets one key per selector, after all checks."""
    action: str | None = None
    """The permission of an operation without a key (`kms:CreateKey`). None: no permission (GetLimits)."""
    resource: str | None = None
    """The field that names what an operation without a key is about, other than a key."""
    yields_secrets: bool = False
    """The answer has a secret. The audit record is in the log before it is sent, or the call is refused."""
    service: str = KEY_MANAGEMENT
    writes: ClassVar[bool] = False
    """The operation runs in one transaction of the shard, which also holds its audit record."""
    batches: ClassVar[bool] = False
    """A request has many items, and may be large."""
    may_be_warm: ClassVar[bool] = True
    """A Permit may stand for the admission of a call."""

    def __post_init__(self) -> None:
        if not (self.keys or self.action or self.service == ENVELOPE):
            raise TypeError(f"{self.name}: a row needs keys with actions, or an action")

    @property
    def is_slow(self) -> bool:
        """True where a call may take seconds. Doors run such calls on threads of their own."""
        return False

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Admits and answers a call whose caller and shard are known. Keeps a Permit where it may."""
        raise NotImplementedError

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes | None:
        """Answers a call that a Permit admits; None, or an error, leaves the call to `run`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Operation:
    """A compiled row. `compiled` makes it once, at start."""

    kind: Row[Any]
    """The row. Its class is the kind of the operation."""
    name: str
    service: str
    path: str
    """The gRPC method, `/kms_grpc.v1.KeyManagementService/Encrypt`."""
    request: type[Message]
    response: type[Message]
    keys: tuple[KeySelector, ...]
    action: str | None
    resource: str | None
    writes: bool
    read_only: bool
    """CloudTrail's readOnly."""
    yields_secrets: bool
    dry_run: bool
    """The request has a field `dry_run`."""
    has_grant_tokens: bool
    """The request has a field `grant_tokens`."""
    batches: bool
    """A request has many items, and may be large."""
    streams: bool
    """Messages go both ways until one side ends the call."""
    warm: bool
    """A call may be answered from a Permit, on the door's event loop."""
    is_slow: bool
    identity: Callable[[Any], Hashable]
    """Returns what a request says about its keys. A Permit is found by it, with caller, region and operation."""
    digest: Callable[[Any], bytes]
    """Returns the digest of a request's encryption contexts, by which a Permit is found where they count."""
    describe: Describer
    """Returns the requestParameters of the audit record."""


def compiled(row: Row[Any]) -> Operation:
    """Returns the operation that a row declares. Raises TypeError where the contract has no such rpc."""
    try:
        rpc = Default().FindMethodByName(f"{row.service}.{row.name}")
    except KeyError:
        raise TypeError(f"{row.name}: {row.service} has no such rpc; declare it in protos/") from None
    return Operation(
        kind=row,
        name=row.name,
        service=row.service,
        path=f"/{row.service}/{row.name}",
        request=row.request,
        response=GetMessageClass(rpc.output_type),
        keys=row.keys,
        action=row.action,
        resource=row.resource,
        writes=row.writes,
        read_only=not row.writes,
        yields_secrets=row.yields_secrets,
        dry_run="dry_run" in row.request.DESCRIPTOR.fields_by_name,
        has_grant_tokens="grant_tokens" in row.request.DESCRIPTOR.fields_by_name,
        batches=row.batches,
        streams=rpc.client_streaming and rpc.server_streaming,
        warm=row.may_be_warm and bool(row.keys) and all(key.warm for key in row.keys),
        is_slow=row.is_slow,
        identity=_identity(row.keys),
        digest=_digest(row.keys),
        describe=describer_for(row.request),
    )


def _identity(keys: tuple[KeySelector, ...]) -> Callable[[Any], Hashable]:
    if len(keys) == 1:
        return keys[0].identity
    return lambda request: tuple(key.identity(request) for key in keys)


def _digest(keys: tuple[KeySelector, ...]) -> Callable[[Any], bytes]:
    fields = tuple(key.context for key in keys if key.context is not None)
    return lambda request: context_digest(*(canonical(getattr(request, field)) for field in fields))
