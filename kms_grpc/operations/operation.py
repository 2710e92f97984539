"""A row of the table: all that is particular to one operation, as data."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import DRY_RUN_SUCCEEDS, DependencyTimeoutException, DryRunOperationException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission.selectors import KeySelector
from kms_grpc.operations.contract.audit_fields import describer_for
from kms_grpc.operations.contract.validation import validator_for
from kms_grpc.operations.kinds.answering import MESSAGE_FORM, MessageForm, RawForm
from kms_grpc.operations.kinds.batch import BatchForm

if TYPE_CHECKING:
    from kms_grpc.operations.call import Call

T = TypeVar("T")
Form = RawForm | MessageForm
Handler = Callable[..., Any]
"""Answers with the rpc's response; of a stream with its Flow, of a batch with a group's Materials."""

LOOKS = 32
"""How often a key is looked up for one call, where others keep pushing it out of the keyring."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`handler(call, request, *keys)` is called with one key per selector, after every check that the row asks for."""

    name: str
    request: type[Message]
    handler: Handler
    keys: tuple[KeySelector, ...] = ()
    action: str | None = None
    """The permission of an operation without a key (`kms:CreateKey`); None: nothing to ask (GetLimits)."""
    writes: bool = False
    """Runs in one transaction of the shard, its audit record in the same one."""
    idempotent: bool = False
    """The same `kms-request-id` gives the same answer for 24 hours."""
    read_only: bool = True
    """CloudTrail's readOnly."""
    yields_secrets: bool = False
    """Its record is in the log before the answer goes out, or the call is refused."""
    form: Form = MESSAGE_FORM
    """How it is answered under a Permit: over a message or over the request's own bytes."""
    batch: BatchForm | None = None
    """Of a batch: how its items are found and done. The keys are those of an item."""
    prepare: Callable[[Call, Any], object] | None = None
    """`prepare(call, request)` is called before the transaction of a write is begun, for what takes longer than others
    may be kept waiting; its result is `call.prepared`. Doors keep such calls apart from the others."""
    service: str = "kms_grpc.v1.KeyManagementService"
    response: type[Message] = field(init=False)
    """What its rpc answers. A row without an rpc cannot be made (KeyError)."""
    validate: Callable[[Any], None] = field(init=False)
    identity: Callable[[Any], Hashable] = field(init=False)
    """What a request says about its keys: with the caller and the region, what a Permit is found by."""
    describe: Callable[[Any], dict[str, Any] | None] = field(init=False)
    """What of a request stands in its audit record."""
    dry_run: bool = field(init=False)
    warm: bool = field(init=False)
    """May be answered from a Permit, on the door's own loop."""
    streams: bool = field(init=False)
    """Messages go both ways until one side ends it; the handler answers with a Flow."""

    def __post_init__(self) -> None:
        if not (self.keys or self.action or self.service.endswith("EnvelopeService")):
            raise TypeError(f"{self.name}: a row needs keys with actions, or an action")
        if (self.idempotent or self.prepare) and not self.writes:
            raise TypeError(f"{self.name}: what is remembered or prepared must be written")
        rpc = Default().FindMethodByName(f"{self.service}.{self.name}")
        object.__setattr__(self, "response", GetMessageClass(rpc.output_type))
        object.__setattr__(self, "validate", validator_for(self.request))  # type: ignore[arg-type]  # classes hash
        object.__setattr__(self, "describe", describer_for(self.request))
        object.__setattr__(self, "dry_run", "dry_run" in self.request.DESCRIPTOR.fields_by_name)
        object.__setattr__(self, "streams", rpc.client_streaming and rpc.server_streaming)
        alone = not (self.writes or self.streams or self.batch)
        warm = alone and bool(self.keys) and all(key.warm for key in self.keys)
        object.__setattr__(self, "warm", warm)
        object.__setattr__(self, "identity", _identity(self.keys) if warm else _nothing)

    def handle(self, call: Call, request: Any, keys: tuple[Key | None, ...]) -> Any:
        """The handler's answer; a dry run ends before it."""
        if self.dry_run and request.dry_run:
            raise DryRunOperationException(DRY_RUN_SUCCEEDS)
        answer: Message = _while_stale(lambda: self.handler(call, request, *keys))
        return answer

    def make_ready(self, call: Call, request: Any) -> None:
        """All that `prepare` does."""
        if self.prepare is not None:
            prepare = self.prepare
            call.prepared = _while_stale(lambda: prepare(call, request))

    @property
    def path(self) -> str:
        """The gRPC method, `/kms_grpc.v1.KeyManagementService/Encrypt`."""
        return f"/{self.service}/{self.name}"


def _while_stale(use: Callable[[], T]) -> T:
    """Where another thread made room in the keyring between look-up and use of a key, it is used again: the next
    look-up loads the key anew."""
    for _ in range(LOOKS):
        try:
            return use()
        except StaleHandle:
            continue
    raise DependencyTimeoutException("The key left the keyring as often as it was loaded into it. Repeat the call.")


def _nothing(request: Any) -> Hashable:
    return None


def _identity(keys: tuple[KeySelector, ...]) -> Callable[[Any], Hashable]:
    if len(keys) == 1:
        return keys[0].identity
    return lambda request: tuple(key.identity(request) for key in keys)
