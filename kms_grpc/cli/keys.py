"""`kms-grpc keys`: create keys, look at them, switch them off and on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY")


@click.group(short_help="Create, list, describe, disable and enable keys.")
def keys() -> None:
    """Create keys, look at them, disable and enable them.

    \b
    kms-grpc keys create --description "orders"
    kms-grpc keys describe alias/orders
    kms-grpc keys list --details
    """


@keys.command()
@click.option("--description", default="", help="Up to 8,192 characters.")
@click.option("--request-id", metavar="ID", help="Repeating a call with the same id gives the same key for 24 hours.")
@with_client
def create(client: KeyManagementClient, output: str, description: str, request_id: str | None) -> None:
    """Create a symmetric key (AES-256) in the called region.

    \b
    kms-grpc keys create --description "orders"
    kms-grpc keys create --region eu-west-1 --output json | jq -r .KeyMetadata.KeyId
    """
    _print_key(output, shaped(client.create_key(description, request_id=request_id)))


@keys.command()
@key_argument
@with_client
def describe(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Show a key's state and properties. KEY may be an alias.

    \b
    kms-grpc keys describe alias/orders
    """
    _print_key(output, shaped(client.describe_key(key_id)))


def _print_key(output: str, answer: dict[str, Any]) -> None:
    if output == JSON:
        print_json(answer)
        return
    print_facts({name: value for name, value in answer["KeyMetadata"].items() if name != "CustomerMasterKeySpec"})


@keys.command("list", short_help="List the account's keys in the region.")
@click.option("--limit", type=click.IntRange(1, 1000), help="One page of at most so many keys.")
@click.option("--marker", help="NextMarker of the page before.")
@click.option("--details", is_flag=True, help="All keys with state, aliases and description: one more call per key.")
@with_client
def list_(client: KeyManagementClient, output: str, limit: int | None, marker: str | None, details: bool) -> None:
    """List the account's keys in the called region, oldest first: all, or one page.

    \b
    kms-grpc keys list
    kms-grpc keys list --limit 10 --output json
    """
    if not details:
        _list_page(output, _pages(client, limit, marker))
    elif limit is None and marker is None:
        _list_details(client, output)
    else:
        raise click.UsageError("--details lists all keys: leave --limit and --marker out")


def _pages(client: KeyManagementClient, limit: int | None, marker: str | None) -> dict[str, Any]:
    """ListKeys' answer: one page where limit or marker are given, else all pages as one."""
    from kms_grpc.v1.key_management_pb2 import ListKeysResponse

    if limit is None and marker is None:
        return shaped(ListKeysResponse(keys=client.all_keys()))
    return shaped(client.list_keys(limit=limit, marker=marker))


def _list_page(output: str, answer: dict[str, Any]) -> None:
    if output == JSON:
        print_json(answer)
        return
    print_table(["KeyId", "KeyArn"], [[key["KeyId"], key["KeyArn"]] for key in answer["Keys"]], empty="no keys here")
    if answer["Truncated"]:
        click.echo(f"more: --marker {answer['NextMarker']}", err=True)


def _list_details(client: KeyManagementClient, output: str) -> None:
    described = list(_describe_all(client))
    if output == JSON:
        print_json({"Keys": described})
        return
    columns = ["KeyId", "KeyState", "CreationDate", "Aliases", "Description"]
    print_table(columns, [[key[column] for column in columns] for key in described], empty="no keys here")


def _describe_all(client: KeyManagementClient) -> Iterator[dict[str, Any]]:
    names: dict[str, list[str]] = {}
    for alias in client.all_aliases():
        names.setdefault(alias.target_key_id, []).append(alias.alias_name)
    for key in client.all_keys():
        yield shaped(client.describe_key(key.key_id))["KeyMetadata"] | {"Aliases": names.get(key.key_id, [])}


@keys.command()
@key_argument
@with_client
def enable(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Enable a disabled key. Takes an id or an ARN.

    \b
    kms-grpc keys enable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    client.enable_key(key_id)
    print_done(output, f"{key_id} is enabled")


@keys.command(short_help="Disable a key: no use until it is enabled.")
@key_argument
@with_client
def disable(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Disable a key: nothing is encrypted or decrypted with it until it is enabled. Takes an id or an ARN.

    \b
    kms-grpc keys disable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    client.disable_key(key_id)
    print_done(output, f"{key_id} is disabled")


@keys.command("update-description")
@key_argument
@click.argument("description")
@with_client
def update_description(client: KeyManagementClient, output: str, key_id: str, description: str) -> None:
    """Replace a key's description. Takes an id or an ARN.

    \b
    kms-grpc keys update-description 1234abcd-12ab-34cd-56ef-1234567890ab "orders, since 2026"
    """
    client.update_key_description(key_id, description)
    print_done(output, f"{key_id} has a new description")
