"""Options that several commands share, and the client that is opened from them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.failures import code_of, print_failure
from kms_grpc.cli.files import read_token
from kms_grpc.cli.output import JSON, TABLE
from kms_grpc.errors import KMSError

Command = TypeVar("Command", bound=Callable[..., Any])


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the connection options, --timeout and --output to a command.

    The command is called with an open KeyManagementClient and the output format (`table` or `json`) before its own
    arguments.
    """

    @connection_options
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for an answer.",
    )
    @output_option
    @functools.wraps(command)
    def connected(output: str, timeout: float, **arguments: Any) -> None:
        where = connection_arguments(arguments)
        with failing_cleanly(output):
            from kms_grpc.client import KeyManagementClient

            with KeyManagementClient(**where, timeout=timeout) as client:
                command(client, output, **arguments)

    return connected


def with_streams(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the connection options and --output to a command that is called with an open StreamClient.

    There is no --timeout: a stream may take as long as its data takes.
    """

    @connection_options
    @output_option
    @functools.wraps(command)
    def connected(output: str, **arguments: Any) -> None:
        where = connection_arguments(arguments)
        with failing_cleanly(output):
            from kms_grpc.client import StreamClient

            with StreamClient(**where) as client:
                command(client, output, **arguments)

    return connected


def connection_options(command: Command) -> Command:
    """Adds --endpoint, --region, --token-file, --tls-ca and --tls-name, which `connection_arguments` reads."""
    command = tls_options(command)
    for option in (
        click.option(
            "--token-file", type=click.Path(path_type=Path), help="File with the bearer token.  [KMS_GRPC_TOKEN]"
        ),
        click.option(
            "--region",
            metavar="REGION",
            callback=_printable,
            shell_complete=suggestions.regions,
            help="The called region.  [KMS_GRPC_REGION; else the server's first]",
        ),
        click.option("--endpoint", metavar="ADDRESS", help="HOST:PORT or unix:/path.  [KMS_GRPC_ENDPOINT]"),
    ):  # fmt: skip
        command = option(command)
    return command


def tls_options(command: Command) -> Command:
    """Adds --tls-ca and --tls-name."""
    for option in (
        click.option(
            "--tls-name", metavar="NAME", help="Name in the server's certificate, if not HOST.  [KMS_GRPC_TLS_NAME]"
        ),
        click.option(
            "--tls-ca", type=click.Path(path_type=Path), metavar="FILE",
            help="Use TLS, and trust the certificates in FILE (PEM).  [KMS_GRPC_TLS_CA]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def connection_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Removes the connection options from a command's arguments; returns the arguments for a client."""
    token_file = arguments.pop("token_file", None)
    token = read_token(token_file) if token_file else None
    names = ("endpoint", "region", "tls_ca", "tls_name")
    return {"token": token, **{name: arguments.pop(name) for name in names}}


def output_option(command: Command) -> Command:
    """Adds --output: `table` for people, `json` for programs, with AWS's member names."""
    return click.option(
        "--output", "-o", type=click.Choice([TABLE, JSON]), default=TABLE,
        help="json is for programs, with AWS's member names.",
    )(command)  # fmt: skip


def key_option(command: Command) -> Command:
    return click.option(
        "--key",
        "--key-id",
        "key_id",
        required=True,
        metavar="KEY",
        shell_complete=suggestions.keys_and_aliases,
        help="Key id, ARN, alias/NAME or alias ARN.",
    )(command)


def context_option(name: str = "--context", what: str = "Encryption context") -> Callable[[Command], Command]:
    return click.option(
        name, multiple=True, metavar="NAME=VALUE", callback=parse_pairs,
        help=f"{what}: authenticated, not secret; repeat for more pairs.",
    )  # fmt: skip


def request_id_option(what: str) -> Callable[[Command], Command]:
    """Adds --request-id, whose text goes into the metadata of the call."""
    return click.option("--request-id", metavar="ID", callback=_printable, help=f"Calls with the same id {what}.")


def _printable(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not (text.isascii() and text.isprintable()):
        raise click.BadParameter("must be printable ASCII")
    return text


@contextmanager
def failing_cleanly(output: str) -> Iterator[None]:
    """Turns an error of the service or of the connection into one line on standard error and an exit code."""
    # gRPC reads this variable when it is imported, below. Otherwise its log lines would stand beside ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from kms_grpc.client import ClientError

    try:
        yield
    except (KMSError, ClientError) as error:
        print_failure(error, as_json=output == JSON)
        raise click.exceptions.Exit(code_of(error)) from None


def parse_pairs(context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Parses NAME=VALUE pairs of an encryption context or of tags. Raises BadParameter for a second pair of the same
    name."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        if name in parsed:
            raise click.BadParameter(f"{name!r} is given twice")
        parsed[name] = value
    return parsed
