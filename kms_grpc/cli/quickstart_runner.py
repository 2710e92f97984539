"""The runner of the quickstart's commands, which shows each command and its output and checks the result."""

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
from kms_grpc.processes.isolation import isolated

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
_LOG_LINES: Final = 5


class StepFailed(Exception):
    """A step of the quickstart did not have the expected result."""


class QuickstartRunner:
    """Runs shell commands in `folder` and shows them with their output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        others = {name: value for name, value in os.environ.items() if not name.startswith("KMS_GRPC_TLS_")}
        self._environment = isolated({**others, "PATH": search_path()})
        self._number = 0

    def title(self, text: str) -> None:
        self._number += 1
        click.echo(f"\n{click.style(f'{self._number}. {text}', bold=True)}")

    def export(self, variables: Mapping[str, str]) -> None:
        """Sets environment variables for the commands that follow."""
        self._environment.update(variables)
        self.show_command("export " + " ".join(f"{name}={value}" for name, value in variables.items()))

    def export_file(self, name: str, file: str) -> None:
        """Sets an environment variable to the content of a file, which is not shown."""
        self._environment[name] = (self.folder / file).read_text("ascii").strip()
        self.show_command(f'export {name}="$(cat {file})"')

    def run(self, command: str) -> str:
        """Runs a command that must succeed; returns its output. Raises StepFailed if it fails."""
        code, printed = self._show(command)
        if code != ExitCode.OK:
            raise StepFailed(f"the command must succeed, but ended with exit code {code}")
        return printed

    def refuse(self, command: str, error: str, code: ExitCode) -> None:
        """Runs a command that must be refused with this error and exit code. Raises StepFailed if it is not."""
        seen, printed = self._show(command)
        if error not in printed or seen != code:
            raise StepFailed(f"the command must be refused with {error} and exit code {code}, not {seen}")
        self.confirm(f"refused, as expected: {error}")

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


class QuickstartServer:
    """The quickstart's server, in a process group of its own."""

    def __init__(self, runner: QuickstartRunner, address: str, arguments: list[str]) -> None:
        self.address = address
        self._runner = runner
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> Path:
        return self._runner.folder / "server.log"

    def start(self) -> None:
        """Shows the command, starts the server and waits until it is ready. Raises StepFailed if it ends before."""
        from kms_grpc.client import Connection, ServiceUnreachable
        from kms_grpc.client.health import wait_until_serving

        self._runner.show_command(f"{' '.join(self._arguments)} >> server.log 2>&1 &")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, cwd=self._runner.folder, env=isolated({**os.environ, "PATH": search_path()}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until_serving(Connection(self.address), START_SECONDS, lambda: self.process.poll() is None)
        except ServiceUnreachable as error:
            raise StepFailed(f"{error}\n{self._end_of_log()}") from None

    def kill(self) -> None:
        """Sends SIGKILL to all processes of the server, by a shell command that is shown."""
        self._runner.run(f"kill -KILL -- -{self.process.pid}")
        self._runner.require(self.process.wait() == -signal.SIGKILL, "every process of the server was killed")

    def stop(self) -> None:
        """Sends SIGTERM, and after STOP_SECONDS SIGKILL to the processes that still run."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:])


def key_id_in(printed: str) -> str:
    """Returns the key id in the output of `kms-grpc keys create`."""
    match = re.search(r"^KeyId +([0-9a-f-]{36})$", printed, re.MULTILINE)
    if match is None:
        raise StepFailed("the answer has no KeyId")
    return match[1]


def search_path() -> str:
    """Returns PATH with the folder of this interpreter's scripts first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def require_commands() -> None:
    """Raises UsageError unless every program of the quickstart is installed."""
    for command in ("kms-grpc", "bash", "python3", "cmp", "sha256sum"):
        if shutil.which(command, path=search_path()) is None:
            raise click.UsageError(f"{command} is not on PATH: install it, and kms-grpc by pip into this environment")


def ending_on_signals(act: Callable[[], int]) -> int:
    """Calls `act`, in which SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    return act()
