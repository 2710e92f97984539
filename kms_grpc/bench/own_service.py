"""A worker's service in this process, with the shard, keyring, audit log and counters of `kms-grpc serve`."""

from __future__ import annotations

import gc
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kms_grpc import app
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.bench.server import REGION
from kms_grpc.config import DEV_ACCOUNT, Limits, Settings
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.model.arn import key_arn
from kms_grpc.model.key import Key, KeyState
from kms_grpc.operations.call import Service
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.operation import Operation
from kms_grpc.operations.table import COUNTED, NAMES, TABLE
from kms_grpc.processes.memory import keep_freed_pages
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.registry.base import Transaction
from kms_grpc.registry.shards import Shard

KEYS_AT_ONCE: Final = 2_000
SLOTS: Final = 40_000
"""Slots of this process's keyring, enough for two services at once."""


class OwnService:
    """A service for one region and one caller, as one worker runs it."""

    def __init__(self, service: Service, token: str) -> None:
        self.service = service
        self.executor = Executor(service)
        self.credentials = Credentials(token, REGION, "bench", False, "ipv4:127.0.0.1:0", "kms-grpc-bench")

    @property
    def shard(self) -> Shard:
        return self.service.shards.default

    def operation(self, name: str) -> Operation:
        return TABLE[NAMES.index(name)]

    def make_keys(self, count: int, progress: Callable[[int], None] = lambda done: None) -> list[str]:
        """Creates keys as CreateKey does, many per transaction and without the quota; returns their ids.

        `progress` is called with the number of keys that exist so far.
        """
        made: list[str] = []
        while len(made) < count:
            with self.shard.registry.writing() as transaction:
                made += [self._make_key(transaction) for _ in range(min(KEYS_AT_ONCE, count - len(made)))]
            self.shard.words.announce_all()
            progress(len(made))
        return made

    def _make_key(self, transaction: Transaction) -> str:
        key_id, now = str(uuid.uuid4()), time.time_ns()
        material = self.shard.generate_material(key_id, DEV_ACCOUNT, now)
        arn = key_arn(self.shard.partition, REGION, DEV_ACCOUNT, key_id)
        key = Key(key_id, arn, DEV_ACCOUNT, REGION, KeyState.ENABLED, "", now, material.material_id)
        transaction.keys.add(key, material)
        return key_id


@contextmanager
def own_service(data_dir: Path, cached_keys: int = 16_384) -> Iterator[OwnService]:
    """Yields the service of worker 0 on `data_dir`, which is created if it does not exist."""
    settings = Settings(
        data_dir=data_dir, regions=[REGION], workers=1, dev=True, limits=Limits(cached_keys=cached_keys)
    )
    logging.getLogger("kms_grpc").setLevel(logging.WARNING)
    keep_freed_pages()
    open_keyring(SLOTS)
    app.prepare(settings)
    RunFolder(data_dir).make(settings, COUNTED)
    log = app.audit_log(settings, 0)
    service = app.build_service(settings, 0, log)
    gc.collect()
    gc.freeze()
    try:
        yield OwnService(service, (data_dir / "dev.token").read_text("ascii").strip())
    finally:
        gc.unfreeze()
        log.close()
        service.shards.close()
