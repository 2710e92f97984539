"""The readiness key of a shard: a key of the server's own, in this process only, to try whether Decrypt works.

It is made at start, wrapped under the region key as key material is, and never stored. No request finds it, and no
caller's blob opens under it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from kms_grpc.crypto import envelope, key_wrapping
from kms_grpc.crypto.ciphertext_blob import associated_prefix, header_prefix, kid_of
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.new_uuid import new_uuid
from kms_grpc.errors import KMSError, KMSInternalException
from kms_grpc.model.arn import key_arn
from kms_grpc.registry.shards import Shard

_PLAINTEXT: Final = b"ready"


class ReadinessKey:
    """A key in one slot of the keyring, which it keeps until the process ends."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        key_id = new_uuid()
        kid, place = kid_of(key_id), shard.material_place(key_id, shard.account)
        material_id, wrapped = key_wrapping.generate_material(shard.region_key, kid, place)
        self._handle = key_wrapping.load_material(shard.region_key, kid, material_id, place, wrapped)
        arn = key_arn(shard.partition, shard.region, shard.account, key_id)
        self._associated = associated_prefix(arn) + canonical({})
        self._blob = envelope.seal(self._handle, header_prefix(kid, material_id), self._associated, _PLAINTEXT)

    def decrypt(self) -> None:
        """Reads a row of the shard and decrypts, as a Decrypt of a caller does. Raises KMSError, and errors of the core
        if it lost its keys."""
        self._shard.registry.latest_time.read_ns()
        if envelope.open_blob(self._handle, self._associated, self._blob) != _PLAINTEXT:
            raise KMSInternalException(f"A Decrypt in region {self._shard.region} returned a wrong plaintext.")


class ReadinessKeys:
    """A readiness key in each region of a worker."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._keys = [ReadinessKey(shard) for shard in shards]

    def decrypt(self) -> None:
        """Decrypts in the first region where that works, so that one damaged shard of many leaves the worker ready.
        Raises the error of the last region if it works in none."""
        *others, last = self._keys
        for key in others:
            with contextlib.suppress(KMSError):
                key.decrypt()
                return
        last.decrypt()
