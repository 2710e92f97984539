"""`kms-grpc keys schedule-deletion`, `cancel-deletion`, `delete-material`: the ends of keys and of their material."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY")


@click.command("schedule-deletion", short_help="Delete a key for ever, in 7 to 30 days.")
@key_argument
@click.option("--days", type=click.IntRange(7, 30), default=30, show_default=True, help="How long it can be cancelled.")
@with_client
def schedule_deletion(client: KeyManagementClient, output: str, key_id: str, days: int) -> None:
    """Delete a key for ever when the days are over. Until then it cannot be used, and the deletion can be cancelled.

    What the key encrypted can never be opened again afterwards. Takes an id or an ARN.

    \b
    kms-grpc keys schedule-deletion 1234abcd-12ab-34cd-56ef-1234567890ab --days 7
    """
    from kms_grpc.cli.upcoming import upcoming

    answer = shaped(client.schedule_key_deletion(key_id, days))
    _print(output, answer, f"{key_id} is not usable and will be {upcoming(answer)}")


@click.command("cancel-deletion", short_help="Call a deletion off.")
@key_argument
@with_client
def cancel_deletion(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Call a scheduled deletion off. The key is disabled afterwards: enable it to use it. Takes an id or an ARN.

    \b
    kms-grpc keys cancel-deletion 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc keys enable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.cancel_key_deletion(key_id))
    _print(output, answer, f"{key_id} will not be deleted; it is disabled: kms-grpc keys enable {key_id}")


@click.command("delete-material", short_help="Delete an imported key's material, at once.")
@key_argument
@click.option("--id", "material_id", metavar="ID", help="KeyMaterialId of the one to delete.  [the current one]")
@with_client
def delete_material(client: KeyManagementClient, output: str, key_id: str, material_id: str | None) -> None:
    """Delete the imported material of a key, at once and on every worker. The key stays and cannot be used.

    Import the same bytes again and it opens what it encrypted. Takes an id or an ARN.

    \b
    kms-grpc keys delete-material 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc import 1234abcd-12ab-34cd-56ef-1234567890ab --file PlaintextKeyMaterial.bin
    """
    answer = shaped(client.delete_imported_key_material(key_id, key_material_id=material_id))
    _print(output, answer, f"{key_id} has that key material no more; the same bytes, imported again, bring it back")


def _print(output: str, answer: dict[str, object], text: str) -> None:
    print_json(answer) if output == JSON else click.echo(text)
