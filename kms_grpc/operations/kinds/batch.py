"""Batches: many items in one request, each with its result or its error, over the request's own bytes.

The core finds the items and puts them into groups: those that say the same of their keys. Each group is admitted once,
by the same checks as a single call, on its first item; where a decision has read the encryption context, the groups are
made anew, so that all items of one have the same. Then one C call does all items of the groups that were admitted, and
what was not done gets its google.rpc.Status in its place. No object is made of an item that is done.

What the scanner doesn't take, protobuf's reader does: it says what is wrong, or writes the request again in a form that
the scanner takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.message import Message

from kms_grpc.crypto import raw_batch, raw_request
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import (
    DependencyTimeoutException,
    InvalidCiphertextException,
    KMSError,
    KMSInternalException,
    ValidationException,
)
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import Permit
from kms_grpc.operations.contract.constraints import cut, not_null
from kms_grpc.operations.contract.descriptors import field_named
from kms_grpc.operations.contract.status import status_of
from kms_grpc.operations.contract.validation import decode, validator_for
from kms_grpc.operations.kinds.answering import NotWarm
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.v1 import envelope_pb2 as pb
from kms_grpc.v1 import keys_pb2

if TYPE_CHECKING:
    from kms_grpc.operations.call import Call

DATA_KEY_BYTES: Final[Mapping[int, int]] = {keys_pb2.DATA_KEY_SPEC_AES_128: 16, keys_pb2.DATA_KEY_SPEC_AES_256: 32}
LOOKS: Final = 8
HAND: Final = 8
"""By so much fewer keys than a shard keeps are at hand together: it keeps half of them for certain, a group may be of
two, and other calls go on."""
WARM_BYTES: Final = 2 * 1024 * 1024
WARM_MESSAGES: Final = 2_000
WARM_GROUPS: Final = 16
"""What is answered on the door's own loop is no larger: 1.5 ms of it on OpenSSL 3.0, 0.7 on 3.5. To hand 1 MiB to a
thread and back, and to take turns with it, costs 0.3 ms of CPU; to encrypt it in 1,000 items takes 0.6, or 0.3."""
ERROR_TEXT_BYTES: Final = 400
"""Of one item's error, so that ten thousand of them go into an answer."""

Admit = Callable[["Call", Callable[[], Any], bytes, bool], Permit]
"""(call, what makes the item, what it says of its keys, whether to ask anew) to the Permit that holds. KMSError."""
Admitted = Sequence[raw_batch.Admitted]
Failed = list[tuple[raw_batch.Failure, KMSError]]


class Materials(NamedTuple):
    """What a batch's handler says of a group: which materials its items are sealed and opened under."""

    sealing: LoadedMaterial | None = None
    opening: LoadedMaterial | None = None


class Group(NamedTuple):
    """What a Permit of a batch holds: materials with their keys' ARNs, and as C needs them."""

    materials: tuple[tuple[str, str, raw_request.CMaterial], ...]
    """(ARN, material id in hex, for C): the one that seals, or opens where nothing is sealed; then the one that opens
    what is encrypted anew."""

    def is_as(self, other: Group) -> bool:
        """Of the same keys and materials, if by other handles."""
        return [material[:2] for material in self.materials] == [material[:2] for material in other.materials]


