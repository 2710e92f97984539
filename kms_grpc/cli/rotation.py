"""`kms-grpc rotation`: automatic and on-demand rotation of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
COLUMNS: Final = ("KeyMaterialId", "KeyMaterialState", "RotationDate", "RotationType", "ImportState", "ValidTo")


@click.group(short_help="Rotate keys automatically or on demand.")
def rotation() -> None:
    """Rotate keys: a key gets new key material for new data. Earlier ciphertexts can still be decrypted.

    \b
    kms-grpc rotation enable 1234abcd-12ab-34cd-56ef-1234567890ab --days 180
    kms-grpc rotation now 1234abcd-12ab-34cd-56ef-1234567890ab
    """


@rotation.command(short_help="Turn automatic rotation on.")
@key_argument
@click.option(
    "--days", type=click.IntRange(90, 2560), default=365, show_default=True, help="Days between two rotations."
)
@with_client
def enable(client: KeyManagementClient, output: str, key_id: str, days: int) -> None:
    """Turn automatic rotation on. The first rotation is --days from now; a repeated call starts the period again.

    Takes an id or an ARN. A key with imported key material is rotated on demand only: import new key material, then
    kms-grpc rotation now KEY.

    \b
    kms-grpc rotation enable 1234abcd-12ab-34cd-56ef-1234567890ab --days 180
    """
    client.enable_key_rotation(key_id, days)
    print_done(output, f"{key_id} is rotated every {days} days from now on")


@rotation.command()
@key_argument
@with_client
def disable(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Turn automatic rotation off. Takes an id or an ARN.

    \b
    kms-grpc rotation disable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    client.disable_key_rotation(key_id)
    print_done(output, f"{key_id} is no longer rotated automatically")


@rotation.command()
@key_argument
@with_client
def status(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Show whether a key is rotated automatically, how often, and when next. Takes an id or an ARN.

    \b
    kms-grpc rotation status 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.get_key_rotation_status(key_id))
    print_json(answer) if output == JSON else print_facts(answer)


@rotation.command(short_help="Rotate a key now.")
@key_argument
@with_client
def now(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Rotate a key now, at most 25 times per key. Takes an id or an ARN.

    For a key with imported key material, import the new material first: kms-grpc import KEY --file FILE --new.

    \b
    kms-grpc rotation now 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.rotate_key_on_demand(key_id))
    text = f"{key_id} has new key material; earlier ciphertexts can still be decrypted"
    print_json(answer) if output == JSON else click.echo(text)


@rotation.command("list", short_help="List a key's rotations, or all its key material.")
@key_argument
@click.option("--all", "everything", is_flag=True, help="Also list the first and the pending key material.")
@click.option("--limit", type=click.IntRange(1, 1000), help="One page of at most this many rotations.")
@click.option("--marker", help="NextMarker of the previous page.")
@with_client
def list_(
    client: KeyManagementClient, output: str, key_id: str, everything: bool, limit: int | None, marker: str | None
) -> None:
    """List a key's rotations, oldest first: all of them, or one page. Takes an id or an ARN.

    \b
    kms-grpc rotation list 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc rotation list 1234abcd-12ab-34cd-56ef-1234567890ab --all --output json
    """
    answer = _pages(client, key_id, "ALL_KEY_MATERIAL" if everything else None, limit, marker)
    if output == JSON:
        print_json(answer)
        return
    shown = [column for column in COLUMNS if any(column in entry for entry in answer["Rotations"])]
    rows = [[entry.get(column, "") for column in shown] for entry in answer["Rotations"]]
    print_table(shown, rows, empty="never rotated")
    if answer["Truncated"]:
        click.echo(f"more: --marker {answer['NextMarker']}", err=True)


def _pages(
    client: KeyManagementClient, key_id: str, include: str | None, limit: int | None, marker: str | None
) -> dict[str, Any]:
    """Returns an answer of ListKeyRotations: one page if limit or marker is given, else all pages as one."""
    from kms_grpc.v1.key_management_pb2 import ListKeyRotationsResponse

    if limit is None and marker is None:
        entries = client.all_key_rotations(key_id, include_key_material=include)
        return shaped(ListKeyRotationsResponse(rotations=entries))
    return shaped(client.list_key_rotations(key_id, include_key_material=include, limit=limit, marker=marker))
