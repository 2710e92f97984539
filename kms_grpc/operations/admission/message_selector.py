"""The key selector of a stream that carries a message of the AWS Encryption SDK: the key that wrapped its data key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from kms_grpc.crypto.ciphertext_blob import key_id_of, read_header
from kms_grpc.crypto.message_format import PROVIDER, MessageHeader
from kms_grpc.crypto.message_format import read_header as read_message_header
from kms_grpc.errors import AccessDeniedException, InvalidCiphertextException
from kms_grpc.model.key import Key
from kms_grpc.operations.admission import identifiers
from kms_grpc.operations.admission.request_facts import RequestFacts
from kms_grpc.operations.admission.selectors import UNREADABLE, ByBlob
from kms_grpc.operations.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMessage(ByBlob):
    """`blob` is the field with the message's first bytes.

    If the message has several data keys, the selector takes the one whose key the request names, as the AWS Encryption
    SDK does. If the request names no key, it takes the first one whose key is here and may be used; a key that may not
    be used is then treated as one that does not exist, so that the caller does not learn of its existence."""

    warm: ClassVar[bool] = False

    def is_ready(self, request: Any) -> bool:
        """Returns whether the request has the whole header of the message."""
        return read_message_header(getattr(request, self.blob)) is not None

    def take_context(self, request: Any) -> None:
        """Replaces the request's encryption context with the message's, for which the key is authorized. Raises
        InvalidCiphertextException if the request has a pair that the message does not have."""
        header = header_of(getattr(request, self.blob))
        assert self.context is not None
        asked = getattr(request, self.context)
        if any(header.context.get(name) != asked[name] for name in asked):
            raise InvalidCiphertextException
        asked.clear()
        asked.update(header.context)

    def found(self, call: Call, request: Any) -> Key:
        """Returns the key of a request that names none. Raises InvalidCiphertextException if no data key is a blob of
        this service, and AccessDeniedException if none of their keys may be used here."""
        found = [key for key_id in self._key_ids(request) if (key := identifiers.find_key(call, key_id)) is not None]
        usable = next((key for key in found if self._may_use(call, request, key)), None)
        if usable is None:
            call.keys = tuple(found)  # for the audit record
            raise AccessDeniedException(UNREADABLE)
        return usable

    def is_from(self, request: Any, key: Key) -> bool:
        """Returns whether `key` wrapped one of the message's data keys. Raises InvalidCiphertextException if no data
        key is a blob of this service."""
        return key.key_id in self._key_ids(request)

    def _key_ids(self, request: Any) -> list[str]:
        key_ids = [key_id for key_id, _ in _blobs(header_of(getattr(request, self.blob)))]
        if not key_ids:
            raise InvalidCiphertextException
        return key_ids

    def _may_use(self, call: Call, request: Any, key: Key) -> bool:
        assert self.context is not None
        return call.may(self.action, key, getattr(request, self.context), RequestFacts(call, request, key, self))


def header_of(message: bytes) -> MessageHeader:
    """Returns the header of a message. Raises InvalidCiphertextException if the header is incomplete."""
    header = read_message_header(message)
    if header is None:
        raise InvalidCiphertextException
    return header


def blob_of(header: MessageHeader, key: Key) -> bytes:
    """Returns the data key that `key` wrapped. `key` must have been selected by this header."""
    return next(blob for key_id, blob in _blobs(header) if key_id == key.key_id)


def _blobs(header: MessageHeader) -> Iterator[tuple[str, bytes]]:
    """Yields the key id and blob of each data key that is a ciphertext blob of this service."""
    for data_key in header.data_keys:
        if data_key.provider == PROVIDER:
            try:
                yield key_id_of(read_header(data_key.blob).kid), data_key.blob
            except (InvalidCiphertextException, ValueError):
                continue
