"""One batch on its way: its request is scanned, its groups are admitted, its items are processed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from kms_grpc.crypto import raw_batch, raw_request
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import InvalidCiphertextException, KMSError, ValidationException
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm
from kms_grpc.operations.call import Call
from kms_grpc.operations.contract.constraints import not_null
from kms_grpc.operations.contract.data_key_length import DATA_KEY_BYTES
from kms_grpc.operations.contract.descriptors import field_named
from kms_grpc.operations.contract.validation import decode, validator_for
from kms_grpc.operations.kinds.batch_answer import BatchAnswer, Failed
from kms_grpc.operations.kinds.batch_groups import BatchItems, Group, GroupAdmission
from kms_grpc.operations.operation import Operation

ATTEMPTS: Final = 8
"""How often a batch, or a part of one, is repeated because its keys left the keyring."""
PART: Final = 8
"""A part has at most 1/PART as many items as a shard keeps keys loaded. A shard keeps half of those keys for certain,
an item may need two keys, and other calls need some."""
WARM_ITEMS: Final = 2_000
WARM_GROUPS: Final = 16
"""Limits of batches that are answered on the door's event loop (batch.WARM_BYTES)."""

Groups: TypeAlias = Sequence[Group | KMSError]


class BatchRun:
    """One batch. Used once."""

    def __init__(
        self, items: BatchItems, call: Call, operation: Operation, raw: bytes, admission: GroupAdmission, *, anew: bool
    ) -> None:
        """`anew`: groups are admitted by the checks even where Permits hold."""
        self.items, self.call, self.operation, self.raw = items, call, operation, raw
        self.admission, self.anew = admission, anew
        self.met: dict[str, Any] = {}
        """Keys that the audit record names, by ARN."""
        self.judged: dict[raw_batch.Item, KMSError] = {}
        """Errors of items that break a limit. Equal items share one."""

    def answer(self, *, warm: bool = False) -> bytes:
        """Returns the serialised response. `warm`: raises NotWarm where the batch is large or is not plain."""
        batch = self._scanned(warm)
        if warm and (batch.unfit or max(batch.items, batch.data_keys) > WARM_ITEMS or batch.groups > WARM_GROUPS):
            raise NotWarm
        if not warm:  # a Permit tells by itself whether it is current
            self.call.shard.catch_up()
        groups = self._admitted_groups(batch)
        if groups is None:
            batch = self._scan(by_context=True)
            if warm and batch.groups > WARM_GROUPS:
                raise NotWarm
            groups = self._admitted_groups(batch, by_context=True) or []
        answer = BatchAnswer(self.call, self.operation, counts_data_keys=self._makes_data_keys)
        admitted = [answer.place(group) for group in groups]
        planned = batch.plan(admitted, self._data_key_bytes(batch), behind=answer.list_of_keys())
        answer.require_room(planned)
        self._do(batch, groups, admitted)
        done, failures = batch.tally()
        failed: Failed = [(failure, self._error(batch, groups, failure)) for failure in failures]
        self.call.keys = tuple(self.met.values())
        answer.record(groups, done, failed)
        return answer.assembled(batch, planned, failed)

    @property
    def _makes_data_keys(self) -> bool:
        return self.items.core_operation == raw_request.DATA_KEY

    # --- scanning ------------------------------------------------------------------------------------------------

    def _scanned(self, warm: bool) -> raw_batch.ScannedBatch:
        """Returns the scanned batch. Raises ValidationException if the request itself is wrong; items are checked
        later, one by one."""
        call, operation = self.call, self.operation
        batch = raw_batch.scan(self.items.core_operation, self.raw)
        if batch is None and warm:
            raise NotWarm
        if batch is None:
            return self._rewritten()
        head = self.items.head(operation.request, batch)
        call.record.requestParameters = (operation.describe(head) or {}) | _items_recorded(batch)
        validator_for(operation.request)(head)  # type: ignore[arg-type]  # classes hash
        self._require_count(batch)
        return batch

    def _rewritten(self) -> raw_batch.ScannedBatch:
        """Reads the request by protobuf and writes it again for the scanner."""
        call, operation = self.call, self.operation
        message = decode(operation.request, self.raw)
        parameters = call.record.requestParameters = operation.describe(message) or {}
        validator_for(operation.request)(message)  # type: ignore[arg-type]  # classes hash
        _require_contexts(message)
        self.raw = message.SerializeToString()
        batch = self._scan()
        call.record.requestParameters = parameters | _items_recorded(batch)
        return batch

    def _scan(self, *, by_context: bool = False) -> raw_batch.ScannedBatch:
        """Scans bytes that were scanned before, or that protobuf wrote."""
        batch = raw_batch.scan(self.items.core_operation, self.raw, by_context=by_context, written=True)
        if batch is None:
            raise AssertionError("the core does not read what protobuf wrote")
        self._require_count(batch)
        return batch

    def _require_count(self, batch: raw_batch.ScannedBatch) -> None:
        most = raw_batch.MAXIMUM_ITEMS
        if self._makes_data_keys and batch.data_keys > most:
            raise ValidationException(
                f"A batch makes at most {most} data keys (GetLimits: Batches.MaxItems); the items ask for"
                f" {batch.data_keys}."
            )

    def _data_key_bytes(self, batch: raw_batch.ScannedBatch) -> int:
        return DATA_KEY_BYTES.get(batch.key_spec) or batch.number_of_bytes or 0

    # --- admitting -----------------------------------------------------------------------------------------------

    def _admitted_groups(
        self, batch: raw_batch.ScannedBatch, *, by_context: bool = False
    ) -> list[Group | KMSError] | None:
        """Returns each group, or the error of its items. None where a decision reads the encryption context while the
        items of a group may differ in it."""
        groups: list[Group | KMSError] = []
        for number in range(batch.groups):
            of = batch.group(number)
            if not by_context and self.admission.counts_contexts(_identity(of)):
                return None
            groups.append(self._group(of))
            if self.call.reads_context and not by_context:
                return None
        return groups

    def _group(self, of: raw_batch.Item, *, anew: bool = False) -> Group | KMSError:
        checks.check_call(self.call)  # thousands of groups take seconds, and the deadline may pass
        self.call.stable, self.call.reads_context = True, False
        try:
            permit = self.admission.admit(lambda: self.items.message(of), _identity(of), anew=anew or self.anew)
        except KMSError as error:
            self._meet(self.call.keys)
            return error
        self._meet(permit.keys)
        assert isinstance(permit.materials, Group)
        return permit.materials

    def _meet(self, keys: Sequence[Any]) -> None:
        self.met.update((key.arn, key) for key in keys)

    # --- doing ---------------------------------------------------------------------------------------------------

    def _do(self, batch: raw_batch.ScannedBatch, groups: Groups, admitted: Sequence[raw_batch.Admitted]) -> None:
        """Processes all items at once. If keys have left the keyring, processes part by part, so that the keys of a
        part stay loaded together."""
        try:
            batch.run()
        except StaleHandle:
            most = max(1, self.call.shard.facts().capacity // PART)
            try:
                for first in range(0, batch.items, most):
                    self._do_part(batch, groups, admitted, first, min(first + most, batch.items))
            except BaseException:
                batch.forget()
                raise

    def _do_part(
        self,
        batch: raw_batch.ScannedBatch,
        groups: Groups,
        admitted: Sequence[raw_batch.Admitted],
        first: int,
        end: int,
    ) -> None:
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                for number in batch.groups_of(first, end):
                    batch.admit(number, self._readmitted(batch.group(number), groups[number], admitted[number]))
                batch.run(first, end)
            except StaleHandle:
                if not attempts_left:
                    raise
            else:
                return

    def _readmitted(
        self, of: raw_batch.Item, group: Group | KMSError, admitted: raw_batch.Admitted
    ) -> raw_batch.Admitted:
        """Admits a group again, which loads its keys. Raises StaleHandle if its keys or materials have changed, because
        the answer was planned for the former ones."""
        again = self._group(of, anew=True)
        if isinstance(group, KMSError) or isinstance(again, KMSError) or not again.has_materials_of(group):
            raise StaleHandle("a key has changed since the batch was planned")
        materials = [material for _, _, material in again.materials]
        return admitted._replace(material=materials[0], source=materials[-1])

    # --- items that failed ---------------------------------------------------------------------------------------

    def _error(self, batch: raw_batch.ScannedBatch, groups: Groups, failure: raw_batch.Failure) -> KMSError:
        if failure.status in (raw_batch.NOT_ADMITTED, raw_batch.INVALID_CIPHERTEXT):
            group = groups[failure.group]
            return group if isinstance(group, KMSError) else InvalidCiphertextException()
        of = batch.item(failure.number)
        return self.judged.get(of) or self.judged.setdefault(of, self._judged(of))

    def _judged(self, of: raw_batch.Item) -> KMSError:
        """Returns the error of an item that breaks a limit: the one that a single call would get."""
        checks.check_call(self.call)
        item = self.items.message(of)
        try:
            validator_for(self.items.item)(item)  # type: ignore[arg-type]  # classes hash
            _require_contexts(item)
            if not (of.key or self.items.core_operation == raw_request.DECRYPT):
                raise ValidationException(not_null(field_named(self.items.item, self.items.key)))
            self.admission.admit(lambda: item, of.own, anew=True)
        except KMSError as error:
            self._meet(self.call.keys)
            return error
        raise AssertionError("the core refused a good item")


def _identity(of: raw_batch.Item) -> bytes:
    """Returns what an item says about its keys."""
    return b"\0".join((of.prefix, of.key, of.source_key))


def _items_recorded(batch: raw_batch.ScannedBatch) -> dict[str, int]:
    """Returns how many items there are, and how many have an encryption context of their own, which the audit record
    does not show."""
    own = batch.with_own_context
    return {"items": batch.items} | ({"itemsWithOwnEncryptionContext": own} if own else {})


def _require_contexts(message: Any) -> None:
    """Raises ValidationException where an encryption context of the message itself is too long."""
    for field in message.DESCRIPTOR.fields:
        if field.name.endswith("encryption_context"):
            canonical(getattr(message, field.name))
