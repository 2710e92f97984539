"""Steps that several kinds of operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import DRY_RUN_SUCCEEDS, DependencyTimeoutException, DryRunOperationException
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.wire import Wire
from kms_grpc.operations.operation import Operation
from kms_grpc.registry.loaded_materials import LoadedMaterial

T = TypeVar("T")
ATTEMPTS: Final = 32
"""How often a call loads a key that other calls keep pushing out of the keyring."""


def read_request(call: Call, operation: Operation, raw: bytes, wire: Wire) -> Any:
    """Returns the validated request, notes its parameters in the audit record, and brings the shard's caches up to
    date, so that admission sees every acknowledged write."""
    request, validate = wire.read(operation.request, raw)
    call.record.requestParameters = operation.describe(request)
    validate(request)
    call.shard.catch_up()
    return request


def end_dry_run(operation: Operation, request: Any) -> None:
    """Raises DryRunOperationException for a dry run, which ends here: everything before the handler was done."""
    if operation.dry_run and request.dry_run:
        raise DryRunOperationException(DRY_RUN_SUCCEEDS)


def must_be_admitted(operation: Operation, request: Any) -> bool:
    """Returns whether no Permit may answer a request: it is a dry run, or has grant tokens, which are checked first."""
    dry_run = operation.dry_run and request.dry_run
    return dry_run or (operation.has_grant_tokens and len(request.grant_tokens) > 0)


def while_stale(use: Callable[[], T]) -> T:
    """Returns what `use` returns. If another thread evicted a key from the keyring between its look-up and its use,
    `use` is called again, and its look-up loads the key anew. Raises DependencyTimeoutException after 32 attempts."""
    for _ in range(ATTEMPTS):
        try:
            return use()
        except StaleHandle:
            continue
    raise DependencyTimeoutException("The key left the keyring as often as it was loaded into it. Repeat the call.")


def note_material(call: Call, material: LoadedMaterial) -> None:
    """Notes in the audit record which key material did the work."""
    call.record.additionalEventData = {"keyMaterialId": material.material_id.hex()}
