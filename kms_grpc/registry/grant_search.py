"""The search for grants that may allow a call, in an order in which those without conditions on the context come first.

A worker keeps the answers of its look-ups: most callers have a few grants on a key, or none, and one look-up tells. An
answer is valid while the key's word is the one that was read before the registry was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kms_grpc.clock import boot_ns
from kms_grpc.model.grant import WITH_CONTEXT, Grant, GrantOperation
from kms_grpc.registry.base import Registry
from kms_grpc.registry.basis import Basis
from kms_grpc.registry.generational_cache import GenerationalCache
from kms_grpc.registry.grant_digests import selectors
from kms_grpc.registry.grants import Grants
from kms_grpc.registry.words import RegionWords

PAGE: Final = 32
"""Grants that one look-up reads. Of a caller with more of them, those with the call's selectors are looked up."""

LookUp = tuple[str, str, GrantOperation, bytes | None]
"""Key id, grantee, operation, and selector or None."""
FirstPage = Callable[[LookUp], Sequence[Grant]]


class GrantSearch:
    """Searches the grants of a registry, or of a transaction under way. `first_page` answers a look-up with at most
    PAGE grants; later pages are always read."""

    def __init__(self, grants: Grants, first_page: FirstPage | None = None) -> None:
        self._grants = grants
        self._first_page = first_page or self._read

    def allowing(
        self, key_id: str, grantee: str, operation: GrantOperation, context: Mapping[str, str]
    ) -> Iterator[Grant]:
        """Yields the grants of an operation to a grantee, in case of many only those whose selector fits the encryption
        context of the call."""
        first = self._first_page((key_id, grantee, operation, None))
        if len(first) < PAGE:
            yield from sorted(first, key=lambda grant: bool(grant.constraints.equals or grant.constraints.subset))
        elif operation in WITH_CONTEXT:
            for selected in selectors(context):
                yield from self._pages((key_id, grantee, operation, selected))
        else:
            yield from self._pages((key_id, grantee, operation, None))

    def _pages(self, look_up: LookUp) -> Iterator[Grant]:
        page = self._first_page(look_up)
        yield from page
        while len(page) == PAGE:
            page = self._read(look_up, page[-1].sequence)
            yield from page

    def _read(self, look_up: LookUp, after: int = 0) -> Sequence[Grant]:
        return self._grants.allowing(*look_up, after, PAGE)


class OnKey(NamedTuple):
    """Implements authorization.base.GrantsOnKey."""

    search: GrantSearch
    key_id: str

    def allowing(self, grantee: str, operation: GrantOperation, context: Mapping[str, str]) -> Iterator[Grant]:
        """See GrantsOnKey."""
        return self.search.allowing(self.key_id, grantee, operation, context)


class KeptLookUps:
    """Keeps the first pages of look-ups in a worker. Thread-safe."""

    def __init__(self, registry: Registry, words: RegionWords, capacity: int) -> None:
        self._registry = registry
        self._words = words
        self._lock = threading.Lock()
        self._kept: GenerationalCache[LookUp, tuple[Sequence[Grant], bytes]] = GenerationalCache(
            capacity, weigh=lambda kept: 1 + len(kept[0])
        )

    def first_page(self, look_up: LookUp) -> Sequence[Grant]:
        """Returns at most PAGE grants, as committed."""
        kept = self._kept.warm(look_up)
        if kept is None:
            with self._lock:
                kept = self._kept.get(look_up)
        if kept is not None and self._words.hold(kept[1], 0, boot_ns()):
            return kept[0]
        basis = Basis(self._words)
        basis.rely_on("key", look_up[0])
        found = self._registry.grants.allowing(*look_up, 0, PAGE)
        with self._lock:
            self._kept.put(look_up, (found, basis.lists()))
        return found

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
