"""How an operation's request says which keys it is about, and what must hold for each: action, usage, kind, state.

A selector resolves before anything is authorized; what may be said only to those who may use the key (`confirm`:
IncorrectKeyException) comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE, key_id_of, read_header
from kms_grpc.errors import INCORRECT_KEY, AccessDeniedException, IncorrectKeyException
from kms_grpc.model.key import Key, KeyUsage
from kms_grpc.model.key_state import Rule
from kms_grpc.operations.admission import identifiers

if TYPE_CHECKING:
    from kms_grpc.operations.call import Call

UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region,"
    " or you are not allowed to access."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySelector:
    """Where a key is named in the request, and what is asked of it."""

    action: str
    """The permission that the caller needs for it, `kms:Encrypt`."""
    rule: Rule
    usage: KeyUsage | None = None
    context: str | None = None
    """The request's field with the encryption context that goes with this key."""
    identity: Callable[[Any], Hashable] = field(init=False)
    """What a request says about this key: part of what a Permit is found by."""
    warm: ClassVar[bool] = True
    """Whether a Permit may stand for the selection."""
    gathers: ClassVar[bool] = False
    """Of a stream: the key is named by what the stream carries, perhaps not in its first message alone."""

    def resolve(self, call: Call, request: Any) -> Key | None:
        raise NotImplementedError

    def is_ready(self, request: Any) -> bool:
        """Whether the request, of a stream that gathers, says which key it is about."""
        return True

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        """After the key was authorized: what else the request says of it must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ById(KeySelector):
    """The key that a field names: by id or ARN, and where `aliases` is set by alias name or alias ARN as well."""

    field: str
    aliases: bool = False
    invalid_arn: bool = False
    """The operation knows InvalidArnException."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", attrgetter(self.field))

    def resolve(self, call: Call, request: Any) -> Key | None:
        text = getattr(request, self.field)
        return identifiers.resolve(call, text, self.action, aliases=self.aliases, invalid_arn=self.invalid_arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByIdIfNamed(ById):
    """The same, for a filter that may be left out."""

    warm: ClassVar[bool] = False

    def resolve(self, call: Call, request: Any) -> Key | None:
        return ById.resolve(self, call, request) if request.HasField(self.field) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByBlob(KeySelector):
    """The key that a ciphertext blob's header names; the key named in the request, if any, must be that one."""

    blob: str
    named: str

    def __post_init__(self) -> None:
        named, blob = attrgetter(self.named), attrgetter(self.blob)
        object.__setattr__(self, "identity", lambda request: (named(request), blob(request)[:PREFIX_SIZE]))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAlias(KeySelector):
    """The key that an alias of the caller's account points at."""

    field: str
    warm: ClassVar[bool] = False

    def resolve(self, call: Call, request: Any) -> Key:
        return identifiers.alias_target(call, getattr(request, self.field))


def _blob_key(call: Call, blob: bytes) -> Key | None:
    """InvalidCiphertextException where the header is damaged; None where it names no key of this region."""
    header = read_header(blob)
    try:
        return identifiers.find_key(call, key_id_of(header.kid))
    except ValueError:
        return None
