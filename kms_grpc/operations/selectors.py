"""How an operation's request says which keys it is about, and what must hold for each: action, usage, kind, state.

A selector resolves before anything is authorized; what may be said only to those who may use the key (`confirm`:
IncorrectKeyException) comes after.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE, key_id_of, read_header
from kms_grpc.errors import INCORRECT_KEY, AccessDeniedException, IncorrectKeyException
from kms_grpc.model.key import Key, KeyUsage
from kms_grpc.model.key_state import Rule
from kms_grpc.operations import identifiers

if TYPE_CHECKING:
    from kms_grpc.operations.call import Call

UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access."
)


class KeySelector(Protocol):
    action: str
    rule: Rule
    usage: KeyUsage | None
    context: str | None
    """The request's field with the encryption context that goes with this key."""
    changes: bool
    """Only keys that their account manages itself."""

    @property
    def rule_allows_warmth(self) -> bool: ...

    def resolve(self, call: Call, request: Any) -> Key | None: ...

    def confirm(self, call: Call, request: Any, key: Key) -> None: ...

    def identity(self, request: Any) -> Hashable: ...


@dataclass(frozen=True, slots=True)
class ById:
    """The key that a field names: by id or ARN, and where `aliases` is set by alias name or alias ARN as well."""

    field: str
    action: str
    rule: Rule
    usage: KeyUsage | None = None
    context: str | None = None
    changes: bool = False
    aliases: bool = False
    invalid_arn: bool = False
    optional: bool = False

    @property
    def rule_allows_warmth(self) -> bool:
        return not self.optional

    def resolve(self, call: Call, request: Any) -> Key | None:
        if self.optional and not request.HasField(self.field):
            return None
        text = getattr(request, self.field)
        return identifiers.resolve(call, text, self.action, aliases=self.aliases, invalid_arn=self.invalid_arn)

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        return None

    def identity(self, request: Any) -> Hashable:
        return getattr(request, self.field)


@dataclass(frozen=True, slots=True)
class ByBlob:
    """The key that a ciphertext blob's header names; the key named in the request, if any, must be that one."""

    blob: str
    named: str
    action: str
    rule: Rule
    usage: KeyUsage | None = None
    context: str | None = None
    changes: bool = False
    rule_allows_warmth: bool = True

    def resolve(self, call: Call, request: Any) -> Key:
        key = _blob_key(call, getattr(request, self.blob))
        if key is None:
            raise AccessDeniedException(UNREADABLE)
        return key

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        text = getattr(request, self.named)
        if not text:
            return
        named = identifiers.resolve(call, text, self.action, aliases=True, invalid_arn=False)
        if named.arn == key.arn:
            return
        if not call.may(self.action, named, getattr(request, self.context) if self.context else {}):
            raise identifiers.denied(call, self.action)  # as for a key that does not exist
        raise IncorrectKeyException(INCORRECT_KEY, key=named.arn)

    def identity(self, request: Any) -> Hashable:
        return getattr(request, self.named), getattr(request, self.blob)[:PREFIX_SIZE]


def _blob_key(call: Call, blob: bytes) -> Key | None:
    """InvalidCiphertextException where the header is damaged; None where it names no key of this region."""
    header = read_header(blob)
    try:
        return identifiers.find_key(call, key_id_of(header.kid))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class ByAlias:
    """The key that an alias of the caller's account points at."""

    field: str
    action: str
    rule: Rule
    usage: KeyUsage | None = None
    context: str | None = None
    changes: bool = True
    rule_allows_warmth: bool = False

    def resolve(self, call: Call, request: Any) -> Key:
        return identifiers.alias_target(call, getattr(request, self.field))

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        return None

    def identity(self, request: Any) -> Hashable:
        return getattr(request, self.field)
