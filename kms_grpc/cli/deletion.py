"""`kms-grpc keys schedule-deletion`, `cancel-deletion`, `delete-material`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)


@click.command("schedule-deletion", short_help="Delete a key permanently, in 7 to 30 days.")
@key_argument
@click.option(
    "--days", type=click.IntRange(7, 30), default=30, show_default=True, help="Days until the key is deleted."
)
@with_client
def schedule_deletion(client: KeyManagementClient, output: str, key_id: str, days: int) -> None:
    """Delete a key permanently after --days. Until then it cannot be used, and the deletion can be cancelled.

    After the deletion, nothing that the key encrypted can be decrypted again. Takes an id or an ARN.

    \b
    kms-grpc keys schedule-deletion 1234abcd-12ab-34cd-56ef-1234567890ab --days 7
    """
    from kms_grpc.cli.upcoming import upcoming

    answer = shaped(client.schedule_key_deletion(key_id, days))
    _print(output, answer, f"{key_id} is not usable and will be {upcoming(answer)}")


@click.command("cancel-deletion", short_help="Cancel a scheduled deletion.")
@key_argument
@with_client
def cancel_deletion(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Cancel a scheduled deletion. The key is disabled afterwards: enable it to use it. Takes an id or an ARN.

    \b
    kms-grpc keys cancel-deletion 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc keys enable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.cancel_key_deletion(key_id))
    _print(output, answer, f"{key_id} will not be deleted; it is disabled: kms-grpc keys enable {key_id}")


@click.command("delete-material", short_help="Delete imported key material, at once.")
@key_argument
@click.option("--id", "material_id", metavar="ID", help="KeyMaterialId of the material to delete.  [the current one]")
@with_client
def delete_material(client: KeyManagementClient, output: str, key_id: str, material_id: str | None) -> None:
    """Delete imported key material, at once and on every worker. The key remains, but cannot be used.

    Import the same bytes again to decrypt what the key encrypted. Takes an id or an ARN.

    \b
    kms-grpc keys delete-material 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc import 1234abcd-12ab-34cd-56ef-1234567890ab --file PlaintextKeyMaterial.bin
    """
    answer = shaped(client.delete_imported_key_material(key_id, key_material_id=material_id))
    _print(output, answer, f"key material of {key_id} is deleted; import the same bytes again to use the key")


def _print(output: str, answer: dict[str, object], text: str) -> None:
    print_json(answer) if output == JSON else click.echo(text)
