"""Decryption of many records: groups them by data key, and decrypts those of up to 64 data keys in one C call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from kms_grpc.client.failures import ClientError
from kms_grpc.crypto.record import DataKey, open_many, wrapped_keys_of
from kms_grpc.errors import InvalidCiphertextException

DATA_KEYS_PER_CALL: Final = 64
"""Data keys of one C call. They stay in the keyring until the call, even if the cache evicts them meanwhile."""


class RecordsFailed(ClientError):
    """Some of many records could not be decrypted.

    `plaintexts` has all plaintexts in the order of the records, and None for each record that failed. `errors` has the
    errors by index.
    """

    def __init__(self, plaintexts: Sequence[bytes | None], errors: dict[int, Exception]) -> None:
        some = ", ".join(f"{index}: {type(errors[index]).__name__}" for index in sorted(errors)[:5])
        super().__init__(f"{len(errors)} of {len(plaintexts)} records could not be decrypted ({some})")
        self.plaintexts = list(plaintexts)
        self.errors = errors


class RecordDecryption:
    """Many records, their data keys as far as known, and their plaintexts or errors.

    For each of `parts`, the caller calls `set_key` or `fail` for every group of records, and then `decrypt`.
    """

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = records
        self.errors: dict[int, Exception] = {}
        self.groups: dict[bytes, list[int]] = {}
        self._keys: dict[int, DataKey] = {}
        self._plaintexts: list[bytes | None] = [None] * len(records)
        for index, wrapped in enumerate(wrapped_keys_of(records)):
            if wrapped is None:
                self.errors[index] = InvalidCiphertextException()
            elif (group := self.groups.get(wrapped)) is not None:
                group.append(index)
            else:
                self.groups[wrapped] = [index]

    def parts(self) -> Iterator[Sequence[tuple[bytes, list[int]]]]:
        """Yields wrapped data keys with the indexes of their records, at most DATA_KEYS_PER_CALL at a time."""
        groups = iter(self.groups.items())
        while part := list(islice(groups, DATA_KEYS_PER_CALL)):
            yield part

    def set_key(self, key: DataKey, indexes: Sequence[int]) -> None:
        """Sets the data key of these records."""
        self._keys.update(dict.fromkeys(indexes, key))

    def fail(self, error: Exception, indexes: Sequence[int]) -> None:
        """Records the error that kept the client from getting the data key of these records."""
        self.errors.update(dict.fromkeys(indexes, error))

    def decrypt(self, canonical: bytes) -> None:
        """Decrypts the records whose data keys are set, and releases these data keys. `canonical`: the context."""
        records = [self.records[index] for index in self._keys]
        plaintexts = open_many(list(self._keys.values()), canonical, records)
        for index, plaintext in zip(self._keys, plaintexts, strict=True):
            self._plaintexts[index] = plaintext
        self._keys.clear()

    def plaintexts(self) -> list[bytes]:
        """Returns all plaintexts in the order of the records. Raises RecordsFailed if one is missing."""
        for index, plaintext in enumerate(self._plaintexts):
            if plaintext is None:
                self.errors.setdefault(index, InvalidCiphertextException())
        if self.errors:
            raise RecordsFailed(self._plaintexts, self.errors)
        return [plaintext for plaintext in self._plaintexts if plaintext is not None]