@dataclass(frozen=True, slots=True)
class BatchForm:
    """Declared by the row of a batch. Its handler is asked once for a group, with the group's first item, and answers
    `Materials`."""

    kind: int
    item: type[Message]
    key: str = "key_id"
    """The item's fields with the key's name, and with that of the key of a blob that is encrypted anew."""
    source_key: str | None = None

    def run(self, call: Call, raw: bytes, admit: Admit) -> bytes:
        """The serialised answer."""
        for look in range(LOOKS):
            try:
                return _Run(self, call, raw, admit, anew=look > 0).answer()
            except StaleHandle:
                continue
        raise DependencyTimeoutException("The keys left the keyring as often as they were loaded. Repeat the call.")

    def warm(self, call: Call, raw: bytes, admit: Admit) -> bytes:
        """The same where nothing need be looked up and it takes but a moment; else NotWarm, which `admit` may raise."""
        if len(raw) > WARM_BYTES:
            raise NotWarm
        return _Run(self, call, raw, admit, anew=False).answer(warm=True)

    def under(self, call: Call, item: Any) -> Group:
        """For a Permit of a group that was admitted."""
        materials: Materials = call.operation.handler(call, item, *call.keys)
        keys = reversed(call.keys)  # ReEncrypt's source comes first in a row, and last here
        loaded = [material for material in materials if material is not None]
        return Group(tuple(_for_c(key.arn, material) for key, material in zip(keys, loaded, strict=True)))

    def message(self, of: raw_batch.Item) -> Any:
        """An item with all that it has from the batch."""
        return self._filled(self.item.FromString(of.pairs + of.own), of)

    def head(self, call: Call, batch: raw_batch.Batch) -> Any:
        """What the batch says for all items, with one empty item in place of them."""
        of = batch.head()
        head = self._filled(call.operation.request.FromString(of.pairs), of)
        head.items.add()
        if batch.key_spec:
            head.key_spec = batch.key_spec
        if batch.number_of_bytes is not None:
            head.number_of_bytes = batch.number_of_bytes
        return head

    def _filled(self, message: Any, of: raw_batch.Item) -> Any:
        setattr(message, self.key, of.key.decode())
        if self.source_key is not None:
            setattr(message, self.source_key, of.source_key.decode())
        return message


def _for_c(arn: str, material: LoadedMaterial) -> tuple[str, str, raw_request.CMaterial]:
    made = raw_request.material(material.handle, material.prefix, material.associated_prefix)
    if made is None:
        raise KMSInternalException(f"{arn} is longer than a batch takes: use single calls.")
    return arn, material.material_id.hex(), made


