"""Key selectors: how a request names a key, and what must hold for it: action, usage, kind and state.

A selector resolves its key before authorization. A check whose outcome only a permitted caller may learn (`confirm`:
IncorrectKeyException) comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kms_grpc.crypto.ciphertext_blob import PREFIX_SIZE, key_id_of, read_header
from kms_grpc.errors import INCORRECT_KEY, AccessDeniedException, IncorrectKeyException, KMSError
from kms_grpc.model.grant import Grant
from kms_grpc.model.key import Key, KeyUsage
from kms_grpc.model.key_state import ANY, RULES, Rule
from kms_grpc.operations.admission import identifiers
from kms_grpc.operations.call import NO_CONTEXT, Call

UNREADABLE = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region,"
    " or you are not allowed to access."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySelector:
    """One key of a request, and the conditions on it."""

    action: str
    """The permission that the caller needs, `kms:Encrypt`."""
    rule: Rule
    usage: KeyUsage | None = None
    context: str | None = None
    """The request's field with the encryption context that goes with this key."""
    warm: ClassVar[bool] = True
    """A Permit may stand for the selection."""

    def identity(self, request: Any) -> bytes:
        """Returns what the request says about this key. Requests with equal identities mean the same key and material;
        a Permit is found by them."""
        raise NotImplementedError

    def resolve(self, call: Call, request: Any) -> Key | None:
        """Returns the key, or None where the request may leave it out and does. Raises KMSError."""
        raise NotImplementedError

    def name_in(self, request: Any) -> str:
        """Returns the id, ARN or alias by which the request names the key; "" where it does not."""
        raise NotImplementedError

    def denied(self, call: Call, request: Any) -> KMSError:
        """Returns the error for a caller that may not use the key. It is the same where there is no such key."""
        return identifiers.denied(call, self.action)

    def context_of(self, request: Any) -> Mapping[str, str]:
        """Returns the encryption context that goes with this key."""
        context: Mapping[str, str] = getattr(request, self.context) if self.context else NO_CONTEXT
        return context

    def grant(self, call: Call, request: Any, key: Key) -> Grant | None:
        """Returns the grant that the request makes or ends; None in all other operations."""
        return None

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        """Checks, after authorization, what else the request says about the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ById(KeySelector):
    """A field names the key by id or ARN; with `aliases` also by alias name or alias ARN."""

    field: str
    aliases: bool = False
    invalid_arn: bool = False
    """The operation has InvalidArnException among its errors."""

    def identity(self, request: Any) -> bytes:
        return self.name_in(request).encode()

    def name_in(self, request: Any) -> str:
        """See KeySelector."""
        text: str = getattr(request, self.field)
        return text

    def resolve(self, call: Call, request: Any) -> Key | None:
        text = getattr(request, self.field)
        return identifiers.resolve(call, text, self.action, aliases=self.aliases, invalid_arn=self.invalid_arn)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByIdIfNamed(ById):
    """A field names the key, as in ById, or is left out."""

    warm: ClassVar[bool] = False

    def resolve(self, call: Call, request: Any) -> Key | None:
        return ById.resolve(self, call, request) if request.HasField(self.field) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByBlob(KeySelector):
    """A ciphertext blob's header names the key. If the request names a key too, that key is resolved, as in any other
    operation, and must be the blob's."""

    blob: str
    """The field with the blob."""
    named: str
    """The field that may name the key."""

    def identity(self, request: Any) -> bytes:
        """Returns the named key, then the blob's first 55 bytes: the C core's `Scanned` has the same."""
        text: str = getattr(request, self.named)
        blob: bytes = getattr(request, self.blob)
        return text.encode() + blob[:PREFIX_SIZE].ljust(PREFIX_SIZE, b"\0")

    def name_in(self, request: Any) -> str:
        """See KeySelector."""
        text: str = getattr(request, self.named)
        return text

    def resolve(self, call: Call, request: Any) -> Key:
        text = getattr(request, self.named)
        if text:
            return identifiers.resolve(call, text, self.action, aliases=True, invalid_arn=False)
        return self.found(call, request)

    def found(self, call: Call, request: Any) -> Key:
        """Returns the key of a request that names none. Raises AccessDeniedException if the key is not here, and
        InvalidCiphertextException if the blob's header is damaged."""
        key_id = _key_id_in(getattr(request, self.blob))
        key = None if key_id is None else identifiers.find_key(call, key_id)
        if key is None:
            raise AccessDeniedException(UNREADABLE)
        return key

    def denied(self, call: Call, request: Any) -> KMSError:
        """See KeySelector. A caller that names a key gets the error about that name."""
        if getattr(request, self.named):
            return identifiers.denied(call, self.action)
        return AccessDeniedException(UNREADABLE)

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        """Raises IncorrectKeyException if the named key did not make the blob, whatever account and region did, and
        InvalidCiphertextException if the blob's header is damaged."""
        if getattr(request, self.named) and not self.is_from(request, key):
            raise IncorrectKeyException(INCORRECT_KEY, key=key.arn)

    def is_from(self, request: Any, key: Key) -> bool:
        """Returns whether `key` made the request's blob, by the blob's header."""
        return _key_id_in(getattr(request, self.blob)) == key.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAlias(KeySelector):
    """A field has an alias of the caller's account; the key is the alias's target."""

    field: str
    warm: ClassVar[bool] = False

    def name_in(self, request: Any) -> str:
        """See KeySelector."""
        text: str = getattr(request, self.field)
        return text

    def resolve(self, call: Call, request: Any) -> Key:
        return identifiers.alias_target(call, getattr(request, self.field))


def by_id_or_arn(operation: str) -> ById:
    """Returns the selector of operations on one key that reject aliases: `key_id` is a key id or key ARN."""
    return ById(field="key_id", action=f"kms:{operation}", rule=RULES[operation], invalid_arn=True)


def encrypting_key(operation: str) -> ById:
    """Returns the selector of operations that encrypt: `key_id` is a key id, alias or ARN of a symmetric key."""
    return ById(
        field="key_id",
        action=f"kms:{operation}",
        rule=RULES[operation],
        usage=KeyUsage.ENCRYPT_DECRYPT,
        context="encryption_context",
        aliases=True,
    )


def alias_key(operation: str) -> ByAlias:
    """Returns the selector of operations that take an alias away from its key, in any state of the key."""
    return ByAlias(field="alias_name", action=f"kms:{operation}", rule=ANY)


def _key_id_in(blob: bytes) -> str | None:
    """Returns the id of the key that a blob's header names, or None if the header's kid is not a key id. Raises
    InvalidCiphertextException if the header is damaged."""
    header = read_header(blob)
    try:
        return key_id_of(header.kid)
    except ValueError:
        return None
