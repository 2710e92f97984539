"""A server with minimal children, to test the supervisor: `python -m tests.processes.stand_in ROLE INDEX`.

The worker greets each connection with `worker-N PID` and answers `wait SECONDS` with `done` after that time. A file
`fail-NAME` in the data directory makes the child NAME fail at its start with the content as the reason.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kms_grpc import config
from kms_grpc.clock import SystemClock
from kms_grpc.config import ConfigurationError, Settings
from kms_grpc.processes import keeper, prepare, worker
from kms_grpc.processes.child_protocol import Offer, Taken
from kms_grpc.processes.children import Timing
from kms_grpc.processes.supervisor import Supervisor
from kms_grpc.registry.shards import Shard

OPERATIONS = ("Encrypt", "Decrypt")


class LineServer:
    """The stand-in's door, a protocol of text lines."""

    def __init__(self, listen: str, greeting: str) -> None:
        self._listen = listen
        self._greeting = greeting.encode()
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        if self._listen.startswith("unix:"):
            self._server = await asyncio.start_unix_server(self._serve, self._listen.removeprefix("unix:"))
            return
        host, _, port = self._listen.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), reuse_port=True)

    async def drain(self, seconds: float) -> None:
        self._server.close()
        if self._busy:
            await asyncio.wait(self._busy, timeout=seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        while line := await reader.readline():
            call = asyncio.create_task(self._answer(float(line.split()[1]), writer))
            self._busy.add(call)
            call.add_done_callback(self._busy.discard)

    async def _answer(self, seconds: float, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(b"done\n")
        await writer.drain()


class StandInWorker:
    def __init__(self, settings: Settings, index: int, taken: Taken) -> None:
        refuse(settings, f"worker-{index}")
        self._no_decrypt = settings.data_dir / "no-decrypt"
        self.server = LineServer(settings.listen, f"worker-{index} {os.getpid()}\n")

    def facts(self) -> Mapping[str, str]:
        return {"libcrypto": "stand-in"}

    def gauges(self) -> Mapping[str, int]:
        return {"cached_keys": 7}

    def prepare(self, offer: Offer) -> None:
        refuse(offer.settings(), "prepare-offer")

    async def decrypt(self) -> None:
        """Fails while there is a file `no-decrypt`."""
        if self._no_decrypt.exists():
            raise ConfigurationError("the shard cannot be read")

    async def report(self, able: bool) -> None:
        pass

    def close(self) -> None:
        pass


class StandInKeeper:
    def __init__(self, settings: Settings) -> None:
        refuse(settings, "keeper")
        self.shards: Sequence[Shard] = ()
        self.clock = SystemClock()

    def facts(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        pass


def refuse(settings: Settings, name: str) -> None:
    reason = settings.data_dir / f"fail-{name}"
    if reason.exists():
        raise ConfigurationError(reason.read_text())


def command(role: str, index: int) -> list[str]:
    return [sys.executable, "-m", "tests.processes.stand_in", role, str(index)]


def serve(settings_file: str) -> int:
    settings = config.from_json(Path(settings_file).read_bytes())
    timing = Timing(ready=90.0, backoff_most=0.5, kill_margin=0.5)
    return Supervisor(settings, command, OPERATIONS, timing).run()


ROLES = {
    "serve": lambda: serve(sys.argv[2]),
    "prepare": lambda: prepare.run(lambda settings: refuse(settings, "prepare")),
    "worker": lambda: worker.run(StandInWorker),
    "keeper": lambda: keeper.run(StandInKeeper),
}

if __name__ == "__main__":
    sys.exit(ROLES[sys.argv[1]]())
