"""Operations that write: one request, one response, one transaction of the shard with its audit record in it.

A dry run does everything and undoes it, since its transaction does not commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Unpack

from google.protobuf.message import Message

from kms_grpc.faults import fault_point
from kms_grpc.operations import idempotency
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import Permits
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.wire import Wire
from kms_grpc.operations.kinds.steps import end_dry_run, read_request, while_stale
from kms_grpc.operations.kinds.unary import Keys, Response
from kms_grpc.operations.operation import Operation, Request, Row
from kms_grpc.registry.rows import OutboxRow


@dataclass(frozen=True, slots=True)
class Write(Row[Request], Generic[Request, Response, *Keys]):
    """The row of an operation that writes. Its handler gets one key per selector and uses `call.writing`."""

    handler: Callable[[Call, Request, Unpack[Keys]], Response]
    idempotent: bool = False
    """A call with the same `kms-request-id` and the same request gets the same answer for 24 hours."""
    prepare: Callable[[Call, Request], object] | None = None
    """Does what takes too long for a transaction, before it begins. Its result becomes `call.prepared`."""
    takes_rights_away: bool = False
    """A call may spend the reserve of its shard, so that it is served when the disk is full."""
    writes: ClassVar[bool] = True
    may_be_warm: ClassVar[bool] = False

    @property
    def is_slow(self) -> bool:
        """True where a call is prepared, which may take seconds."""
        return self.prepare is not None

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Admits the call twice: here, so that a refused call opens no transaction, and inside the transaction, so that
        nothing changes between the checks and the write."""
        request = read_request(call, operation, raw, wire)
        checks.admit(call, operation, request)
        if self.prepare is not None:
            prepare = self.prepare
            call.prepared = while_stale(lambda: prepare(call, request))
        return wire.write(self._write(call, operation, request))

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> None:
        """A write is always admitted anew."""
        return

    def _write(self, call: Call, operation: Operation, request: Any) -> Message:
        with call.shard.writing(self.takes_rights_away) as call.transaction:
            response = self._remembered_or_done(call, operation, request)
            if call.refusal is not None:
                call.record.fail(call.refusal.code, call.refusal.text)
            own = OutboxRow(call.record.eventID, call.account, call.record.line(call.audit_head))
            for row in (*call.beside, own):
                call.transaction.outbox.add(row)
        fault_point("answer.before")
        if call.refusal is not None:
            raise call.refusal
        return response

    def _remembered_or_done(self, call: Call, operation: Operation, request: Any) -> Message:
        repeatable = self.idempotent and call.credentials.repeatable
        remembered = idempotency.remembered(call, request, operation.response) if repeatable else None
        if remembered is not None:
            return remembered
        keys: Any = checks.admit(call, operation, request)
        response: Message = while_stale(lambda: self.handler(call, request, *keys))
        if operation.dry_run and request.dry_run:
            call.record.responseElements = None
        end_dry_run(operation, request)
        if repeatable:
            idempotency.remember(call, request, response)
        return response
