"""Digests by which grants are found: of all their parameters, and of what they ask of an encryption context.

A principal may have 50,000 grants on a key, each for another encryption context. So a grant has a selector: the digest
of the context that it asks for, or of one pair of it. A call looks up the few selectors of its own context.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from kms_grpc.crypto.framing import frame
from kms_grpc.model.grant import Constraints, Grant

ANY_CONTEXT: Final = hashlib.sha256(b"any").digest()
"""The selector of grants that ask nothing of the encryption context."""


def parameters(grant: Grant) -> bytes:
    """Returns a digest of all that the creator of a grant chooses. A named grant with the same digest on the same key
    is the same grant; neither the order of operations nor that of pairs counts."""
    given = (grant.issuing_account, grant.name, grant.grantee, grant.retiring, grant.constraints.source_arn)
    parts = [b"" if part is None else b"=" + part.encode() for part in given]
    parts.append(frame(*sorted(operation.encode() for operation in set(grant.operations))))
    parts += [_framed(grant.constraints.subset), _framed(grant.constraints.equals)]
    return hashlib.sha256(frame(*parts)).digest()


def selector(constraints: Constraints) -> bytes:
    """Returns the selector of a grant. Of several pairs the longest counts, since grants differ by it most likely."""
    if constraints.equals:
        return _digest(b"equals", constraints.equals)
    if constraints.subset:
        name = max(constraints.subset, key=lambda name: (len(constraints.subset[name]), name))
        return _digest(b"pair", {name: constraints.subset[name]})
    return ANY_CONTEXT


def selectors(context: Mapping[str, str]) -> Iterator[bytes]:
    """Yields the selectors of all grants that may concern a call with that encryption context, ANY_CONTEXT first."""
    yield ANY_CONTEXT
    if context:
        yield _digest(b"equals", context)
    for name in context:
        yield _digest(b"pair", {name: context[name]})


def _digest(kind: bytes, pairs: Mapping[str, str]) -> bytes:
    return hashlib.sha256(frame(kind, _framed(pairs))).digest()


def _framed(pairs: Mapping[str, str]) -> bytes:
    return frame(*(part.encode() for pair in sorted(pairs.items()) for part in pair))
