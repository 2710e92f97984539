"""`kms-grpc principals`: what callers are known by, beside their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kms_grpc.cli.options import failing_cleanly, output_option
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table
from kms_grpc.config import DATA_DIR, ConfigurationError, Settings, from_values, given

if TYPE_CHECKING:
    from kms_grpc.model.access_key import AccessKey
    from kms_grpc.registry.shards import Shard

Command = TypeVar("Command", bound=Callable[..., Any])


def _of_a_server(command: Command) -> Command:
    """The options that say whose access keys: those of the server on a data directory."""
    for option in (
        output_option,
        click.option("--dev", is_flag=True, help="The server runs with --dev: its caller is named dev."),
        click.option(
            "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The server's own."
        ),
        click.option("--data-dir", type=click.Path(path_type=str), metavar="DIR", help="The server's own.  [kms-data]"),
    ):
        command = option(command)
    return command


@click.group(short_help="Access keys of callers.")
def principals() -> None:
    """Callers are configured; here they get access keys, which AWS's own clients sign with.

    It works on the data directory, beside the running server: whoever may read the root key may do it.

    \b
    kms-grpc principals access-key create orders --config kms.toml
    """


@principals.group("access-key", short_help="Create, delete and list access keys.")
def access_key() -> None:
    """An id and a secret, for AWS's own clients. Any number per caller.

    \b
    kms-grpc principals access-key create orders --config kms.toml
    kms-grpc principals access-key list --config kms.toml
    kms-grpc principals access-key delete AKIAIOSFODNN7EXAMPLE --config kms.toml
    """


@access_key.command()
@click.argument("name")
@_of_a_server
def create(name: str, data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """Create an access key of the caller NAME. Its secret is shown here, and never again.

    \b
    kms-grpc principals access-key create orders --config kms.toml
    """
    from kms_grpc import app
    from kms_grpc.registry.access_keys import create_access_key

    with _default_shard(data_dir, config_file, dev, output) as (settings, shard, now_ns):
        principal = app.principals(settings).get(name)
        if principal is None:
            known = ", ".join(app.principals(settings)) or "nobody: give --config FILE, or --dev"
            raise click.UsageError(f"{name} is no caller of this server; configured are {known}")
        made, secret = create_access_key(shard, principal, now_ns)
    told = {**_described(made), "SecretAccessKey": secret}
    if output == JSON:
        print_json({"AccessKey": told})
    else:
        print_facts(told)
        click.echo("The secret is shown this once: keep it where the caller finds it.")


@access_key.command()
@click.argument("access_key_id", metavar="ACCESS-KEY-ID")
@_of_a_server
def delete(access_key_id: str, data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """Delete an access key: every worker refuses it from now on.

    \b
    kms-grpc principals access-key delete AKIAIOSFODNN7EXAMPLE --config kms.toml
    """
    from kms_grpc import app
    from kms_grpc.registry.access_keys import delete_access_key

    with _default_shard(data_dir, config_file, dev, output) as (settings, shard, now_ns):
        gone = delete_access_key(shard, access_key_id, app.principals(settings), now_ns)
    print_done(output, f"{gone.access_key_id} of {gone.principal} is deleted")


@access_key.command("list")
@_of_a_server
def list_(data_dir: str | None, config_file: Path | None, dev: bool, output: str) -> None:
    """List access keys, the oldest first. Secrets are never shown.

    \b
    kms-grpc principals access-key list --config kms.toml
    """
    from kms_grpc.registry.access_keys import list_access_keys

    with _default_shard(data_dir, config_file, dev, output) as (_, shard, _):
        described = [_described(each) for each in list_access_keys(shard)]
    if output == JSON:
        print_json({"AccessKeyMetadata": described})
    else:
        print_table(["AccessKeyId", "UserName", "CreateDate"], [[*each.values()] for each in described])


def _described(access_key: AccessKey) -> dict[str, str]:
    created = datetime.fromtimestamp(access_key.created_ns // 10**9, UTC)
    return {
        "AccessKeyId": access_key.access_key_id,
        "UserName": access_key.principal,
        "CreateDate": created.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


@contextmanager
def _default_shard(
    data_dir: str | None, config_file: Path | None, dev: bool, output: str
) -> Iterator[tuple[Settings, Shard, int]]:
    """The shard that holds them, and the time. The regions are those that the server was started with last: in their
    order stand the epochs, by which its workers hear of a change."""
    from kms_grpc import app
    from kms_grpc.clock import SystemClock
    from kms_grpc.processes.run_folder import RunFolder
    from kms_grpc.registry.own_row import WillNotStart

    try:
        values = given(config_file, {"data_dir": data_dir, "dev": dev or None})
        folder = Path(values.get("data_dir", DATA_DIR))
        regions = RunFolder(folder).served_regions()
        if not regions:
            raise click.UsageError(f"{folder}: no server was ever started on it; see kms-grpc serve --help")
        settings = from_values(values | {"regions": regions})
        with failing_cleanly(output), app.default_shard(settings) as shard:
            yield settings, shard, SystemClock().wall_ns()
    except (ConfigurationError, WillNotStart) as error:
        raise click.UsageError(str(error)) from None
