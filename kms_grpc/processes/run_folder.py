"""DIR/run: what the processes of one server share while they run, and DIR/audit.

| file | content |
|---|---|
| run/epochs | u64 per region, in the order of the configuration (registry/epochs.py) |
| run/regions | their names, one per line |
| run/counters-N | calls of worker N (audit/counters.py) |
| run/gauges-worker-N, run/gauges-keeper | gauges.py |
| run/address | where the server answers, one address per line |
| run/aws-address | the same of the AWS door, where there is one |
| run/tls-certificate | the path of the certificate that it serves under, where there is one |
| audit/worker-N.jsonl, audit/keeper.jsonl | the audit logs (audit/log.py) |
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kms_grpc.audit import counters, reserve
from kms_grpc.config import Settings
from kms_grpc.processes.claims import StartRefused
from kms_grpc.processes.gauges import KEEPER, WORKER
from kms_grpc.registry.epochs import create_epochs, epochs_path

GAUGE_BYTES: Final = 8


class RunFolder:
    """Paths below a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "run"
        self.audit = data_dir / "audit"
        self.epochs = epochs_path(data_dir)
        self.regions = self.folder / "regions"
        self.address = self.folder / "address"
        self.aws_address = self.folder / "aws-address"
        self.tls_certificate = self.folder / "tls-certificate"
        self.keeper_gauges = self.folder / "gauges-keeper"
        self.keeper_log = self.audit / "keeper.jsonl"
        self.keeper_position = self.audit / "keeper.position"

    def served_regions(self) -> list[str]:
        """Of the server that runs, or ran last, in the order of the epochs; none where none ever did."""
        return self.regions.read_text("ascii").split() if self.regions.is_file() else []

    def counters(self, worker: int) -> Path:
        return self.folder / f"counters-{worker}"

    def worker_gauges(self, worker: int) -> Path:
        return self.folder / f"gauges-worker-{worker}"

    def worker_log(self, worker: int) -> Path:
        return self.audit / f"worker-{worker}.jsonl"

    def make(self, settings: Settings, operations: Sequence[str]) -> None:
        """Make all of it, counters at zero. Only the supervisor does, before anyone maps it. Raises StartRefused."""
        try:
            self._make(settings, operations)
        except OSError as error:
            raise StartRefused(f"{self.folder}: {error.strerror}") from None

    def _make(self, settings: Settings, operations: Sequence[str]) -> None:
        for folder in (self.folder, self.audit):
            folder.mkdir(mode=0o700, exist_ok=True)
        told = (self.address, self.aws_address, self.tls_certificate)
        for old in (*self.folder.glob("counters-*"), *self.folder.glob("gauges-*"), *told):
            old.unlink(missing_ok=True)
        self._give_back_reserves(settings.workers)
        create_epochs(self.epochs, len(settings.regions))
        self.regions.write_text("".join(f"{region}\n" for region in settings.regions), "ascii")
        _zeros(self.keeper_gauges, GAUGE_BYTES * len(KEEPER))
        for worker in range(settings.workers):
            counters.create(self.counters(worker), operations)
            _zeros(self.worker_gauges(worker), GAUGE_BYTES * len(WORKER))

    def _give_back_reserves(self, workers: int) -> None:
        """Of workers there are no more: killed when there were more of them, they left theirs allocated."""
        present = {self.worker_log(worker) for worker in range(workers)}
        for path in set(self.audit.glob("worker-*.jsonl")) - present:
            with path.open("ab") as log:
                reserve.release(log.fileno())


def _zeros(path: Path, size: int) -> None:
    """A new file, allocated in full: a store into a mapped hole would be SIGBUS on a full disk."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
