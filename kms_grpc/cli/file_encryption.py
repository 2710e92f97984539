"""`kms-grpc encrypt-file`, `decrypt-file`: files of any size, encrypted by the service over a stream."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.atomic import whole_file
from kms_grpc.cli.failures import ExitCode, code_of, print_failure
from kms_grpc.cli.files import STANDARD, ordinary_mode, refuse_blob
from kms_grpc.cli.options import Command, context_option, key_option, with_streams
from kms_grpc.cli.output import JSON, print_json, text_of
from kms_grpc.cli.transfer import Gauge, Move, plan
from kms_grpc.errors import KMSError

if TYPE_CHECKING:
    from kms_grpc.client import StreamClient, Streamed

PRIVATE = 0o600
RATE_FROM = 1_000_000
"""The size of the smallest file whose rate is shown, in bytes."""
Start = Callable[[Iterator[bytes]], "Streamed"]
Accept = Callable[[str, bytes], None]


def _anything(source: str, head: bytes) -> None:
    """Accepts every file."""


def file_options(command: Command) -> Command:
    """Adds INPUT, --to, --recursive, --replace, --force and --quiet to a command."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="No progress bar."),
        click.option("--force", is_flag=True, help="Write binary output even to a terminal."),
        click.option("--replace", is_flag=True, help="Overwrite existing files."),
        click.option("--recursive", "-r", is_flag=True, help="INPUT is a directory: take all files below it."),
        click.option("--to", metavar="PATH", help="File or directory for the result; - is standard output."),
        click.argument("source", metavar="[INPUT]", default=STANDARD, type=click.Path(allow_dash=True)),
    ):
        command = option(command)
    return command


@click.command("encrypt-file", short_help="Encrypt a file of any size, or a directory.")
@file_options
@key_option
@context_option()
@click.option(
    "--frame-length", type=click.IntRange(1024, 1024 * 1024), metavar="BYTES",
    help="Plaintext bytes per frame. A reader holds one frame in memory.  [65,536]",
)  # fmt: skip
@with_streams
def encrypt_file(
    client: StreamClient, output: str, *, key_id: str, context: dict[str, str], frame_length: int | None,
    source: str, to: str | None, recursive: bool, replace: bool, force: bool, quiet: bool,
) -> None:  # fmt: skip
    """Encrypt a file of any size, in constant memory.

    INPUT is a file, and the result goes to INPUT.kms. Without INPUT, or with -, standard input is encrypted to standard
    output. With --recursive INPUT is a directory: each file NAME below it is encrypted to NAME.kms beside it, or below
    the directory --to. Files that end in .kms, links and special files are skipped. A file that cannot be read makes
    the exit code 2.

    The result is a message of the AWS Encryption SDK, which its libraries and command line decrypt as well. The output
    file is complete, or not there. Standard output is complete only if the exit code is 0.

    \b
    kms-grpc encrypt-file --key alias/films film.mp4
    kms-grpc encrypt-file --key alias/backups --recursive photos --to kept/photos
    tar c photos | kms-grpc encrypt-file --key alias/backups > photos.tar.kms
    """
    moves = plan(source, to, encrypts=True, recursive=recursive, replace=replace)
    run(
        moves, output, lambda parts: client.encrypt(key_id, parts, context, frame_length=frame_length),
        mode=ordinary_mode(), force=force, quiet=quiet,
    )  # fmt: skip


