"""`kms-grpc principals`: the configured callers with their policies, and access keys for AWS's own clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kms_grpc.cli.credentials import check, settings_of, token
from kms_grpc.cli.options import Command, failing_cleanly, output_option
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table
from kms_grpc.config import DATA_DIR, ConfigurationError, Settings, given, load

if TYPE_CHECKING:
    from kms_grpc.issuer_settings import MappingSettings
    from kms_grpc.model.access_key import AccessKey
    from kms_grpc.model.principal import Principal
    from kms_grpc.principal_settings import PrincipalSettings
    from kms_grpc.registry.shards import Shard


def _server_options(command: Command) -> Command:
    """Adds --output, and --data-dir, --config and --dev, which say whose server the access keys belong to."""
    for option in (
        output_option,
        click.option("--dev", is_flag=True, help="The server runs with --dev: its caller is named dev."),
        click.option(
            "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file."
        ),
        click.option(
            "--data-dir", type=click.Path(path_type=str), metavar="DIR", help="The data directory.  [kms-data]"
        ),
    ):
        command = option(command)
    return command


@click.group(short_help="Callers, their policies and access keys.")
def principals() -> None:
    """Show callers with their policies, make tokens, and manage access keys, with which AWS's own clients sign.

    Callers are set in the configuration file. Access keys are in the data directory: their commands work beside the
    running server and need permission to read the root key.

    \b
    kms-grpc principals list --config kms.toml
    kms-grpc principals access-key create orders --config kms.toml
    """


@principals.command("list")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The configuration file.",
)
@output_option
def list_principals(config_file: Path, output: str) -> None:
    """List the callers of a configuration with their policies, read as the server reads them.

    A mapping, which makes callers from signed assertions, is listed with the template of their ARNs.

    \b
    kms-grpc principals list --config kms.toml
    """
    from kms_grpc.authorization.identity_policies import identities, label

    try:
        settings = settings_of(config_file)
        callers: list[PrincipalSettings | MappingSettings] = [*settings.principals, *settings.mappings]
        identities(callers)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    policies = {each.name: [label(*one) for one in enumerate(each.policies or ())] for each in callers}
    if output == JSON:
        rows = [{"Name": each.name, "Arn": each.arn, "Policies": policies[each.name]} for each in callers]
        print_json({"Principals": rows})
    else:
        print_table(
            ["Name", "Arn", "Policies"], [[each.name, each.arn, _shown(policies[each.name])] for each in callers]
        )


@principals.command()
@click.argument("name")
@click.option(
    "--seconds",
    type=click.IntRange(900, 43_200),
    default=3600,
    show_default=True,
    help="How long the session lasts.",
)
@_server_options
def session(name: str, seconds: int, data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """Make a temporary access key with a session token, for AWS's own clients, of the caller NAME.

    It works until its time is over, or until the caller is removed or its ARN, policies or tags change.

    \b
    kms-grpc principals session orders --config kms.toml --seconds 900
    """
    from kms_grpc import app
    from kms_grpc.principal_settings import digest_of
    from kms_grpc.registry.sessions import create_session

    with _default_shard(data_dir, config_file, dev, output) as (settings, shard, now_ns):
        principal = _caller(settings, name)
        entry = next(each for each in app.callers(settings) if each.name == name)
        made = create_session(shard, principal, digest_of(entry), seconds, now_ns)
    facts = {
        "AccessKeyId": made.access_key_id,
        "SecretAccessKey": made.secret,
        "SessionToken": made.token,
        "Expiration": _shown_time(made.ends),
    }
    if output == JSON:
        print_json({"Credentials": facts})
    else:
        print_facts(facts)
        click.echo("It is not shown again: store it for the caller now.")


def _caller(settings: Settings, name: str) -> Principal:
    from kms_grpc import app

    known = app.principals(settings)
    if name not in known:
        configured = ", ".join(known) or "none: give --config FILE, or --dev"
        raise click.UsageError(f"{name} is no caller of this server. Configured callers: {configured}")
    return known[name]


principals.add_command(check)
principals.add_command(token)


def _shown(policies: list[str]) -> str:
    return ", ".join(policies) or "none: key policies alone"


@principals.group("access-key", short_help="Create, delete and list access keys.")
def access_key() -> None:
    """Create, delete and list access keys. Each is an id and a secret; a caller can have any number of them.

    \b
    kms-grpc principals access-key create orders --config kms.toml
    kms-grpc principals access-key list --config kms.toml
    kms-grpc principals access-key delete AKIAIOSFODNN7EXAMPLE --config kms.toml
    """


@access_key.command()
@click.argument("name")
@_server_options
def create(name: str, data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """Create an access key of the caller NAME. Its secret is shown here and never again.

    \b
    kms-grpc principals access-key create orders --config kms.toml
    """
    from kms_grpc.registry.access_keys import create_access_key

    with _default_shard(data_dir, config_file, dev, output) as (settings, shard, now_ns):
        made, secret = create_access_key(shard, _caller(settings, name), now_ns)
    facts = {**_described(made), "SecretAccessKey": secret}
    if output == JSON:
        print_json({"AccessKey": facts})
    else:
        print_facts(facts)
        click.echo("The secret is not shown again: store it for the caller now.")


@access_key.command()
@click.argument("access_key_id", metavar="ACCESS-KEY-ID")
@_server_options
def delete(access_key_id: str, data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """Delete an access key. Every worker refuses it from then on.

    \b
    kms-grpc principals access-key delete AKIAIOSFODNN7EXAMPLE --config kms.toml
    """
    from kms_grpc import app
    from kms_grpc.registry.access_keys import delete_access_key

    with _default_shard(data_dir, config_file, dev, output) as (settings, shard, now_ns):
        gone = delete_access_key(shard, access_key_id, app.principals(settings), now_ns)
    print_done(output, f"{gone.access_key_id} of {gone.principal} is deleted")


@access_key.command("list")
@_server_options
def list_(data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """List access keys, oldest first, without their secrets.

    \b
    kms-grpc principals access-key list --config kms.toml
    """
    from kms_grpc.registry.access_keys import list_access_keys

    with _default_shard(data_dir, config_file, dev, output, writes=False) as (_, shard, _):
        described = [_described(each) for each in list_access_keys(shard)]
    if output == JSON:
        print_json({"AccessKeyMetadata": described})
    else:
        print_table(["AccessKeyId", "UserName", "CreateDate"], [[*each.values()] for each in described])


def _described(access_key: AccessKey) -> dict[str, str]:
    return {
        "AccessKeyId": access_key.access_key_id,
        "UserName": access_key.principal,
        "CreateDate": _shown_time(access_key.created_ns // 10**9),
    }


def _shown_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _command() -> list[str]:
    return click.get_current_context().command_path.split()


@contextmanager
def _default_shard(
    data_dir: str | None, config_file: Path | None, dev: bool, output: str, *, writes: bool = True
) -> Iterator[tuple[Settings, Shard, int]]:
    """Yields the server's settings, the shard that holds the access keys, and the time in nanoseconds.

    The regions are those of the server's last start, in the same order, because the shared words (registry/words.py),
    by which the workers learn of a change, are in that order.
    """
    from kms_grpc import app
    from kms_grpc.clock import SystemClock
    from kms_grpc.processes.ownership import of_another_user
    from kms_grpc.processes.run_folder import RunFolder
    from kms_grpc.registry.own_row import WillNotStart

    try:
        values = given(config_file, {"data_dir": data_dir, "dev": dev or None})
        folder = Path(values.get("data_dir", DATA_DIR))
        if foreign := of_another_user(folder, *_command(), "--data-dir", str(folder)):
            raise click.UsageError(foreign)
        regions = RunFolder(folder).served_regions()
        if not regions:
            raise click.UsageError(f"{folder}: no server was started on it yet; see kms-grpc serve --help")
        settings = load(config_file, {"data_dir": data_dir, "dev": dev or None, "regions": regions})
        with failing_cleanly(output), app.default_shard(settings, writes=writes) as shard:
            yield settings, shard, SystemClock().wall_ns()
    except (ConfigurationError, WillNotStart) as error:
        raise click.UsageError(str(error)) from None
