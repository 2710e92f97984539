"""Batches on serialised messages: the C core reads the items from the request, processes them, and writes the results.

    scan     reads the items and groups those that name the same keys
    plan     assigns each result its place, given the material that each group may use
    run      processes items, in one C call with the GIL released, or in several on parts of the batch
    results  returns the serialised results, with the errors of failed items in their places

C writes into the bytes object that becomes the answer. Python makes no object for an item unless it fails. Each thread
has one batch, which is valid until the same thread scans again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from kms_grpc.crypto import raw_request
from kms_grpc.crypto._native import ffi, lib
from kms_grpc.crypto.errors import raise_for
from kms_grpc.crypto.new_bytes import in_place, new_bytes

MAXIMUM_ITEMS: Final[int] = lib.KMS_MAXIMUM_ITEMS
INVALID_CIPHERTEXT: Final[int] = lib.KMS_INVALID_CIPHERTEXT
NOT_ADMITTED: Final[int] = lib.KMS_NOT_ADMITTED


class Admitted(NamedTuple):
    """The materials that a group may use; None if it was refused. `key` and `source_key` are indices into the answer's
    list of keys."""

    material: raw_request.CMaterial | None = None
    source: raw_request.CMaterial | None = None
    key: int = 0
    source_key: int = 0


class Item(NamedTuple):
    """The fields of an item: its own message, the names of its keys, and the pairs of its encryption contexts. The last
    two come from the batch if the item has none."""

    own: bytes
    key: bytes
    source_key: bytes
    pairs: bytes
    prefix: bytes
    """The first 55 bytes of its ciphertext blob, if it has one."""


class Done(NamedTuple):
    """The number of a group's items that succeeded, and of their data keys."""

    items: int
    data_keys: int


class Failure(NamedTuple):
    """An item that failed. `status` is INVALID_CIPHERTEXT, NOT_ADMITTED, or another if a field exceeds its limit."""

    number: int
    group: int
    status: int
    place: int
    """The offset of its error in the results."""


