"""Paths in DIR/run, which the processes of a running server share, and in DIR/audit.

| file | content |
|---|---|
| run/words | the numbers that tell all processes of changes (registry/words.py) |
| run/regions | names of the regions, one per line |
| run/counters-N | call counters of worker N (audit/counters.py) |
| run/gauges-worker-N, run/gauges-keeper | gauges (gauges.py) |
| run/address | addresses of the gRPC door, one per line |
| run/aws-address | addresses of the AWS door, if it is served |
| run/tls-certificate | path of the TLS certificate, if TLS is configured |
| audit/worker-N.jsonl, audit/keeper.jsonl | the audit logs (audit/log.py) |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kms_grpc.audit import counters, reserve
from kms_grpc.config import Settings
from kms_grpc.processes.claims import StartRefused
from kms_grpc.processes.gauges import KEEPER, WORKER
from kms_grpc.registry.words import create_words, words_path
from kms_grpc.zero_file import make_zero_file

GAUGE_BYTES: Final = 8


class RunFolder:
    """Paths below one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "run"
        self.audit = data_dir / "audit"
        self.shards = data_dir / "regions"
        self.words = words_path(data_dir)
        self.regions = self.folder / "regions"
        self.address = self.folder / "address"
        self.aws_address = self.folder / "aws-address"
        self.tls_certificate = self.folder / "tls-certificate"
        self.keeper_gauges = self.folder / "gauges-keeper"
        self.keeper_log = self.audit / "keeper.jsonl"
        self.keeper_position = self.audit / "keeper.position"

    def served_regions(self) -> list[str]:
        """Returns the regions of the current or last server, in the order of the words file; empty before the first."""
        return self.regions.read_text("ascii").split() if self.regions.is_file() else []

    def counters(self, worker: int) -> Path:
        return self.folder / f"counters-{worker}"

    def worker_gauges(self, worker: int) -> Path:
        return self.folder / f"gauges-worker-{worker}"

    def worker_log(self, worker: int) -> Path:
        return self.audit / f"worker-{worker}.jsonl"

    def make(self, settings: Settings, operations: Sequence[str]) -> None:
        """Create all files, counters at zero. Only the supervisor calls this, before a process maps them.

        Raises StartRefused.
        """
        try:
            self._make(settings, operations)
        except OSError as error:
            raise StartRefused(f"{self.folder}: {error.strerror}") from None

    def _make(self, settings: Settings, operations: Sequence[str]) -> None:
        for folder in (self.folder, self.audit):
            folder.mkdir(mode=0o700, exist_ok=True)
        published = (self.address, self.aws_address, self.tls_certificate)
        for old in (*self.folder.glob("counters-*"), *self.folder.glob("gauges-*"), *published):
            old.unlink(missing_ok=True)
        self._release_reserves(settings.workers)
        create_words(self.words, len(settings.regions))
        self.regions.write_text("".join(f"{region}\n" for region in settings.regions), "ascii")
        make_zero_file(self.keeper_gauges, GAUGE_BYTES * len(KEEPER))
        for worker in range(settings.workers):
            counters.create(self.counters(worker), operations)
            make_zero_file(self.worker_gauges(worker), GAUGE_BYTES * len(WORKER))

    def _release_reserves(self, workers: int) -> None:
        """Release the log reserves of workers with higher numbers, which an earlier server left when it was killed."""
        present = {self.worker_log(worker) for worker in range(workers)}
        for path in set(self.audit.glob("worker-*.jsonl")) - present:
            with path.open("ab") as log:
                reserve.release(log.fileno())
