"""`kms-grpc quickstart`: starts a real server and demonstrates it step by step."""

from __future__ import annotations

import shlex
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kms_grpc.cli.exports import aws_exports, caller_exports, path_export
from kms_grpc.cli.failures import ExitCode
from kms_grpc.config import DEV_ACCESS_KEY, DEV_SECRET

if TYPE_CHECKING:
    from kms_grpc.cli.quickstart_runner import QuickstartRunner, QuickstartServer

MARKER: Final = ".quickstart"
"""A file in each folder that a quickstart has created. The quickstart refuses any other folder that is not empty."""
USUAL_PORT: Final = 50051
USUAL_AWS_PORT: Final = 8080


@click.command(short_help="Start a server and see it work, step by step.")
@click.option(
    "--exit", "ends", is_flag=True, help="Stop after the last step. Exit code 0 only if every step succeeded."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("quickstart-data"),
    show_default=True,
    metavar="DIR",
    help="Folder for all files of the quickstart.",
)
@click.option("--listen", metavar="ADDRESS", help="Loopback HOST:PORT.  [127.0.0.1:50051, or a free port]")
@click.option(
    "--file", "source", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The file to encrypt."
)
def quickstart(ends: bool, data_dir: Path, listen: str | None, source: Path | None) -> int:
    """Start a server with two regions and show what it does, step by step, with the command for each step.

    The server then keeps running until Ctrl-C. All files are in DIR. The keys of earlier quickstarts stay usable.

    \b
    kms-grpc quickstart
    kms-grpc quickstart --exit --file report.pdf
    """
    from kms_grpc.cli.quickstart_runner import (
        QuickstartRunner,
        QuickstartServer,
        StepFailed,
        ending_on_signals,
        require_commands,
    )

    require_commands()
    folder = _own_folder(data_dir)
    address, aws_address = _address(listen), _aws_address()
    runner = QuickstartRunner(folder)
    server = QuickstartServer(runner, address, _serve_command(address, aws_address))
    try:
        return ending_on_signals(lambda: _perform(runner, server, aws_address, source or _some_file(), ends))
    except StepFailed as failure:
        click.echo(f"   {click.style('FAILED', fg='red')} {failure}")
        return ExitCode.REFUSED
    finally:
        server.stop()


def _perform(runner: QuickstartRunner, server: QuickstartServer, aws_address: str, source: Path, ends: bool) -> int:
    from kms_grpc.cli.quickstart_grants import write_callers
    from kms_grpc.cli.quickstart_script import REGIONS, QuickstartScript

    click.echo(f"A key management service on this machine. All files are in {runner.folder}:")
    write_callers(runner.folder)
    runner.title("A server with two regions")
    server.start()
    runner.confirm(f"the server is ready at {server.address}")
    runner.export({"KMS_GRPC_ENDPOINT": server.address, "KMS_GRPC_REGION": REGIONS[0]})
    runner.export_file("KMS_GRPC_TOKEN", "server/dev.token")
    shutil.copyfile(Path(__file__).with_name("envelope_example.py"), runner.folder / "envelope.py")
    QuickstartScript(runner, server, source.absolute()).run()
    _call_as_aws(runner, aws_address)
    click.echo(f"\n{click.style('Every step succeeded.', bold=True, fg='green')}")
    return ExitCode.OK if ends else _go_on_serving(runner, server, aws_address)


def _call_as_aws(runner: QuickstartRunner, aws_address: str) -> None:
    """Lists the keys with AWS's own command line, if that is installed."""
    from kms_grpc.cli.quickstart_runner import search_path
    from kms_grpc.cli.quickstart_script import REGIONS

    runner.title("AWS's own command line")
    for name, value in _aws_variables(aws_address).items():
        runner.export({name: value})
    if shutil.which("aws", path=search_path()) is None:
        runner.confirm("skipped: aws is not installed (pip install awscli)")
        return
    listed = runner.run(f"aws kms list-keys --region {REGIONS[0]} --output json")
    runner.require('"KeyArn"' in listed, "AWS's command line lists the same keys")


def _aws_variables(aws_address: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_KMS": f"http://{aws_address}",
        "AWS_ACCESS_KEY_ID": DEV_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": DEV_SECRET,
        "no_proxy": "127.0.0.1,localhost",
    }


def _go_on_serving(runner: QuickstartRunner, server: QuickstartServer, aws_address: str) -> int:
    from kms_grpc.cli.quickstart_runner import StepFailed

    click.echo("\nThe server keeps running. To use it, paste this into another terminal:\n")
    click.echo(_exports(runner.folder, server.address))
    click.echo("\nTo use AWS's own clients, paste this:\n")
    click.echo(_aws_exports(aws_address))
    click.echo(f"\nIts log is {server.log}. Ctrl-C stops it; a later quickstart finds its keys again.")
    try:
        code = server.process.wait()
    except KeyboardInterrupt:
        click.echo("\nstopping")
        return ExitCode.OK
    raise StepFailed(f"the server ended unexpectedly, with exit code {code}: see {server.log}")


def _exports(folder: Path, address: str) -> str:
    token_file = folder / "server" / "dev.token"
    lines = [path_export(), *caller_exports(shlex.quote(address), "eu-central-1", token_file), "kms-grpc keys list"]
    return "\n".join(f"  {line}" for line in lines)


def _aws_exports(aws_address: str) -> str:
    lines = [*aws_exports(f"http://{shlex.quote(aws_address)}", "eu-central-1"), "aws kms list-keys"]
    return "\n".join(f"  {line}" for line in lines)


def _serve_command(address: str, aws_address: str) -> list[str]:
    from kms_grpc.cli.quickstart_grants import CALLERS
    from kms_grpc.cli.quickstart_script import REGIONS

    regions = [argument for region in REGIONS for argument in ("--region", region)]
    doors = ["--listen", address, "--aws-listen", aws_address]
    files = ["--data-dir", "server", "--config", CALLERS]
    return ["kms-grpc", "serve", "--dev", *files, *doors, *regions, "--workers", "2"]


def _own_folder(folder: Path) -> Path:
    """Returns the absolute path of the quickstart's folder, which is created if it is missing.

    Raises UsageError for a folder that is not empty and that no quickstart created.
    """
    marker = folder / MARKER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not marker.exists() and any(folder.iterdir()):
            raise click.UsageError(f"{folder} is not empty and no quickstart created it: give another --data-dir")
        marker.touch()
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from None
    return folder.absolute()


def _address(listen: str | None) -> str:
    """Returns the address to serve at: without --listen 127.0.0.1:50051, or a free port if that one is taken.

    Port 0 is replaced by a free port here, so that the server has the same one after it was killed and restarted.
    """
    if listen is None:
        return _bindable("127.0.0.1", USUAL_PORT) or _address("127.0.0.1:0")
    host, _, port = listen.rpartition(":")
    if port != "0":
        return listen
    free = _bindable(host, 0)
    if free is None:
        raise click.UsageError(f"--listen {listen}: cannot listen there. Give a loopback address of this machine")
    return free


def _aws_address() -> str:
    """Returns 127.0.0.1:8080, or a free port if that one is taken."""
    return _bindable("127.0.0.1", USUAL_AWS_PORT) or _address("127.0.0.1:0")


def _bindable(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return None
        return f"{host}:{probe.getsockname()[1]}"


def _some_file() -> Path:
    """Returns README.md of the current folder, or a file that every Debian has."""
    return next(path for path in (Path("README.md"), Path("/etc/os-release"), Path(__file__)) if path.is_file())