class _Run:
    """One batch on its way."""

    def __init__(self, form: BatchForm, call: Call, raw: bytes, admit: Admit, *, anew: bool) -> None:
        self.form, self.call, self.raw, self.admit, self.anew = form, call, raw, admit, anew
        self.keys: dict[tuple[str, str], int] = {}
        """(ARN, material id) to its place in the answer's list."""
        self.met: dict[str, Any] = {}
        """Keys that the audit record names, by ARN."""
        self.written: dict[Hashable, bytes] = {}
        """Errors as they stand in the answer."""
        self.judged: dict[raw_batch.Item, KMSError] = {}
        """What is wrong with items that are beyond their limits: often the same with many."""

    def answer(self, *, warm: bool = False) -> bytes:
        batch = self._scanned(warm)
        if warm and (batch.unfit or max(batch.items, batch.data_keys) > WARM_MESSAGES or batch.groups > WARM_GROUPS):
            raise NotWarm
        self.call.shard.catch_up()
        groups = self._admitted_groups(batch)
        if groups is None:
            batch = self._scan(by_context=True)
            groups = self._admitted_groups(batch, by_context=True) or []
        admitted = [self._for_run(group) for group in groups]
        planned = batch.plan(admitted, self._data_key_bytes(batch), behind=self._list_of_keys())
        self._require_room(planned)
        self._do(batch, groups, admitted)
        done, failures = batch.tally()
        failed = [(failure, self._error(batch, groups, failure)) for failure in failures]
        self._note(groups, done, failed)
        return self._assembled(batch, planned, failed)

    # --- reading -------------------------------------------------------------------------------------------------

    def _scanned(self, warm: bool) -> raw_batch.Batch:
        """ValidationException where the request as such is wrong; items are judged one by one, and later."""
        call, operation = self.call, self.call.operation
        batch = raw_batch.scan(self.form.kind, self.raw)
        if batch is None and warm:
            raise NotWarm
        if batch is None:
            message = decode(operation.request, self.raw)
            told = call.record.requestParameters = operation.describe(message) or {}
            operation.validate(message)
            _require_contexts(message)
            self.raw = message.SerializeToString()
            batch = self._scan()
            call.record.requestParameters = told | _told_of_items(batch)
            return batch
        head = self.form.head(call, batch)
        told = operation.describe(head) or {}
        call.record.requestParameters = told | _told_of_items(batch)
        operation.validate(head)
        self._require_count(batch)
        return batch

    def _scan(self, *, by_context: bool = False) -> raw_batch.Batch:
        """What was read before, or was written by protobuf."""
        batch = raw_batch.scan(self.form.kind, self.raw, by_context=by_context, written=True)
        if batch is None:
            raise AssertionError("the core does not read what protobuf wrote")
        self._require_count(batch)
        return batch

    def _require_count(self, batch: raw_batch.Batch) -> None:
        most = raw_batch.MAXIMUM_ITEMS
        if self.form.kind == raw_request.DATA_KEY and batch.data_keys > most:
            raise ValidationException(
                f"A batch makes at most {most} data keys (GetLimits: Batches.MaxItems); the items ask for"
                f" {batch.data_keys}."
            )

    def _data_key_bytes(self, batch: raw_batch.Batch) -> int:
        return DATA_KEY_BYTES.get(batch.key_spec) or batch.number_of_bytes or 0

    # --- admitting -----------------------------------------------------------------------------------------------

    def _admitted_groups(self, batch: raw_batch.Batch, *, by_context: bool = False) -> list[Group | KMSError] | None:
        """What became of each group; None where a decision has read encryption contexts, and groups have several."""
        groups: list[Group | KMSError] = []
        for number in range(batch.groups):
            groups.append(self._group(batch.group(number)))
            if not (by_context or self.call.stable):
                return None
        return groups

    def _group(self, of: raw_batch.Item, *, anew: bool = False) -> Group | KMSError:
        checks.check_call(self.call)  # ten thousand keys take seconds: somebody must still wait
        self.call.stable = True
        said = b"\0".join((of.prefix, of.key, of.source_key))
        try:
            permit = self.admit(self.call, lambda: self.form.message(of), said, anew or self.anew)
        except KMSError as error:
            self._meet(self.call.keys)
            return error
        self._meet(permit.keys)
        assert isinstance(permit.under, Group)
        return permit.under

    def _meet(self, keys: Sequence[Any]) -> None:
        self.met.update((key.arn, key) for key in keys)

    def _for_run(self, group: Group | KMSError) -> raw_batch.Admitted:
        if isinstance(group, KMSError):
            return raw_batch.Admitted()
        places = [self.keys.setdefault((arn, material), len(self.keys)) for arn, material, _ in group.materials]
        materials = [material for _, _, material in group.materials]
        return raw_batch.Admitted(materials[0], materials[-1], places[0], places[-1])

    # --- doing ---------------------------------------------------------------------------------------------------

    def _do(self, batch: raw_batch.Batch, groups: Sequence[Group | KMSError], admitted: Admitted) -> None:
        """All at once; or where keys have left the keyring, in parts of no more than stay at hand together."""
        try:
            batch.run()
        except StaleHandle:
            most = max(1, self.call.shard.facts().capacity // HAND)
            try:
                for first in range(0, batch.items, most):
                    self._do_part(batch, groups, admitted, first, min(first + most, batch.items))
            except BaseException:
                batch.forget()
                raise

    def _do_part(
        self, batch: raw_batch.Batch, groups: Sequence[Group | KMSError], admitted: Admitted, first: int, end: int
    ) -> None:
        for looks_left in reversed(range(LOOKS)):
            try:
                for number in batch.groups_of(first, end):
                    batch.admit(number, self._as_before(batch.group(number), groups[number], admitted[number]))
                batch.run(first, end)
            except StaleHandle:
                if not looks_left:
                    raise
            else:
                return

    def _as_before(
        self, of: raw_batch.Item, group: Group | KMSError, admitted: raw_batch.Admitted
    ) -> raw_batch.Admitted:
        """A group admitted once more, its keys loaded where they have left the keyring. StaleHandle where anything has
        become of them: its place was planned for what it was."""
        again = self._group(of, anew=True)
        if isinstance(group, KMSError) or isinstance(again, KMSError) or not again.is_as(group):
            raise StaleHandle("a key has changed since the batch was planned")
        materials = [material for _, _, material in again.materials]
        return admitted._replace(material=materials[0], source=materials[-1])

    # --- what was not done ---------------------------------------------------------------------------------------

    def _error(
        self, batch: raw_batch.Batch, groups: Sequence[Group | KMSError], failure: raw_batch.Failure
    ) -> KMSError:
        if failure.status in (raw_batch.NOT_ADMITTED, raw_batch.INVALID_CIPHERTEXT):
            group = groups[failure.group]
            return group if isinstance(group, KMSError) else InvalidCiphertextException()
        of = batch.item(failure.number)
        return self.judged.get(of) or self.judged.setdefault(of, self._judged(of))

    def _judged(self, of: raw_batch.Item) -> KMSError:
        """An item that is beyond its limits, as the single call would word it."""
        checks.check_call(self.call)
        item = self.form.message(of)
        try:
            validator_for(self.form.item)(item)  # type: ignore[arg-type]  # classes hash
            _require_contexts(item)
            if not (of.key or self.form.kind == raw_request.DECRYPT):
                raise ValidationException(not_null(field_named(self.form.item, self.form.key)))
            self.admit(self.call, lambda: item, of.own, True)
        except KMSError as error:
            self._meet(self.call.keys)
            return error
        raise AssertionError("the core refused a good item")

    # --- answer and record ---------------------------------------------------------------------------------------

    def _require_room(self, size: int) -> None:
        most = self.call.service.limits.message_bytes
        if size > most:
            raise ValidationException(
                f"The answer would have {size} bytes; the largest has {most} (GetLimits:"
                " Batches.MaxResponseMessageBytes). Send fewer or smaller items."
            )

    def _list_of_keys(self) -> bytes:
        """As it stands in the answer, behind the results."""
        used = [pb.BatchKey(key_id=arn, key_material_id=material) for arn, material in self.keys]
        written: bytes = self.call.operation.response(keys=used).SerializeToString()
        return written

    def _assembled(self, batch: raw_batch.Batch, planned: int, failed: Failed) -> bytes:
        errors = [(failure, self._as_result(error)) for failure, error in failed]
        self._require_room(planned + sum(len(written) for _, written in errors))
        return batch.results(errors)

    def _as_result(self, error: KMSError) -> bytes:
        """As it stands among the results; one that many items share is written once."""
        same = (error.code, error.text, error.key, error.state)
        written = self.written.get(same)
        if written is None:
            answer: Any = self.call.operation.response()
            answer.results.add().error.CopyFrom(status_of(error, cut(error.text, ERROR_TEXT_BYTES), self.call.region))
            written = self.written[same] = answer.SerializeToString()
        return written

    def _note(self, groups: Sequence[Group | KMSError], done: Sequence[raw_batch.Done], failed: Failed) -> None:
        """The call's one record: which keys did how many items, or made how many data keys, and which errors the others
        got."""
        items, data_keys = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for group, of_group in zip(groups, done, strict=True):
            if isinstance(group, Group) and of_group.items:
                items.update({key[:2]: of_group.items for key in group.materials})
                data_keys.update({key[:2]: of_group.data_keys for key in group.materials})
        self.call.keys = tuple(self.met.values())
        self.call.record.additionalEventData = {
            "keys": [
                {"keyId": key[0], "keyMaterialId": key[1], "items": count, **self._made(data_keys[key])}
                for key, count in items.items()
            ],
            "errors": list(_told(groups, failed)),
        }

    def _made(self, data_keys: int) -> dict[str, int]:
        return {"dataKeys": data_keys} if self.form.kind == raw_request.DATA_KEY else {}


def _told_of_items(batch: raw_batch.Batch) -> dict[str, int]:
    """How many, and of how many the record does not name the encryption context."""
    own = batch.with_own_context
    return {"items": batch.items} | ({"itemsWithOwnEncryptionContext": own} if own else {})


def _told(groups: Sequence[Group | KMSError], failed: Failed) -> Iterator[dict[str, Any]]:
    """Errors, their keys where they are known, and how many items got each."""
    counts = Counter((error.code, error.key or _opened_under(groups, failure)) for failure, error in failed)
    for (code, key), items in counts.items():
        yield {"errorCode": code, "items": items} | ({"keyId": key} if key else {})


def _opened_under(groups: Sequence[Group | KMSError], failure: raw_batch.Failure) -> str | None:
    """The key of a blob that didn't open; its caller is not told."""
    group = groups[failure.group] if failure.status == raw_batch.INVALID_CIPHERTEXT else None
    return group.materials[-1][0] if isinstance(group, Group) else None


def _require_contexts(message: Any) -> None:
    """ValidationException where one of a message's own encryption contexts is too long."""
    for field in message.DESCRIPTOR.fields:
        if field.name.endswith("encryption_context"):
            canonical(getattr(message, field.name))
