"""A server for tests: `python -m kms_grpc serve` with its own data directory, port and process group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kms_grpc.client import Connection, KeyManagementClient
from kms_grpc.client.health import wait_until_serving
from tests.ending import ENDING_WITH_US

REGIONS = ("eu-central-1", "eu-west-1")
ACCOUNT = "123456789012"
START_SECONDS = 120
STOP_SECONDS = 60


class Served:
    """A server process. Port 0 in `listen` becomes a free port at the first start, which later starts use again.

    For a Unix socket `address` is that of the first worker.
    """

    def __init__(
        self,
        data_dir: Path,
        options: Sequence[str] = (),
        *,
        regions: Sequence[str] = REGIONS,
        workers: int = 2,
        listen: str = "127.0.0.1:0",
        dev: bool = True,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "kms_grpc"),
        tls_ca: Path | None = None,
    ) -> None:
        """`prefix` is a command that runs the server, such as setpriv; `command` is `kms-grpc` itself.

        `tls_ca` is the CA of the certificate that `options` name; clients then use TLS.
        """
        self.data_dir = data_dir
        self.regions = list(regions)
        self.address = listen
        self._listen = listen
        self.tls_ca = tls_ca
        self.environment = dict(environment or {})
        self.log = data_dir.with_name(data_dir.name + ".log")
        self._prefix = list(prefix)
        self._command = list(command)
        self._options = [*(["--dev"] if dev else []), "--workers", str(workers), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor. Its pid is the id of the process group."""
        assert self._process is not None, "the server was not started"
        return self._process

    @property
    def token(self) -> str:
        """The token of the only caller of --dev, root of account 123456789012."""
        return (self.data_dir / "dev.token").read_text("ascii").strip()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self, region: str | None = None, token: str | None = None) -> KeyManagementClient:
        """Returns a client with its own connection, which the test must close."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        return KeyManagementClient(
            self.address, token=token or self.token, region=region, tls_ca=self.tls_ca, channel_options=options
        )

    def variables(self, region: str | None = None) -> dict[str, str]:
        """Returns the environment variables with which `kms-grpc` calls this server."""
        region = region or self.regions[0]
        tls = {"KMS_GRPC_TLS_CA": str(self.tls_ca)} if self.tls_ca else {}
        return {"KMS_GRPC_ENDPOINT": self.address, "KMS_GRPC_TOKEN": self.token, "KMS_GRPC_REGION": region, **tls}

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the server without waiting for it."""
        regions = [argument for region in self.regions for argument in ("--region", region)]
        where = ["--data-dir", str(self.data_dir), "--listen", self._listen]
        command = [*ENDING_WITH_US, *self._prefix, *self._command, "serve", *where, *regions, *self._options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean() | self.environment,
                start_new_session=True,
            )  # fmt: skip
        return self._process

    def start(self) -> None:
        """Starts the server and waits until it is ready. AssertionError with the server's log if it is not."""
        self.launch()
        try:
            self.address = self._chosen_address()
            if self._listen.endswith(":0"):
                self._listen = self.address
            wait_until_serving(Connection(self.address, tls_ca=self.tls_ca), START_SECONDS, lambda: self.running)
        except Exception as error:
            self.close()
            raise AssertionError(f"the server did not start: {error}\n{self.log_text()}") from None

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Sends SIGKILL to all processes of the server at once, as in a power failure."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Stops the server and starts it again, with the same address and data directory."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kills every process of the server that still runs."""
        if self._process is not None:
            self.kill()

    def log_text(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def _chosen_address(self) -> str:
        written = self.data_dir / "run" / "address"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.running:
            if written.exists() and written.read_text().endswith("\n"):
                return written.read_text().splitlines()[0]
            time.sleep(0.02)
        raise TimeoutError("no address was written")


def clean() -> dict[str, str]:
    """Returns this process's environment without the variables of kms-grpc."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_")}
