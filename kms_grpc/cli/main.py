"""The entry point of `kms-grpc`: the tree of commands, and the exit codes of all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Final, NamedTuple

import click

from kms_grpc.cli import endings, standard_streams, terminal
from kms_grpc.cli.endings import PROGRAM
from kms_grpc.cli.failures import MEANINGS, ExitCode

BENCH: Final = "bench"


class Entry(NamedTuple):
    """The entry of a command: its module, which is imported when the command is used, and its line in the help."""

    module: str
    line: str

    def load(self, name: str) -> click.Command:
        """Returns the command of that name."""
        attribute = name.replace("-", "_")
        command = getattr(importlib.import_module(self.module), attribute + "_" * iskeyword(attribute))
        assert isinstance(command, click.Command)
        return command


SECTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "Start a server": {
        "quickstart": Entry("kms_grpc.cli.quickstart", "Start a server and see it work, step by step."),
        "serve": Entry("kms_grpc.cli.serve", "Serve keys of one or more regions."),
        "wait": Entry("kms_grpc.cli.wait", "Wait until a server serves."),
        "check": Entry("kms_grpc.cli.check", "Check this machine, a data directory and a server."),
    },
    "Keys": {
        "keys": Entry("kms_grpc.cli.keys", "Create, list, describe, disable, enable and delete keys."),
        "alias": Entry("kms_grpc.cli.aliases", "Create, move, delete and list names of keys."),
    },
    "Encrypt and decrypt": {
        "encrypt": Entry("kms_grpc.cli.encryption", "Encrypt up to 4,096 bytes under a key."),
        "decrypt": Entry("kms_grpc.cli.encryption", "Decrypt a ciphertext."),
        "encrypt-file": Entry("kms_grpc.cli.file_encryption", "Encrypt a file of any size, or a directory."),
        "decrypt-file": Entry(
            "kms_grpc.cli.file_encryption", "Decrypt a file of encrypt-file or the AWS Encryption SDK."
        ),
        "data-key": Entry("kms_grpc.cli.data_keys", "Make a data key to encrypt your data with."),
        "re-encrypt": Entry("kms_grpc.cli.encryption", "Encrypt a ciphertext under another key, inside the service."),
        "random": Entry("kms_grpc.cli.data_keys", "Make random bytes."),
    },
    "Manage keys": {
        "rotation": Entry("kms_grpc.cli.rotation", "Rotate keys automatically or on demand."),
        "import": Entry("kms_grpc.cli.importing", "Import your own key material."),
        "policy": Entry("kms_grpc.cli.policy", "Read, replace, check and begin key policies."),
        "grants": Entry("kms_grpc.cli.grants", "Let principals use keys: create, list, retire and revoke grants."),
        "tags": Entry("kms_grpc.cli.tags", "Set, remove and list tags of keys."),
    },
    "Operate the server": {
        "principals": Entry("kms_grpc.cli.principals", "Callers, their policies and access keys."),
        "explain": Entry("kms_grpc.cli.explain", "Say why a call would be allowed or denied."),
        "limits": Entry("kms_grpc.cli.limits", "Version, regions, limits and quotas of the server."),
        BENCH: Entry("kms_grpc.bench.command", "Measure speed, beside references, on this machine."),
        "completion": Entry("kms_grpc.cli.completion", "Make your shell complete commands and options."),
    },
}
"""The commands of `kms-grpc --help`, in the order in which a newcomer meets them. README.md of this folder has the same
order."""

SERVER_PROCESSES: Final = {name: Entry("kms_grpc.cli.server_processes", "") for name in ("worker", "keeper", "prepare")}
"""Hidden commands for the processes that `serve` starts."""

ENTRIES: Final = SERVER_PROCESSES | {name: entry for entries in SECTIONS.values() for name, entry in entries.items()}

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
    """The root command. Its help lists the commands by section, and imports none of them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(ENTRIES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in ENTRIES and name not in self.commands:
            self.add_command(ENTRIES[name].load(name), name)
        return super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section, entries in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, entry.line) for name, entry in entries.items()])


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
    except ModuleNotFoundError as error:
        return endings.missing_library(error, given)
    except (OSError, UnicodeError) as error:
        return endings.ordinary(error, given)
    except Exception as error:
        return endings.bug(error, given)
    return answer if isinstance(answer, int) else ExitCode.OK