class ScannedBatch:
    """A scanned request."""

    def __init__(self, made: Any, kind: int, raw: bytes) -> None:
        self._batch = made
        self._kind = kind
        self._raw = raw
        self._out: bytes | None = None
        self._size = 0
        self._behind = b""
        self.items = int(made.item_count)
        self.groups = int(made.group_count)
        self.data_keys = int(made.data_keys)
        self.unfit = int(made.unfit)
        """Number of items with a field that exceeds its limit."""
        self.with_own_context = int(made.with_own_context)
        """Number of items with an encryption context of their own."""
        self.key_spec = int(made.key_spec)
        self.number_of_bytes = int(made.number_of_bytes) if made.has_number_of_bytes else None

    def head(self) -> Item:
        """Returns the batch's own keys and contexts, for items without their own."""
        batch = self._batch
        return self._item(batch, b"", b"")

    def group(self, number: int) -> Item:
        """Returns the first item of a group."""
        return self.item(self._batch.first_items[number])

    def item(self, number: int) -> Item:
        item = self._batch.items[number]
        has_blob = self._kind in (raw_request.DECRYPT, raw_request.RE_ENCRYPT)
        prefix = self._bytes(item.data)[: lib.KMS_PREFIX_SIZE] if has_blob else b""
        return self._item(item, self._bytes(item.own), prefix)

    def _item(self, item: Any, own: bytes, prefix: bytes) -> Item:
        pairs = self._bytes(item.context) + self._bytes(item.source_context)
        return Item(own, self._bytes(item.key), self._bytes(item.source_key), pairs, prefix)

    def _bytes(self, place: Any) -> bytes:
        return self._raw[place.at : place.at + place.len]

    def plan(self, admitted: Sequence[Admitted], data_key_bytes: int, behind: bytes = b"") -> int:
        """Assigns each result its place. Returns the size of all results and of `behind`, the bytes after them."""
        self._admitted = ffi.new("kms_admitted[]", max(1, len(admitted)))
        self._materials = list(admitted)  # keeps the materials alive
        for number, group in enumerate(admitted):
            self.admit(number, group)
        self._data_key_bytes = data_key_bytes
        self._size = int(lib.kms_batch_plan(self._batch, self._kind, self._admitted, data_key_bytes))
        self._behind = behind
        return self._size + len(behind)

    def admit(self, number: int, group: Admitted) -> None:
        """Sets the materials of a group. After `plan`, only handles may change."""
        c = self._admitted[number]
        c.material, c.source = group.material or ffi.NULL, group.source or ffi.NULL
        c.key, c.source_key = group.key, group.source_key
        self._materials[number] = group

    def groups_of(self, first: int, end: int) -> set[int]:
        """Returns the groups of the items first to end - 1 that have no error."""
        items = self._batch.items
        return {items[number].group for number in range(first, end) if items[number].status == lib.KMS_OK}

    def forget(self) -> None:
        """Wipes the results, if the call is not answered."""
        if self._out is not None:
            lib.kms_cleanse(in_place(self._out), self._size)
            self._out = None

    def run(self, first: int = 0, end: int | None = None) -> None:
        """Processes items first to end - 1. If it raises StaleHandle or another CryptoError, their results are
        zeroed."""
        if self._out is None:
            self._out = new_bytes(self._size + len(self._behind))
            ffi.memmove(in_place(self._out, self._size), self._behind, len(self._behind))
        work = (self._batch, self._kind, self._admitted, self._data_key_bytes)
        last = self.items if end is None else end
        status = lib.kms_batch_run(in_place(self._out), self._size, *work, first, last, self._raw, len(self._raw))
        if status:
            raise_for(status)

    def tally(self) -> tuple[list[Done], list[Failure]]:
        """Returns the counts of each group, and the failed items in order."""
        items, data_keys = (ffi.new("uint32_t[]", max(1, self.groups)) for _ in range(2))
        count = lib.kms_batch_tally(items, data_keys, ffi.NULL, self._batch)
        done = map(Done, ffi.unpack(items, self.groups), ffi.unpack(data_keys, self.groups))
        return list(done), list(self._failures(items, data_keys, count)) if count else []

    def _failures(self, items: Any, data_keys: Any, count: int) -> Iterator[Failure]:
        numbers = ffi.new("uint32_t[]", count)
        lib.kms_batch_tally(items, data_keys, numbers, self._batch)
        for number in ffi.unpack(numbers, count):
            item = self._batch.items[number]
            yield Failure(number, item.group, item.status, item.out_at)

    def results(self, failures: Sequence[tuple[Failure, bytes]]) -> bytes:
        """Returns the serialised results and `behind`, with each failure's error in its place. May be called once."""
        whole, self._out = self._out, None
        assert whole is not None
        return b"".join(self._pieces(whole, failures)) if failures else whole

    def _pieces(self, whole: bytes, failures: Sequence[tuple[Failure, bytes]]) -> Iterator[bytes]:
        at = 0
        for failure, error in failures:
            yield whole[at : failure.place]
            yield error
            at = failure.place + self._batch.items[failure.number].out_len
        yield whole[at:]


class _ThreadBatch(threading.local):
    def __init__(self) -> None:
        self.batch = ffi.new("kms_batch *")


_thread_batch = _ThreadBatch()


def scan(kind: int, raw: bytes, *, by_context: bool = False, written: bool = False) -> ScannedBatch | None:
    """Reads the batch in `raw`. Returns None if the scanner rejects it.

    With `by_context`, the items of a group have the same encryption contexts too. `written` says that protobuf
    serialised these bytes and that the validator accepted the batch's own fields.
    """
    made = _thread_batch.batch
    if not lib.kms_batch_scan(made, kind, raw, len(raw), by_context, written):
        return None
    return ScannedBatch(made, kind, raw)
