"""The entry point of `kms-grpc`: the tree of commands, and the exit codes of all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

from kms_grpc.cli import endings, standard_streams, terminal
from kms_grpc.cli.aliases import alias
from kms_grpc.cli.check import check
from kms_grpc.cli.completion import completion
from kms_grpc.cli.data_keys import data_key, random
from kms_grpc.cli.encryption import decrypt, encrypt, re_encrypt
from kms_grpc.cli.endings import PROGRAM
from kms_grpc.cli.failures import MEANINGS, ExitCode
from kms_grpc.cli.file_encryption import decrypt_file, encrypt_file
from kms_grpc.cli.importing import import_
from kms_grpc.cli.keys import keys
from kms_grpc.cli.limits import limits
from kms_grpc.cli.principals import principals
from kms_grpc.cli.quickstart import quickstart
from kms_grpc.cli.rotation import rotation
from kms_grpc.cli.serve import serve
from kms_grpc.cli.server_processes import SERVER_PROCESSES
from kms_grpc.cli.tags import tags
from kms_grpc.cli.wait import wait

BENCH: Final = "bench"
BENCH_MODULE: Final = "kms_grpc.bench.command"
"""The module of `kms-grpc bench`; imported only when that command runs, since it imports the whole server."""
BENCH_LINE: Final = "Measure speed, beside references, on this machine."

SECTIONS: Final[dict[str, tuple[click.Command | str, ...]]] = {
    "Start a server": (quickstart, serve, wait, check),
    "Keys": (keys, alias),
    "Encrypt and decrypt": (encrypt, decrypt, encrypt_file, decrypt_file, data_key, re_encrypt, random),
    "Manage keys": (rotation, import_, tags),
    "Operate the server": (principals, limits, BENCH, completion),
}
"""The commands of `kms-grpc --help`, in the order in which a newcomer meets them. README follows the same order."""

EPILOG: Final = """\b
Environment variables:
  KMS_GRPC_ENDPOINT   the server: HOST:PORT or unix:/path (127.0.0.1:50051)
  KMS_GRPC_TOKEN      the caller's bearer token
  KMS_GRPC_REGION     the called region (the server's first)
  KMS_GRPC_TLS_CA     use TLS, and trust the certificates in this file
  KMS_GRPC_TLS_NAME   the name in the server's certificate, if not HOST
  KMS_GRPC_DEBUG=1    print the traceback of a bug
  NO_COLOR=1          print no colours

\b
Exit codes:
""" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


class Commands(click.Group):
    """The root command. Its help lists the commands by section."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), BENCH]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == BENCH:
            command = getattr(importlib.import_module(BENCH_MODULE), name)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([_help_row(command) for command in commands])


def _help_row(command: click.Command | str) -> tuple[str, str]:
    if isinstance(command, str):
        return command, BENCH_LINE
    return str(command.name), command.get_short_help_str(limit=90)


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="kms-grpc", prog_name=PROGRAM)
def cli() -> None:
    """A key management service that behaves like AWS KMS and is reached by gRPC.

    \b
    kms-grpc quickstart                                    start a server and see it work
    kms-grpc keys create --description "orders"            create a key
    kms-grpc encrypt --key KEY secret.txt --to secret.kms  encrypt a file under the key
    kms-grpc decrypt secret.kms                            decrypt the file again

    Each command has help with examples: kms-grpc encrypt --help.
    """


for _commands in (*SECTIONS.values(), SERVER_PROCESSES):
    for _command in _commands:
        if isinstance(_command, click.Command):
            cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code. Prints a traceback only if KMS_GRPC_DEBUG is set."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    standard_streams.repair()
    try:
        answer = cli.main(args=[*given], prog_name=PROGRAM, standalone_mode=False, color=terminal.colour())
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return endings.usage(error, given)
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        standard_streams.discard_output()
        return ExitCode.OK
    except (OSError, UnicodeError) as error:
        return endings.ordinary(error, given)
    except Exception as error:
        return endings.bug(error, given)
    return answer if isinstance(answer, int) else ExitCode.OK
