"""Selectors of the keys whose grants a request makes or ends, and the grants themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kms_grpc.aws_members import aws_names
from kms_grpc.crypto.envelope import random_bytes
from kms_grpc.errors import InvalidGrantIdException, InvalidGrantTokenException, NotFoundException
from kms_grpc.model.grant import Constraints, Grant, GrantOperation
from kms_grpc.model.key import Key
from kms_grpc.model.key_state import RULES
from kms_grpc.operations.admission import grant_tokens, identifiers
from kms_grpc.operations.admission.selectors import ById, KeySelector
from kms_grpc.operations.call import Call
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2

_GRANT_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OPERATIONS: Final = {
    number: GrantOperation(name) for number, name in aws_names(keys_pb2.GrantOperation.DESCRIPTOR).items()
}
OPERATION_NUMBERS: Final[dict[GrantOperation, Any]] = {operation: number for number, operation in _OPERATIONS.items()}
_GONE: Final = "The grant of this token was retired or revoked, or its key was deleted."


@dataclass(frozen=True, slots=True, kw_only=True)
class MakesGrant(ById):
    """The key of CreateGrant. Its encryption context is what the grant's constraints say of one."""

    def context_of(self, request: Any) -> Mapping[str, str]:
        """See KeySelector."""
        limits = request.constraints
        return {**limits.encryption_context_subset, **limits.encryption_context_equals}

    def grant(self, call: Call, request: Any, key: Key) -> Grant:
        """See KeySelector."""
        return proposed(call, request, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsGrant(KeySelector):
    """The key of RetireGrant, which a token names, or KeyId beside GrantId."""

    warm: ClassVar[bool] = False

    def name_in(self, request: Any) -> str:
        """See KeySelector."""
        text: str = request.key_id
        return text

    def resolve(self, call: Call, request: Any) -> Key:
        if not request.HasField("grant_token"):
            check_grant_id(request.grant_id)
            return identifiers.resolve(call, request.key_id, self.action, aliases=False, invalid_arn=True)
        key = identifiers.find_key(call, grant_tokens.read(call.shard, request.grant_token).key_id)
        if key is None:
            raise InvalidGrantTokenException(_GONE)
        return key

    def grant(self, call: Call, request: Any, key: Key) -> Grant | None:
        """Returns the grant, or None if there is none of that id on the key. Raises InvalidGrantTokenException for the
        token of a grant that is gone: whoever has one knows that there was such a grant."""
        if not request.HasField("grant_token"):
            return find(call, key, request.grant_id)
        grant = find(call, key, grant_tokens.read(call.shard, request.grant_token).grant_id)
        if grant is None:
            raise InvalidGrantTokenException(_GONE)
        return grant

    def confirm(self, call: Call, request: Any, key: Key) -> None:
        """Raises NotFoundException if there is no such grant."""
        present(self.grant(call, request, key), request.grant_id, key)


def proposed(call: Call, request: pb.CreateGrantRequest, key: Key) -> Grant:
    """Returns the grant that a valid request asks for, with an id of its own."""
    limits = request.constraints
    return Grant(
        grant_id=random_bytes(32).hex(),
        key_id=key.key_id,
        account=key.account,
        issuing_account=call.account,
        operations=tuple(dict.fromkeys(_OPERATIONS[number] for number in request.operations)),
        created_ns=call.time_ns,
        grantee=request.grantee_principal or request.grantee_service_principal,
        retiring=request.retiring_principal or request.retiring_service_principal or None,
        constraints=Constraints(
            subset=dict(limits.encryption_context_subset),
            equals=dict(limits.encryption_context_equals),
            source_arn=limits.source_arn or None,
        ),
        name=request.name or None,
    )


def find(call: Call, key: Key, grant_id: str) -> Grant | None:
    """Returns the grant of that id on the key, from the transaction inside a write."""
    grant = (call.transaction or call.shard.registry).grants.find(grant_id)
    return grant if grant is not None and grant.key_id == key.key_id else None


def present(grant: Grant | None, grant_id: str, key: Key) -> Grant:
    """Returns the grant. Raises NotFoundException if there is none."""
    if grant is None:
        raise NotFoundException(f"Grant ID {grant_id} not found", key=key.arn)
    return grant


def check_grant_id(text: str) -> None:
    """Raises InvalidGrantIdException for what no grant has as its id."""
    if not _GRANT_ID.fullmatch(text):
        raise InvalidGrantIdException("The grant ID is not valid: it has 64 lower-case hexadecimal digits.")


def granting_key() -> MakesGrant:
    """Returns the selector of CreateGrant."""
    return MakesGrant(field="key_id", action="kms:CreateGrant", rule=RULES["CreateGrant"], invalid_arn=True)


def retired_key() -> EndsGrant:
    """Returns the selector of RetireGrant."""
    return EndsGrant(action="kms:RetireGrant", rule=RULES["RetireGrant"])
