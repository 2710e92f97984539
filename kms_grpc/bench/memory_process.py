"""Uses every key of a shard once, and prints the growth of this process in bytes per cached key."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from kms_grpc.bench.own_service import OwnService, own_service
from kms_grpc.config import DEV_ACCOUNT
from kms_grpc.processes.memory import resident_bytes
from kms_grpc.v1 import key_management_pb2 as pb

KEYS_AT_ONCE = 1_000
FIRST = 20
LOOK_EVERY = 500


def keys_of(service: OwnService) -> Iterator[str]:
    """Yields all key ids of the account, page by page."""
    sequence = 0
    while page := service.shard.registry.keys.list_after(DEV_ACCOUNT, sequence, KEYS_AT_ONCE):
        yield from (key.key_id for key in page)
        sequence = page[-1].sequence


def use(service: OwnService, key_id: str) -> None:
    raw = pb.EncryptRequest(key_id=key_id, plaintext=b"x").SerializeToString()
    service.executor.execute(service.operation("Encrypt"), service.credentials, raw)


def main() -> None:
    with own_service(Path(sys.argv[1]), cached_keys=int(sys.argv[2])) as service:
        keys = keys_of(service)
        for key_id in islice(keys, FIRST):
            use(service, key_id)
        gc.collect()
        before, held, grown = resident_bytes(), 0, 0
        while some := list(islice(keys, LOOK_EVERY)):
            for key_id in some:
                use(service, key_id)
            held = max(held, service.shard.facts().cached_keys)
            grown = max(grown, resident_bytes() - before)
        print(grown / held)


if __name__ == "__main__":
    main()
