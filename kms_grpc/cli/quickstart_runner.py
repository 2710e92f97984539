"""Where the quickstart plays: it shows a command, runs it, shows its answer, and holds it against what was promised."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from kms_grpc.cli.failures import ExitCode

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
_LOG_LINES: Final = 5


class StepFailed(Exception):
    """A step did not do what it says."""


class QuickstartRunner:
    """Runs the commands of the walk in `folder`, as a person would in a shell there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        others = {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_TLS_")}
        self._environment = {**others, "PATH": search_path()}
        self._number = 0

    def title(self, text: str) -> None:
        self._number += 1
        click.echo(f"\n{click.style(f'{self._number}. {text}', bold=True)}")

    def export(self, variables: Mapping[str, str]) -> None:
        """Set environment variables for the commands to come."""
        self._environment.update(variables)
        self.show_command("export " + " ".join(f"{name}={value}" for name, value in variables.items()))

    def export_file(self, name: str, file: str) -> None:
        """The same with a file's content, which is not shown."""
        self._environment[name] = (self.folder / file).read_text("ascii").strip()
        self.show_command(f'export {name}="$(cat {file})"')

    def run(self, command: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        code, printed = self._show(command)
        if code != ExitCode.OK:
            raise StepFailed(f"it should have succeeded, but ended with exit code {code}")
        return printed

    def refuse(self, command: str, error: str, code: ExitCode) -> None:
        """Run a command that must be refused with that error and exit code."""
        seen, printed = self._show(command)
        if error not in printed or seen != code:
            raise StepFailed(f"it should have been refused with {error} and exit code {code}, not {seen}")
        self.confirm(f"refused, as it must be: {error}")

    def require(self, holds: bool, text: str) -> None:
        if not holds:
            raise StepFailed(f"this does not hold: {text}")
        self.confirm(text)

    def confirm(self, text: str) -> None:
        click.echo(f"   {click.style('ok', fg='green')} {text}")

    def show_command(self, command: str) -> None:
        click.echo(f"   {click.style('$', dim=True)} {click.style(command, fg='cyan')}")

    def _show(self, command: str) -> tuple[int, str]:
        self.show_command(command)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        printed = done.stdout.decode("utf-8", "replace")
        for line in printed.splitlines():
            click.echo(f"     {line}")
        return done.returncode, printed


class Server:
    """The quickstart's own server: a process group of its own, started, killed and stopped."""

    def __init__(self, stage: QuickstartRunner, address: str, arguments: list[str]) -> None:
        self.address = address
        self._stage = stage
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> Path:
        return self._stage.folder / "server.log"

    def start(self) -> None:
        """Start it, shown, and wait until it serves."""
        from kms_grpc.client import Connection, ServiceUnreachable
        from kms_grpc.client.health import wait_until_serving

        self._stage.show_command(f"{' '.join(self._arguments)} >> server.log 2>&1 &")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, cwd=self._stage.folder, env={**os.environ, "PATH": search_path()},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until_serving(Connection(self.address), START_SECONDS, lambda: self.process.poll() is None)
        except ServiceUnreachable as error:
            raise StepFailed(f"{error}\n{self._last_words()}") from None

    def kill(self) -> None:
        """SIGKILL to all its processes, by the command that does it by hand."""
        self._stage.run(f"kill -KILL -- -{self.process.pid}")
        self._stage.require(self.process.wait() == -signal.SIGKILL, "every process of the server was killed")

    def stop(self) -> None:
        """SIGTERM, as an operator would; SIGKILL to what is left of it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])


def key_id_in(printed: str) -> str:
    """Of a key that `kms-grpc keys create` has made."""
    match = re.search(r"^KeyId +([0-9a-f-]{36})$", printed, re.MULTILINE)
    if match is None:
        raise StepFailed("the answer has no KeyId")
    return match[1]


def search_path() -> str:
    """PATH, with the folder of this interpreter's scripts first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def require_commands() -> None:
    """What the walk runs must be there."""
    for command in ("kms-grpc", "bash", "python3", "cmp", "sha256sum"):
        if shutil.which(command, path=search_path()) is None:
            raise click.UsageError(f"{command} is not on PATH: install it, and kms-grpc by pip into this environment")


def ending_on_signals(act: Callable[[], int]) -> int:
    """Run `act` so that SIGTERM and SIGHUP end it as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    return act()
