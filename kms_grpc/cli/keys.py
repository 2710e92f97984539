"""`kms-grpc keys`: create keys, look at them, switch them off and on. Their ends are in deletion.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli.deletion import cancel_deletion, delete_material, schedule_deletion
from kms_grpc.cli.options import parse_pairs, with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table, shaped
from kms_grpc.errors import NotFoundException

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY")
ORIGINS = {"aws_kms": None, "external": "EXTERNAL"}
DETAILS = ("KeyId", "KeyState", "Kind", "Rotation", "WhatNext", "Aliases", "Description")


@click.group(short_help="Create, list, describe, disable, enable and delete keys.")
def keys() -> None:
    """Create keys, look at them, disable, enable and delete them.

    \b
    kms-grpc keys create --description "orders"
    kms-grpc keys describe alias/orders
    kms-grpc keys list --details
    """


@keys.command()
@click.option("--description", default="", help="Up to 8,192 characters.")
@click.option(
    "--origin", type=click.Choice(list(ORIGINS), case_sensitive=False), default="aws_kms", show_default=True,
    help="external: you make its key material and import it.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", callback=parse_pairs, help="Repeat for more tags.")
@click.option("--request-id", metavar="ID", help="Repeating a call with the same id gives the same key for 24 hours.")
@with_client
def create(
    client: KeyManagementClient, output: str, description: str, origin: str, tags: dict[str, str],
    request_id: str | None,
) -> None:  # fmt: skip
    """Create a symmetric key (AES-256) in the called region.

    \b
    kms-grpc keys create --description "orders" --tag team=shop
    kms-grpc keys create --region eu-west-1 --output json | jq -r .KeyMetadata.KeyId
    kms-grpc keys create --origin external
    """
    answer = client.create_key(description, origin=ORIGINS[origin], tags=tags, request_id=request_id)
    _print_key(output, shaped(answer))


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
    from kms_grpc.cli.outlook import outlook

    facts = {name: value for name, value in answer["KeyMetadata"].items() if name != "CustomerMasterKeySpec"}
    coming = outlook(facts)
    print_facts(facts | ({"WhatNext": coming} if coming else {}))


@keys.command("list", short_help="List the account's keys in the region.")
@click.option("--limit", type=click.IntRange(1, 1000), help="One page of at most so many keys.")
@click.option("--marker", help="NextMarker of the page before.")
@click.option("--details", is_flag=True, help="All keys with state, kind, rotation and what comes: more calls.")
@with_client
def list_(client: KeyManagementClient, output: str, limit: int | None, marker: str | None, details: bool) -> None:
    """List the account's keys in the called region, oldest first: all, or one page.

    --details tells the state of each, whose it is, whether it is rotated, and what will happen when: "deleted on
    2026-12-24, in 30 days". It makes two more calls per key.

    \b
    kms-grpc keys list
    kms-grpc keys list --details
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
    print_table(DETAILS, [_details(key) for key in described], empty="no keys here")


def _details(key: dict[str, Any]) -> list[object]:
    from kms_grpc.cli.outlook import outlook, rotation_of

    kind = f"{key['KeyManager'].lower()}{', imported' if key['Origin'] == 'EXTERNAL' else ''}"
    rotation = key.get("Rotation")
    told = (kind, rotation_of(rotation), outlook(key, rotation))
    return [key["KeyId"], key["KeyState"], *told, key["Aliases"], key["Description"]]


def _describe_all(client: KeyManagementClient) -> Iterator[dict[str, Any]]:
    """KeyMetadata with Aliases, and Rotation where the service rotates the key."""
    names: dict[str, list[str]] = {}
    for alias in client.all_aliases():
        names.setdefault(alias.target_key_id, []).append(alias.alias_name)
    for entry in client.all_keys():
        try:
            key = shaped(client.describe_key(entry.key_id))["KeyMetadata"]
            if key["Origin"] == "AWS_KMS":
                key["Rotation"] = _rotation(client, entry.key_id)
        except NotFoundException:
            continue  # it has been deleted since it was listed
        yield key | {"Aliases": names.get(entry.key_id, [])}


def _rotation(client: KeyManagementClient, key_id: str) -> dict[str, Any]:
    status = shaped(client.get_key_rotation_status(key_id))
    return {name: value for name, value in status.items() if name != "KeyId"}


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


for _command in (schedule_deletion, cancel_deletion, delete_material):
    keys.add_command(_command)
