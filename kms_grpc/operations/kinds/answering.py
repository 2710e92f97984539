"""How an operation is answered where a Permit holds: over a message, or over the request's own bytes.

A row of the table has the message's form unless it declares a raw one. Both are asked in the same order: `read` the
request, find the Permit by its `identity`, `answer`. Whatever is amiss raises, and the call goes the long way, which
words it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from kms_grpc.crypto import raw_request
from kms_grpc.model.key import Key
from kms_grpc.operations.contract.wire import PROTOBUF, Wire
from kms_grpc.registry.loaded_materials import LoadedMaterial

if TYPE_CHECKING:
    from kms_grpc.operations.admission.permits import Permit
    from kms_grpc.operations.call import Call
    from kms_grpc.operations.operation import Operation

_json = msgspec.json.encode


class NotWarm(Exception):
    """The long way must look at this call."""


class Under(NamedTuple):
    """What a raw form answers under, and what its audit records say of it: a Permit's part."""

    material: raw_request.CMaterial
    parameters: msgspec.Raw
    """requestParameters of a request without an encryption context."""
    details: msgspec.Raw
    """additionalEventData."""


@dataclass(frozen=True, slots=True)
class RawForm:
    """Declared by the row of an operation that seals or opens one message: the core scans the request and writes the
    response, and no message is made of either."""

    kind: int
    """raw_request.ENCRYPT or DECRYPT."""
    most: int
    """Bytes of the largest plaintext or blob."""
    material: Callable[[Call, Any, Key], LoadedMaterial]
    """The handler's own choice of the material."""

    def read(self, operation: Operation, raw: bytes) -> raw_request.Scanned:
        """NotWarm where the scanner doesn't take it."""
        scanned = raw_request.scan(self.kind, raw, self.most)
        if scanned is None:
            raise NotWarm
        return scanned

    def identity(self, operation: Operation, asked: raw_request.Scanned) -> Hashable:
        return asked.identity

    def under(self, call: Call, request: Any) -> Under | None:
        """For a Permit; `request` was admitted."""
        (key,) = call.keys
        material = self.material(call, request, key)
        under = raw_request.material(material.handle, material.prefix, material.associated_prefix)
        told = call.operation.describe(request) or {}
        told.pop("encryptionContext", None)
        details = {"keyMaterialId": material.material_id.hex()}
        return under and Under(under, msgspec.Raw(_json(told or None)), msgspec.Raw(_json(details)))

    def answer(self, call: Call, asked: raw_request.Scanned, raw: bytes, permit: Permit) -> bytes:
        """One call into C. Only an encryption context is read once more, for the record."""
        under = permit.under
        if not isinstance(under, Under):
            raise NotWarm
        operation, record = call.operation, call.record
        record.requestParameters = (
            operation.describe(operation.request.FromString(raw)) if asked.has_context else under.parameters
        )
        record.additionalEventData = under.details
        return raw_request.answer(self.kind, raw, under.material)


class MessageForm:
    """All other operations, and all operations on a wire that the core doesn't scan."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def read(self, operation: Operation, raw: bytes) -> Any:
        return self._wire.read(operation, raw)

    def identity(self, operation: Operation, asked: Any) -> Hashable:
        return operation.identity(asked[0])

    def under(self, call: Call, request: Any) -> None:
        return None

    def answer(self, call: Call, asked: Any, raw: bytes, permit: Permit) -> bytes:
        operation = call.operation
        request, validate = asked
        validate(request)
        if operation.dry_run and request.dry_run:
            raise NotWarm
        call.record.requestParameters = operation.describe(request)
        return self._wire.write(operation.handler(call, request, *permit.keys))


MESSAGE_FORM = MessageForm(PROTOBUF)
