"""Operations that read: one request, one response, no transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

from google.protobuf.message import Message

from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm, Permits, permit_for
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.wire import Wire
from kms_grpc.operations.kinds.steps import end_dry_run, must_be_admitted, read_request, while_stale
from kms_grpc.operations.operation import Operation, Request, Row

Response = TypeVar("Response", bound=Message)
Keys = TypeVarTuple("Keys")


@dataclass(frozen=True, slots=True)
class Unary(Row[Request], Generic[Request, Response, *Keys]):
    """The row of an operation that reads. Its handler gets one key per selector."""

    handler: Callable[[Call, Request, Unpack[Keys]], Response]

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Keeps a Permit, whatever the handler's outcome is."""
        request = read_request(call, operation, raw, wire)
        keys: Any = checks.admit(call, operation, request)
        if operation.warm and call.stable:
            permit = permit_for(call)
            permits.keep(call, operation.identity(request), permit, operation.digest, request)
        end_dry_run(operation, request)
        return wire.write(while_stale(lambda: self.handler(call, request, *keys)))

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes | None:
        """Calls the handler with the keys of the Permit, as they were at admission."""
        request, validate = wire.read(operation.request, raw)
        permit = permits.find(call, operation.identity(request), operation.digest, request)
        if permit is None:
            return None
        permit.give(call)
        validate(request)
        if must_be_admitted(operation, request):
            raise NotWarm
        call.record.requestParameters = operation.describe(request)
        keys: Any = permit.keys
        return wire.write(self.handler(call, request, *keys))
