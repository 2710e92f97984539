# Made by `python build.py --client` from kms_grpc/client/methods/aliases.py: do not edit.
"""Methods that create, move and list aliases. DeleteAlias is in plain.py."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kms_grpc.client.aio.service_client import AsyncServiceClient
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2


class AsyncAliasMethods(AsyncServiceClient):
    """Operations on aliases. An alias name begins with `alias/`."""

    async def create_alias(
        self, alias_name: str, target_key_id: str, *, request_id: str | None = None
    ) -> pb.CreateAliasResponse:
        """Creates an alias of a key. Calls with the same `request_id` (default: a new one) create it once."""
        request = pb.CreateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return await self._create(self._keys.CreateAlias, request, request_id)

    async def update_alias(self, alias_name: str, target_key_id: str) -> pb.UpdateAliasResponse:
        """Moves an alias to another key."""
        request = pb.UpdateAliasRequest(alias_name=alias_name, target_key_id=target_key_id)
        return await self._call(self._keys.UpdateAlias, request)

    async def list_aliases(
        self, *, key_id: str | None = None, limit: int | None = None, marker: str | None = None
    ) -> pb.ListAliasesResponse:
        """Returns a page of at most `limit` aliases (1 to 100), of the account or of one key. See `all_aliases`."""
        return await self._call(
            self._keys.ListAliases, pb.ListAliasesRequest(key_id=key_id, limit=limit, marker=marker)
        )

    async def all_aliases(self, key_id: str | None = None) -> AsyncIterator[keys_pb2.AliasListEntry]:
        """Yields all aliases of the account in the region, or those of one key, page by page."""
        page = await self.list_aliases(key_id=key_id, limit=100)
        for entry in page.aliases:
            yield entry
        while page.truncated:
            page = await self.list_aliases(key_id=key_id, limit=100, marker=page.next_marker)
            for entry in page.aliases:
                yield entry
