"""`kms-grpc principals token` makes bearer tokens; `principals check` shows the credentials of a configuration."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.options import output_option
from kms_grpc.cli.output import JSON, print_facts, print_json, print_table
from kms_grpc.config import ConfigurationError, Settings, given, load

if TYPE_CHECKING:
    from kms_grpc.principal_settings import Credential

TOKEN_BYTES: Final = 32


@click.command()
@output_option
def token(output: str) -> None:
    """Make a bearer token, and print it with its SHA-256.

    The token is for the caller; the SHA-256 is for the configuration, which then holds no secret. Neither is stored.

    \b
    kms-grpc principals token
    """
    from kms_grpc.crypto import envelope

    made = envelope.random_bytes(TOKEN_BYTES).hex()
    facts = {"Token": made, "TokenSha256": hashlib.sha256(made.encode()).hexdigest()}
    if output == JSON:
        print_json(facts)
    else:
        print_facts(facts)
        click.echo("The token is not shown again: give it to the caller now.")
        click.echo(f'For the configuration: token_sha256 = "{facts["TokenSha256"]}"')


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The configuration file.",
)
@output_option
def check(config_file: Path, output: str) -> int:
    """Check the callers of a configuration as the server would, and show the state of each credential.

    Exit code 0 only if no credential has expired.

    \b
    kms-grpc principals check --config kms.toml
    """
    try:
        states = [*_states(settings_of(config_file), int(datetime.now(UTC).timestamp()) * 10**9)]
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if output == JSON:
        names = ("Name", "Credential", "State")
        print_json({"Credentials": [dict(zip(names, row, strict=True)) for row in states]})
    else:
        print_table(["Name", "Credential", "State"], [[*row] for row in states])
    return ExitCode.REFUSED if any(state.startswith("expired") for _, _, state in states) else ExitCode.OK


def settings_of(config_file: Path) -> Settings:
    """Returns the settings in a file. The regions may be given to `serve` alone, and no caller depends on them."""
    return load(config_file, {"regions": given(config_file, {}).get("regions") or ["eu-central-1"]})


def _states(settings: Settings, now_ns: int) -> list[tuple[str, str, str]]:
    """Returns name, credential and state of each credential, and a row for each caller without any."""
    from kms_grpc import app
    from kms_grpc.authorization.identity_policies import identities
    from kms_grpc.clock import SystemClock
    from kms_grpc.configured_files import DISK
    from kms_grpc.principal_settings import same_tokens

    identities([*settings.principals, *settings.mappings])
    app.vouchers(settings, SystemClock(), DISK)
    found = same_tokens(settings.principals)
    rows = [(name, f"token {one.digest.hex()[:12]}", _state(one, now_ns)) for name, one in found]
    named = {name for name, _ in found}
    return rows + [(each.name, "none", "access keys alone") for each in settings.principals if each.name not in named]


def _state(one: Credential, now_ns: int) -> str:
    if one.ends_ns is not None and now_ns >= one.ends_ns:
        return f"expired on {_shown(one.ends_ns)}"
    if one.begins_ns is not None and now_ns < one.begins_ns:
        return f"valid from {_shown(one.begins_ns)}"
    return "valid" if one.ends_ns is None else f"valid until {_shown(one.ends_ns)}"


def _shown(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
