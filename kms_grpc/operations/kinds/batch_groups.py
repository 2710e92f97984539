"""Groups of a batch: items that say the same about their keys, admitted once and processed under the same materials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import Message

from kms_grpc.crypto import raw_batch, raw_request
from kms_grpc.errors import KMSInternalException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission import checks
from kms_grpc.operations.admission.permits import NotWarm, Permit, Permits, permit_for
from kms_grpc.operations.call import Call
from kms_grpc.operations.operation import Operation
from kms_grpc.registry.loaded_materials import LoadedMaterial


class ItemMaterials(NamedTuple):
    """The key materials that a group's items are sealed and opened under. A batch's handler returns them."""

    sealing: LoadedMaterial | None = None
    opening: LoadedMaterial | None = None


class Group(NamedTuple):
    """An admitted group. Its Permit holds it."""

    materials: tuple[tuple[str, str, raw_request.CMaterial], ...]
    """(key ARN, material id in hex, material for the core): first the one that seals, or that opens where nothing is
    sealed; then the one that opens what ReEncryptBatch seals again."""

    def has_materials_of(self, other: Group) -> bool:
        """Returns whether both have the same keys and materials; their handles in the keyring may differ."""
        return [material[:2] for material in self.materials] == [material[:2] for material in other.materials]


@dataclass(frozen=True, slots=True)
class BatchItems:
    """How the items of a batch are found in its request."""

    core_operation: int
    """raw_request.ENCRYPT, DECRYPT, RE_ENCRYPT or DATA_KEY."""
    item: type[Message]
    key: str = "key_id"
    """The item's field that names the key."""
    source_key: str | None = None
    """The item's field that names the key of the blob which ReEncryptBatch opens."""

    def message(self, of: raw_batch.Item) -> Any:
        """Returns an item as a message, with the fields that it takes from the batch."""
        return self._with_keys(self.item.FromString(of.pairs + of.own), of)

    def head(self, request: type[Message], batch: raw_batch.ScannedBatch) -> Any:
        """Returns a request with the fields that hold for all items, and one empty item in place of the items."""
        of = batch.head()
        head = self._with_keys(request.FromString(of.pairs), of)
        head.items.add()
        if batch.key_spec:
            head.key_spec = batch.key_spec
        if batch.number_of_bytes is not None:
            head.number_of_bytes = batch.number_of_bytes
        return head

    def _with_keys(self, message: Any, of: raw_batch.Item) -> Any:
        setattr(message, self.key, of.key.decode())
        if self.source_key is not None:
            setattr(message, self.source_key, of.source_key.decode())
        return message


class GroupAdmission:
    """Admits the groups of one batch: by a Permit, or by the checks of a single call on the group's first item."""

    def __init__(
        self,
        call: Call,
        operation: Operation,
        permits: Permits,
        materials: Callable[[Call, Any, tuple[Key, ...]], ItemMaterials],
        *,
        by_permit_only: bool = False,
    ) -> None:
        """`materials` calls the batch's handler. `by_permit_only`: NotWarm is raised where no Permit holds."""
        self._call, self._operation, self._permits = call, operation, permits
        self._materials, self._by_permit_only = materials, by_permit_only

    def admit(self, item: Callable[[], Any], identity: bytes, *, anew: bool = False) -> Permit:
        """Returns a Permit whose `materials` is the Group. `item` makes the group's first item as a message. `anew`
        asks for the checks even where a Permit holds. Raises KMSError."""
        permit = None if anew else self._permits.find(self._call, identity, lambda _: self._operation.digest(item()))
        if permit is not None:
            return permit
        if self._by_permit_only:
            raise NotWarm
        return self._admit_anew(item(), identity)

    def counts_contexts(self, identity: bytes) -> bool:
        """Returns whether the items of a group must have equal encryption contexts, by what is known of it."""
        return self._permits.counts_contexts(self._call, identity)

    def _admit_anew(self, item: Any, identity: bytes) -> Permit:
        call = self._call
        checks.admit(call, self._operation, item)
        permit = permit_for(call, self._group(item), counts=False)
        if call.stable:
            self._permits.keep(call, identity, permit, self._operation.digest, item)
        return permit

    def _group(self, item: Any) -> Group:
        call = self._call
        loaded = [material for material in self._materials(call, item, call.keys) if material is not None]
        keys = reversed(call.keys)  # the selectors of ReEncrypt name the source first, ItemMaterials has it last
        return Group(tuple(_for_core(key.arn, material) for key, material in zip(keys, loaded, strict=True)))


def _for_core(arn: str, material: LoadedMaterial) -> tuple[str, str, raw_request.CMaterial]:
    made = raw_request.material(material.handle, material.prefix, material.associated_prefix)
    if made is None:
        raise KMSInternalException(f"{arn} is too long for a batch: use single calls.")
    return arn, material.material_id.hex(), made
