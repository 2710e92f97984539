"""`kms-grpc keys`: create, describe, enable and disable keys. `key_list.py` and `deletion.py` add commands to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.deletion import cancel_deletion, delete_material, schedule_deletion
from kms_grpc.cli.key_list import list_keys
from kms_grpc.cli.options import parse_pairs, request_id_option, with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
any_key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys_and_aliases)
ORIGINS = {"aws_kms": None, "external": "EXTERNAL"}


@click.group(short_help="Create, list, describe, disable, enable and delete keys.")
def keys() -> None:
    """Create, list, describe, disable, enable and delete keys.

    \b
    kms-grpc keys create --description "orders"
    kms-grpc keys describe alias/orders
    kms-grpc keys list
    """


@keys.command()
@click.option("--description", default="", help="Description of the key, up to 8,192 characters.")
@click.option(
    "--origin", type=click.Choice(list(ORIGINS), case_sensitive=False), default="aws_kms", show_default=True,
    help="external is for key material that you import.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", callback=parse_pairs, help="Repeat for more tags.")
@request_id_option("create one key, for 24 hours")
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
@any_key_argument
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
    from kms_grpc.cli.upcoming import upcoming

    facts = {name: value for name, value in answer["KeyMetadata"].items() if name != "CustomerMasterKeySpec"}
    coming = upcoming(facts)
    print_facts(facts | ({"WhatNext": coming} if coming else {}))


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


@keys.command(short_help="Disable a key until it is enabled again.")
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


for _command in (list_keys, schedule_deletion, cancel_deletion, delete_material):
    keys.add_command(_command)
