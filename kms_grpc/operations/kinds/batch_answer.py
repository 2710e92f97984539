"""The answer to a batch and its audit record: results, errors in the places of items that failed, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from kms_grpc.crypto import raw_batch
from kms_grpc.errors import KMSError, ValidationException
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.constraints import cut
from kms_grpc.operations.contract.status import status_of
from kms_grpc.operations.kinds.batch_groups import Group
from kms_grpc.operations.operation import Operation
from kms_grpc.v1 import envelope_pb2 as pb

ERROR_TEXT_BYTES: Final = 400
"""Longest text of one item's error, so that the errors of 10,000 items fit into an answer."""

Failed: TypeAlias = list[tuple[raw_batch.Failure, KMSError]]
Groups: TypeAlias = Sequence[Group | KMSError]


class BatchAnswer:
    """The answer to one batch, while it is put together."""

    def __init__(self, call: Call, operation: Operation, *, counts_data_keys: bool) -> None:
        self._call, self._operation, self._counts_data_keys = call, operation, counts_data_keys
        self._keys: dict[tuple[str, str], int] = {}
        """(key ARN, material id) to its place in the answer's list of keys."""
        self._written: dict[Hashable, bytes] = {}
        """Errors, serialised as they stand in the answer."""

    def place(self, group: Group | KMSError) -> raw_batch.Admitted:
        """Returns a group for the core, with the places of its keys in the answer."""
        if isinstance(group, KMSError):
            return raw_batch.Admitted()
        places = [self._keys.setdefault((arn, material), len(self._keys)) for arn, material, _ in group.materials]
        materials = [material for _, _, material in group.materials]
        return raw_batch.Admitted(materials[0], materials[-1], places[0], places[-1])

    def list_of_keys(self) -> bytes:
        """Returns the serialised list of keys, which stands behind the results."""
        used = [pb.BatchKey(key_id=arn, key_material_id=material) for arn, material in self._keys]
        written: bytes = self._operation.response(keys=used).SerializeToString()
        return written

    def require_room(self, size: int) -> None:
        """Raises ValidationException where an answer of `size` bytes is larger than a message may be."""
        most = self._call.service.limits.message_bytes
        if size > most:
            raise ValidationException(
                f"The answer would have {size} bytes; the largest has {most} (GetLimits:"
                " Batches.MaxResponseMessageBytes). Send fewer or smaller items."
            )

    def assembled(self, batch: raw_batch.ScannedBatch, planned: int, failed: Failed) -> bytes:
        """Returns the serialised answer. `planned` is its size in bytes without errors."""
        errors = [(failure, self._as_result(error)) for failure, error in failed]
        self.require_room(planned + sum(len(written) for _, written in errors))
        return batch.results(errors)

    def _as_result(self, error: KMSError) -> bytes:
        """Returns an error serialised as one of the results. Items with equal errors share it."""
        same = (error.code, error.text, error.key, error.state)
        written = self._written.get(same)
        if written is None:
            answer: Any = self._operation.response()
            text = cut(error.text, ERROR_TEXT_BYTES)
            answer.results.add().error.CopyFrom(status_of(error, text, self._call.region))
            written = self._written[same] = answer.SerializeToString()
        return written

    def record(self, groups: Groups, done: Sequence[raw_batch.Done], failed: Failed) -> None:
        """Notes in the call's one audit record how many items each key processed, how many data keys it wrapped, and
        how many items got which error."""
        items, data_keys = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for group, of_group in zip(groups, done, strict=True):
            if isinstance(group, Group) and of_group.items:
                items.update({key[:2]: of_group.items for key in group.materials})
                data_keys.update({key[:2]: of_group.data_keys for key in group.materials})
        self._call.record.additionalEventData = {
            "keys": [
                {"keyId": key[0], "keyMaterialId": key[1], "items": count, **self._made(data_keys[key])}
                for key, count in items.items()
            ],
            "errors": list(_counted(groups, failed)),
        }

    def _made(self, data_keys: int) -> dict[str, int]:
        return {"dataKeys": data_keys} if self._counts_data_keys else {}


def _counted(groups: Groups, failed: Failed) -> Iterator[dict[str, Any]]:
    """Yields each error with its key, where the key is known, and the number of items that got it."""
    counts = Counter((error.code, error.key or _opening_key(groups, failure)) for failure, error in failed)
    for (code, key), items in counts.items():
        yield {"errorCode": code, "items": items} | ({"keyId": key} if key else {})


def _opening_key(groups: Groups, failure: raw_batch.Failure) -> str | None:
    """Returns the ARN of the key under which a blob did not open. The record names it; the caller's error does not."""
    group = groups[failure.group] if failure.status == raw_batch.INVALID_CIPHERTEXT else None
    return group.materials[-1][0] if isinstance(group, Group) else None
