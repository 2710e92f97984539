"""Batches over their messages' own bytes: the C core finds the items in the request, does them, and writes the answer.

    scan     items and their groups: those that say the same of their keys
    plan     with what each group was admitted to: where each result will stand
    run      the items, one C call with the GIL released, or a few on parts of the batch
    results  the serialised results, with places for the errors of items that were not done

C writes into the very bytes that become the answer. No Python object is made of an item unless it fails. Each thread
has one batch: it is good until the thread scans again.
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
    """What a group may be done under: None where it may not. The numbers are the keys' places in the answer."""

    material: raw_request.CMaterial | None = None
    source: raw_request.CMaterial | None = None
    key: int = 0
    source_key: int = 0


class Item(NamedTuple):
    """An item as its request has it: its own bytes, its keys' names, and the pairs of its encryption contexts, which it
    may have from the batch."""

    own: bytes
    key: bytes
    source_key: bytes
    pairs: bytes
    prefix: bytes
    """The first 55 bytes of its blob."""


class Done(NamedTuple):
    """Of a group: items that were done, and in a batch of data keys how many of those they have."""

    items: int
    data_keys: int


class Failure(NamedTuple):
    """An item that was not done. `status` is INVALID_CIPHERTEXT, NOT_ADMITTED, or says that it is beyond its limits."""

    number: int
    group: int
    status: int
    place: int
    """Where its error belongs in the results."""


class Batch:
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
        """Items beyond their limits."""
        self.with_own_context = int(made.with_own_context)
        """Items whose encryption context is not the batch's."""
        self.key_spec = int(made.key_spec)
        self.number_of_bytes = int(made.number_of_bytes) if made.has_number_of_bytes else None

    def head(self) -> Item:
        """What the batch says for all items."""
        batch = self._batch
        return self._item(batch, b"", b"")

    def group(self, number: int) -> Item:
        """The first item of a group."""
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
        """Bytes of the results of all that can be done, and of what stands behind them."""
        self._admitted = ffi.new("kms_admitted[]", max(1, len(admitted)))
        self._materials = list(admitted)  # they must live as long
        for number, group in enumerate(admitted):
            self.admit(number, group)
        self._data_key_bytes = data_key_bytes
        self._size = int(lib.kms_batch_plan(self._batch, self._kind, self._admitted, data_key_bytes))
        self._behind = behind
        return self._size + len(behind)

    def admit(self, number: int, group: Admitted) -> None:
        """What a group may be done under; after `plan`, other handles of the same."""
        c = self._admitted[number]
        c.material, c.source = group.material or ffi.NULL, group.source or ffi.NULL
        c.key, c.source_key = group.key, group.source_key
        self._materials[number] = group

    def groups_of(self, first: int, end: int) -> set[int]:
        """Of the items from `first` on that can be done."""
        items = self._batch.items
        return {items[number].group for number in range(first, end) if items[number].status == lib.KMS_OK}

    def forget(self) -> None:
        """What was done is not answered."""
        if self._out is not None:
            lib.kms_cleanse(in_place(self._out), self._size)
            self._out = None

    def run(self, first: int = 0, end: int | None = None) -> None:
        """Items from `first` on. Raises StaleHandle and its like, and then nothing of them is there."""
        if self._out is None:
            self._out = new_bytes(self._size + len(self._behind))
            ffi.memmove(in_place(self._out, self._size), self._behind, len(self._behind))
        work = (self._batch, self._kind, self._admitted, self._data_key_bytes)
        last = self.items if end is None else end
        status = lib.kms_batch_run(in_place(self._out), self._size, *work, first, last, self._raw, len(self._raw))
        if status:
            raise_for(status)

    def tally(self) -> tuple[list[Done], list[Failure]]:
        """What was done, by group; and the items that were not, in their order."""
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
        """The serialised results, with so many bytes in place of each item that was not done, and what stands behind
        them. Once."""
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


class _Room(threading.local):
    def __init__(self) -> None:
        self.batch = ffi.new("kms_batch *")


_room = _Room()


def scan(kind: int, raw: bytes, *, by_context: bool = False, written: bool = False) -> Batch | None:
    """The batch in `raw`; None where the scanner doesn't take it. `by_context`: a group has the same encryption context
    as well. `written`: protobuf wrote these bytes, and the validator has passed what they say for all items."""
    made = _room.batch
    if not lib.kms_batch_scan(made, kind, raw, len(raw), by_context, written):
        return None
    return Batch(made, kind, raw)
