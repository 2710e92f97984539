"""Batches: many items in one request, each answered with its result or its error, over the request's own bytes.

The C core finds the items and groups those that say the same about their keys. Each group is admitted once, by the
checks of a single call on its first item. Where a decision reads the encryption context, the groups are formed again so
that all items of a group have the same context. One C call then processes all items of the admitted groups; every other
item gets a google.rpc.Status in its place. No Python object is made of an item that succeeds.

Requests that the core's scanner does not take go through protobuf's reader, which reports what is wrong or writes the
request again in a form that the scanner takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, TypeVar, Unpack

from google.protobuf.message import Message

from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import DependencyTimeoutException
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm, Permits
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.wire import Wire
from kms_grpc.operations.kinds.batch_groups import BatchItems, GroupAdmission, ItemMaterials
from kms_grpc.operations.kinds.batch_run import ATTEMPTS, BatchRun
from kms_grpc.operations.kinds.unary import Keys
from kms_grpc.operations.operation import ENVELOPE, Operation, Request, Row

WARM_BYTES: Final = 2 * 1024 * 1024
"""The largest request that is answered on the door's event loop. It takes 1.5 ms there on OpenSSL 3.0, 0.7 ms on 3.5.
Handing 1 MiB to a thread and back costs 0.3 ms of CPU. Encrypting it in 1,000 items costs 0.6 ms on OpenSSL 3.0, 0.3 ms
on 3.5."""

Item = TypeVar("Item", bound=Message)


@dataclass(frozen=True, slots=True)
class Batch(Row[Request], Generic[Request, Item, *Keys]):
    """The row of a batch. Its keys are those of an item; its handler is called once per group, with the first item."""

    handler: Callable[[Call, Item, Unpack[Keys]], ItemMaterials]
    items: BatchItems
    service: str = field(default=ENVELOPE, kw_only=True)
    batches: ClassVar[bool] = True
    may_be_warm: ClassVar[bool] = False
    """False, because the doors' path for small messages does not take batches. endpoints/bulk.py calls `warm` for every
    batch that it has read."""

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Starts again if keys left the keyring. Raises DependencyTimeoutException after ATTEMPTS attempts."""
        admission = GroupAdmission(call, operation, permits, self._materials)
        for attempt in range(ATTEMPTS):
            try:
                return BatchRun(self.items, call, operation, raw, admission, anew=attempt > 0).answer()
            except StaleHandle:
                continue
        raise DependencyTimeoutException("The keys left the keyring as often as they were loaded. Repeat the call.")

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes | None:
        """Answers a batch that is not large, if Permits hold for all of its groups."""
        call.called = checks.called_shard(call)
        call.cells = (call.service.counters.cell(operation.name, "OK"),)
        if len(raw) > WARM_BYTES:
            raise NotWarm
        admission = GroupAdmission(call, operation, permits, self._materials, by_permit_only=True)
        return BatchRun(self.items, call, operation, raw, admission, anew=False).answer(warm=True)

    def _materials(self, call: Call, item: Any, keys: Any) -> ItemMaterials:
        return self.handler(call, item, *keys)
