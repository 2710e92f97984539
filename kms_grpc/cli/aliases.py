"""`kms-grpc alias`: create, move, delete and list aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.options import request_id_option, with_client
from kms_grpc.cli.output import JSON, print_done, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

alias_argument = click.argument("alias_name", metavar="ALIAS", shell_complete=suggestions.aliases)
key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
COLUMNS = ("AliasName", "TargetKeyId", "LastUpdatedDate")


@click.group(short_help="Create, move, delete and list names of keys.")
def alias() -> None:
    """Give keys names. An alias is alias/NAME. It points at one key and can be moved to another.

    \b
    kms-grpc alias create alias/orders 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc alias list
    """


@alias.command()
@alias_argument
@key_argument
@request_id_option("are done once, for 24 hours")
@with_client
def create(client: KeyManagementClient, output: str, alias_name: str, key_id: str, request_id: str | None) -> None:
    """Create ALIAS for KEY (an id or an ARN).

    \b
    kms-grpc alias create alias/orders 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    client.create_alias(alias_name, key_id, request_id=request_id)
    print_done(output, f"{alias_name} points at {key_id}")


@alias.command(short_help="Move ALIAS to another KEY.")
@alias_argument
@key_argument
@with_client
def update(client: KeyManagementClient, output: str, alias_name: str, key_id: str) -> None:
    """Move ALIAS to another KEY (an id or an ARN). Ciphertexts of the former key can still be decrypted.

    \b
    kms-grpc alias update alias/orders 0987dcba-09fe-87dc-65ba-ab0987654321
    """
    client.update_alias(alias_name, key_id)
    print_done(output, f"{alias_name} points at {key_id}")


@alias.command()
@alias_argument
@with_client
def delete(client: KeyManagementClient, output: str, alias_name: str) -> None:
    """Delete ALIAS. Its key stays.

    \b
    kms-grpc alias delete alias/orders
    """
    client.delete_alias(alias_name)
    print_done(output, f"{alias_name} is deleted; its key stays")


@alias.command("list", short_help="List the account's aliases in the region.")
@click.option(
    "--key",
    "--key-id",
    "key_id",
    metavar="KEY",
    shell_complete=suggestions.keys,
    help="Only the aliases of this key (an id or an ARN).",
)
@click.option("--limit", type=click.IntRange(1, 100), help="One page of at most this many aliases.")
@click.option("--marker", help="NextMarker of the previous page.")
@with_client
def list_(client: KeyManagementClient, output: str, key_id: str | None, limit: int | None, marker: str | None) -> None:
    """List the account's aliases in the called region: all of them, or one page.

    \b
    kms-grpc alias list
    kms-grpc alias list --key 1234abcd-12ab-34cd-56ef-1234567890ab --output json
    """
    answer = _pages(client, key_id, limit, marker)
    if output == JSON:
        print_json(answer)
        return
    rows = [[entry.get(column, "") for column in COLUMNS] for entry in answer["Aliases"]]
    print_table(COLUMNS, rows, empty="no aliases here")
    if answer["Truncated"]:
        click.echo(f"more: --marker {answer['NextMarker']}", err=True)


def _pages(client: KeyManagementClient, key_id: str | None, limit: int | None, marker: str | None) -> dict[str, Any]:
    """Returns an answer of ListAliases: one page if limit or marker is given, else all pages as one."""
    from kms_grpc.v1.key_management_pb2 import ListAliasesResponse

    if limit is None and marker is None:
        return shaped(ListAliasesResponse(aliases=client.all_aliases(key_id)))
    return shaped(client.list_aliases(key_id=key_id, limit=limit, marker=marker))
