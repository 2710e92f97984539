"""Operations that seal or open one message: Encrypt and Decrypt.

The row's `material` chooses the key material and its `handler` answers with it. The first of several calls that say the
same about their key takes both steps and keeps the material in its Permit. Later calls at the gRPC door are answered by
the C core under the kept material: it scans the request's bytes and writes the response's, and no Python message is
made of either. Later calls at other doors repeat the handler's step only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, NamedTuple

import msgspec

from kms_grpc.crypto import raw_request
from kms_grpc.model.key import Key
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm, Permit, Permits, context_digest, permit_for
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.wire import Wire
from kms_grpc.operations.kinds.steps import end_dry_run, must_be_admitted, note_material, read_request, while_stale
from kms_grpc.operations.kinds.unary import Response
from kms_grpc.operations.operation import Operation, Request, Row
from kms_grpc.registry.loaded_materials import LoadedMaterial

_json = msgspec.json.encode


class SealedMaterial(NamedTuple):
    """A Permit's part for sealed operations: the key material, and what audit records say of calls under it."""

    material: LoadedMaterial
    in_core: raw_request.CMaterial | None
    """The material for the C core; None where the key's ARN is longer than the core takes."""
    parameters: msgspec.Raw
    """requestParameters of a call without an encryption context."""
    details: msgspec.Raw
    """additionalEventData."""


@dataclass(frozen=True, slots=True)
class Sealed(Row[Request], Generic[Request, Response]):
    """The row of an operation that seals or opens one message with one key."""

    handler: Callable[[Call, Request, Key, LoadedMaterial], Response]
    """Answers a call under the chosen material."""
    material: Callable[[Call, Request, Key], LoadedMaterial]
    """Chooses the material. Requests with the same identity get the same one."""
    core_operation: int
    """raw_request.ENCRYPT or DECRYPT."""
    largest: int
    """Bytes of the largest plaintext or blob."""
    named: str = "key_id"
    """The field that names the key."""

    def run(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes:
        """Keeps a Permit if the call succeeds."""
        request = read_request(call, operation, raw, wire)
        (key,) = checks.admit(call, operation, request)
        assert key is not None, "a sealed operation names its key"
        end_dry_run(operation, request)
        material, answer = while_stale(lambda: self._answer(call, request, key))
        note_material(call, material)
        if call.stable:
            permit = permit_for(call, self._kept(operation, request, material))
            call.permit_head = permit.audit_head
            permits.keep(call, operation.identity(request), permit, operation.digest, request)
        return wire.write(answer)

    def warm(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes | None:
        """Answers in the core if the wire is protobuf and the core's scanner takes the request."""
        if not wire.is_protobuf:
            return self._warm_message(call, operation, raw, wire, permits)
        scanned = raw_request.scan(self.core_operation, raw, self.largest)
        if scanned is None:
            return None
        identity, has_context = scanned
        permit = permits.find(call, identity, _scanned_digest)
        if permit is None:
            return None
        kept = _use(call, permit)
        if kept.in_core is None:
            raise NotWarm
        call.record.requestParameters = (
            operation.describe(operation.request.FromString(raw)) if has_context else kept.parameters
        )
        return raw_request.answer(self.core_operation, raw, kept.in_core)

    def _warm_message(self, call: Call, operation: Operation, raw: bytes, wire: Wire, permits: Permits) -> bytes | None:
        request, validate = wire.read(operation.request, raw)
        permit = permits.find(call, operation.identity(request), operation.digest, request)
        if permit is None:
            return None
        kept = _use(call, permit)
        validate(request)
        if must_be_admitted(operation, request):
            raise NotWarm
        call.record.requestParameters = operation.describe(request)
        return wire.write(self.handler(call, request, permit.keys[0], kept.material))

    def _answer(self, call: Call, request: Any, key: Key) -> tuple[LoadedMaterial, Response]:
        material = self.material(call, request, key)
        return material, self.handler(call, request, key, material)

    def _kept(self, operation: Operation, request: Any, material: LoadedMaterial) -> SealedMaterial:
        """Returns a Permit's part. Its parameters are those of a request that says nothing but its key, since the
        core's scanner takes no others; the request at hand may say more."""
        plain = operation.request(**{self.named: attrgetter(self.named)(request)})
        return SealedMaterial(
            material,
            raw_request.material(material.handle, material.prefix, material.associated_prefix),
            msgspec.Raw(_json(operation.describe(plain))),
            msgspec.Raw(_json({"keyMaterialId": material.material_id.hex()})),
        )


def _scanned_digest(_: None) -> bytes:
    """Returns Operation.digest of the request that this thread scanned last."""
    return context_digest(raw_request.scanned_context())


def _use(call: Call, permit: Permit) -> SealedMaterial:
    """Gives the call what its Permit holds."""
    permit.give(call)
    kept: SealedMaterial = permit.materials
    call.record.additionalEventData = kept.details
    return kept
