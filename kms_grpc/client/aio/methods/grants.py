# Made by `python build.py --client` from kms_grpc/client/methods/grants.py: do not edit.
"""Methods that create and list grants. ListRetirableGrants, RetireGrant and RevokeGrant are in plain.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.client.arguments import by_aws_names
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class AsyncGrantMethods(AsyncServiceClient):
    """Grants: permissions of one principal to use one key."""

    async def create_grant(
        self,
        key_id: str,
        operations: Sequence[str],
        *,
        grantee_principal: str | None = None,
        grantee_service_principal: str | None = None,
        retiring_principal: str | None = None,
        retiring_service_principal: str | None = None,
        encryption_context_subset: Mapping[str, str] | None = None,
        encryption_context_equals: Mapping[str, str] | None = None,
        source_arn: str | None = None,
        name: str | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> pb.CreateGrantResponse:
        """Lets a principal use a key for some operations ("Encrypt", "Decrypt" …).

        One of `grantee_principal`, an ARN, and `grantee_service_principal` is required. For 24 hours, calls with the
        same `request_id` (default: a new one) create one grant; with a `name`, equal requests always do. Raises
        ValueError for an empty constraint, which would mean none.
        """
        contexts = (encryption_context_subset, encryption_context_equals)
        if any(context is not None and not context for context in contexts):
            raise ValueError("a constraint on the encryption context needs a pair")
        given = (*contexts, source_arn)
        constraints = keys_pb2.GrantConstraints(
            encryption_context_subset=encryption_context_subset,
            encryption_context_equals=encryption_context_equals,
            source_arn=source_arn,
        )
        request = pb.CreateGrantRequest(
            key_id=key_id,
            operations=by_aws_names(keys_pb2.GrantOperation, operations),
            grantee_principal=grantee_principal,
            grantee_service_principal=grantee_service_principal,
            retiring_principal=retiring_principal,
            retiring_service_principal=retiring_service_principal,
            constraints=constraints if any(part is not None for part in given) else None,
            name=name,
            grant_tokens=grant_tokens,
            dry_run=dry_run,
        )
        return await self._create(self._keys.CreateGrant, request, request_id)

    async def list_grants(
        self,
        key_id: str,
        *,
        grant_id: str | None = None,
        grantee_principal: str | None = None,
        grantee_service_principal: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> pb.ListGrantsResponse:
        """Returns a page of at most `limit` grants (1 to 100) of a key: all, those to one grantee, or one of them. See
        `all_grants`."""
        request = pb.ListGrantsRequest(
            key_id=key_id,
            grant_id=grant_id,
            grantee_principal=grantee_principal,
            grantee_service_principal=grantee_service_principal,
            limit=limit,
            marker=marker,
        )
        return await self._call(self._keys.ListGrants, request)

    async def all_grants(self, key_id: str) -> AsyncIterator[keys_pb2.GrantListEntry]:
        """Yields all grants of a key, page by page."""
        page = await self.list_grants(key_id, limit=100)
        for entry in page.grants:
            yield entry
        while page.truncated:
            page = await self.list_grants(key_id, limit=100, marker=page.next_marker)
            for entry in page.grants:
                yield entry
