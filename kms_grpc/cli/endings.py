"""Endings of a command that do not come from the service: wrong usage, a full disk, a closed stream, a bug.

Each is one line on standard error (a JSON object if the command line asks for JSON) and an exit code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import click

from kms_grpc.cli import standard_streams
from kms_grpc.cli.failures import ExitCode, report
from kms_grpc.cli.output import asks_for_json, text_of

PROGRAM = "kms-grpc"


def usage(error: click.ClickException, arguments: Sequence[str]) -> int:
    """Reports a command line that is wrong."""
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
    text = _misplaced(error, arguments) or text_of(
        error.format_message().replace("\n\t", " ")
    )  # click puts choices on lines
    return _end(ExitCode.USAGE, "UsageError", text.rstrip(".?"), f"{path} --help", arguments, before="See: ")


def ordinary(error: OSError | UnicodeError, arguments: Sequence[str]) -> int:
    """Reports a file or stream that cannot be used, or an argument that is not text. Anything else is a bug."""
    if isinstance(error, OSError):
        name = standard_streams.blamed(error)
        standard_streams.discard_output()
        reason = error.strerror or str(error)
        return _end(ExitCode.USAGE, "UsageError", text_of(f"{name}: {reason}" if name else reason), "", arguments)
    unreadable = next(_not_text(arguments), None)
    if unreadable is None:
        return bug(error, arguments)
    text = f"the argument {text_of(unreadable)} is not text in the encoding of this locale"
    return _end(ExitCode.USAGE, "UsageError", text, "give it in UTF-8 and set LC_ALL=C.UTF-8", arguments)


def missing_library(error: ModuleNotFoundError, arguments: Sequence[str]) -> int:
    """Reports a library that is not installed: the client alone installs without the server's libraries. A missing
    module of this package is a bug."""
    if (error.name or "").startswith("kms_grpc"):
        return bug(error, arguments)
    way_out = f"pip install '{PROGRAM}[server]', which also runs the server"
    return _end(ExitCode.USAGE, "UsageError", f"the library {error.name} is not installed", way_out, arguments)


def bug(error: Exception, arguments: Sequence[str]) -> int:
    """Reports an error that should not happen. Raises it if KMS_GRPC_DEBUG is set."""
    if os.environ.get("KMS_GRPC_DEBUG"):
        raise error
    text = " ".join(f"a bug: {type(error).__name__}: {error}".split())
    return _end(ExitCode.BUG, "Bug", text_of(text), "report it with what KMS_GRPC_DEBUG=1 shows", arguments)


def _end(
    code: ExitCode, name: str, text: str, way_out: str, arguments: Sequence[str], before: str = "Way out: "
) -> int:
    as_json = {"Error": name, "Message": text, "WayOut": way_out} if asks_for_json(arguments) else None
    report(f"{text}{f'. {before}{way_out}' if way_out else ''}", members=as_json)
    return code


def _misplaced(error: click.ClickException, arguments: Sequence[str]) -> str:
    """Returns what to say about an option that stands before the command it belongs to; empty for other errors."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return ""
    command, path, rest = error.ctx.command, error.ctx.command_path, iter(arguments)
    while isinstance(command, click.Group):
        name = next((word for word in rest if word in command.list_commands(error.ctx)), None)
        found = command.get_command(error.ctx, name) if name else None
        if found is None or found is error.ctx.command:
            return ""
        command, path = found, f"{path} {name}"
    if not any(error.option_name in parameter.opts for parameter in command.params):
        return ""
    return f"{error.option_name} stands after the command: {path} {error.option_name} …"


def _not_text(arguments: Sequence[str]) -> Iterator[str]:
    """Yields the arguments with bytes that the locale's encoding does not know. File names may have them."""
    return (argument for argument in arguments if any("\ud800" <= letter <= "\udfff" for letter in argument))
