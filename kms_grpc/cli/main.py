"""The entry point of `kms-grpc`: the tree of commands, and the way in which all of them fail."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from kms_grpc.cli.aliases import alias
from kms_grpc.cli.check import check
from kms_grpc.cli.completion import completion
from kms_grpc.cli.data_keys import data_key, random
from kms_grpc.cli.encryption import decrypt, encrypt, re_encrypt
from kms_grpc.cli.failures import MEANINGS, ExitCode
from kms_grpc.cli.file_encryption import decrypt_file, encrypt_file
from kms_grpc.cli.importing import import_
from kms_grpc.cli.keys import keys
from kms_grpc.cli.limits import limits
from kms_grpc.cli.output import text_of
from kms_grpc.cli.principals import principals
from kms_grpc.cli.quickstart import quickstart
from kms_grpc.cli.roles import ROLES
from kms_grpc.cli.rotation import rotation
from kms_grpc.cli.serve import serve
from kms_grpc.cli.tags import tags

PROGRAM: Final = "kms-grpc"

SECTIONS: Final = {
    "Server": (quickstart, serve, principals, check),
    "Keys": (keys, alias, rotation, tags, import_),
    "Data": (encrypt, decrypt, re_encrypt, encrypt_file, decrypt_file, data_key, random),
    "More": (limits, completion),
}
ELSEWHERE: Final = {"bench": ("kms_grpc.bench.command", "Measure speed, beside references, on this machine.")}
"""Commands whose module is imported only when they run, with their line in the help."""

EPILOG: Final = """\b
Where the service is, and who calls it:
  KMS_GRPC_ENDPOINT   HOST:PORT or unix:/path   (127.0.0.1:50051)
  KMS_GRPC_TOKEN      the caller's bearer token
  KMS_GRPC_REGION     the called region         (the server's first)
  KMS_GRPC_TLS_CA     speak TLS; file of the certificates to trust
  KMS_GRPC_TLS_NAME   the name in the server's certificate, if not HOST
  KMS_GRPC_DEBUG=1    traceback of a bug

\b
Exit codes:
""" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


class Commands(click.Group):
    """The root: its help lists commands by section."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), *ELSEWHERE]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in ELSEWHERE:
            command = getattr(importlib.import_module(ELSEWHERE[name][0]), name)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            rows = [(str(command.name), command.get_short_help_str(limit=90)) for command in commands]
            if section == "More":
                rows += [(name, short) for name, (_, short) in ELSEWHERE.items()]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="kms-grpc", prog_name=PROGRAM)
def cli() -> None:
    """A key management service that behaves like AWS KMS and is reached by gRPC.

    \b
    kms-grpc quickstart                                    see it work
    kms-grpc keys create --description "orders"            a key
    kms-grpc encrypt --key KEY secret.txt --to secret.kms  encrypt with it
    kms-grpc decrypt secret.kms                            and back

    Each command explains itself: kms-grpc encrypt --help.
    """


for _commands in (*SECTIONS.values(), ROLES):
    for _command in _commands:
        cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. No traceback reaches a user."""
    try:
        answer = cli.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return _usage(error)
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        return _bug(error)
    return answer if isinstance(answer, int) else ExitCode.OK


def _usage(error: click.ClickException) -> int:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
    text = text_of(error.format_message().replace("\n\t", " "))  # click puts choices into lines of their own
    click.echo(f"{PROGRAM}: {text.rstrip('.?')}. See: {path} --help", err=True)
    return ExitCode.USAGE


def _bug(error: Exception) -> int:
    if os.environ.get("KMS_GRPC_DEBUG"):
        raise error
    text = " ".join(f"{type(error).__name__}: {error}".split())
    click.echo(f"{PROGRAM}: a bug: {text}. Way out: report it with what KMS_GRPC_DEBUG=1 shows", err=True)
    return ExitCode.BUG