@click.command("decrypt-file", short_help="Decrypt a file of encrypt-file or the AWS Encryption SDK.")
@file_options
@click.option(
    "--key",
    "--key-id",
    "key_id",
    metavar="KEY",
    shell_complete=suggestions.keys_and_aliases,
    help="Refuse files of any other key.",
)
@context_option("--context", "Pair that must be in the file's encryption context")
@with_streams
def decrypt_file(
    client: StreamClient, output: str, *, key_id: str | None, context: dict[str, str],
    source: str, to: str | None, recursive: bool, replace: bool, force: bool, quiet: bool,
) -> None:  # fmt: skip
    """Decrypt a file that encrypt-file, or a library of the AWS Encryption SDK, wrote under a key of this service.

    INPUT is a file, and the result goes to INPUT without .kms, readable by you alone (mode 0600). Without INPUT, or
    with -, standard input is decrypted to standard output. With --recursive INPUT is a directory: each NAME.kms below
    it is decrypted to NAME beside it, or below the directory --to.

    The output file appears only after all of it was verified. Standard output carries verified bytes only, but is
    complete only if the exit code is 0: do not use it otherwise.

    \b
    kms-grpc decrypt-file film.mp4.kms
    kms-grpc decrypt-file --recursive kept/photos --to photos
    kms-grpc decrypt-file < photos.tar.kms | tar x
    """
    moves = plan(source, to, encrypts=False, recursive=recursive, replace=replace)
    run(
        moves, output, lambda parts: client.decrypt(parts, context, key_id=key_id),
        mode=PRIVATE, force=force, quiet=quiet, accept=refuse_blob,
    )  # fmt: skip


def run(
    moves: list[Move], output: str, start: Start, *, mode: int, force: bool, quiet: bool, accept: Accept = _anything
) -> None:
    """Encrypts or decrypts the files one after the other.

    `accept` gets the name of each and its first bytes, and raises UsageError for a file that it does not take.
    A failure is printed, and the next file is taken. The exit code is that of the first failure.
    """
    from kms_grpc.client import ClientError

    done: list[dict[str, Any]] = []
    codes: list[int] = []
    with Gauge(quiet=quiet) as gauge:
        for move in moves:
            try:
                done.append(move_one(move, start, gauge, mode, force, accept))
            except (KMSError, ClientError) as error:
                if len(moves) > 1:
                    click.echo(f"{text_of(move.source)}:", err=True)
                print_failure(error, as_json=output == JSON)
                codes.append(code_of(error))
            except click.UsageError as error:
                if len(moves) == 1:
                    raise
                click.echo(text_of(error.format_message()), err=True)
                codes.append(ExitCode.USAGE)
    print_summary(done, output)
    if codes:
        raise click.exceptions.Exit(codes[0])


def move_one(move: Move, start: Start, gauge: Gauge, mode: int, force: bool, accept: Accept) -> dict[str, Any]:
    """Encrypts or decrypts one file; returns its names, bytes, seconds and key for printing."""
    begun = time.monotonic()
    gauge.begin(move)
    try:
        with _opened(move.source) as source:
            parts = gauge.read(source)
            first = next(parts, b"")
            accept(move.source, first)
            with _created(move.target, mode, force) as target, start(chain([first], parts)) as streamed:
                for part in streamed:
                    target.write(part)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.UsageError(f"{error.filename or move.target}: {error.strerror}") from None
    seconds = time.monotonic() - begun
    facts = {"Source": move.source, "Target": move.target, "Bytes": gauge.moved, "Seconds": round(seconds, 3)}
    return facts | {"KeyId": streamed.key_id}


def print_summary(done: list[dict[str, Any]], output: str) -> None:
    """Prints a line for each file, unless its content went to standard output."""
    if any(facts["Target"] == STANDARD for facts in done):
        return
    if output == JSON:
        print_json({"Files": done})
        return
    for facts in done:
        names = f"{text_of(facts['Source'])} -> {text_of(facts['Target'])}"
        click.echo(f"{names}   {facts['Bytes']:,} bytes{_rate(facts['Bytes'], facts['Seconds'])}")


def _rate(size: int, seconds: float) -> str:
    """Returns how fast a file went; empty if it was so small that the time is that of the call."""
    return f", {size / max(seconds, 0.001) / 1e6:,.0f} MB/s" if size >= RATE_FROM else ""


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == STANDARD:
        yield sys.stdin.buffer
        return
    with Path(source).open("rb") as file:
        yield file


@contextlib.contextmanager
def _created(target: str, mode: int, force: bool) -> Iterator[BinaryIO]:
    if target != STANDARD:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(target), mode) as file:
            yield file
        return
    if sys.stdout.isatty() and not force:
        raise click.UsageError("will not write binary output to a terminal. Give --to FILE, or --force")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
