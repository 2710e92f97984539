"""`kms-grpc rotation`: new key material under the same key, by itself or now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY")
COLUMNS: Final = ("KeyMaterialId", "KeyMaterialState", "RotationDate", "RotationType", "ImportState", "ValidTo")


@click.group(short_help="New key material for a key: by itself, or now.")
def rotation() -> None:
    """Give keys new material. New data is encrypted under it; what earlier material encrypted still opens.

    \b
    kms-grpc rotation enable 1234abcd-12ab-34cd-56ef-1234567890ab --days 180
    kms-grpc rotation now 1234abcd-12ab-34cd-56ef-1234567890ab
    """


@rotation.command(short_help="Rotate a key by itself, every so many days.")
@key_argument
@click.option(
    "--days", type=click.IntRange(90, 2560), default=365, show_default=True, help="Days between two rotations."
)
@with_client
def enable(client: KeyManagementClient, output: str, key_id: str, days: int) -> None:
    """Rotate a key by itself, for the first time when the days are over. Given again, it begins anew.

    Takes an id or an ARN. Not for imported material: import new material and rotate by hand.

    \b
    kms-grpc rotation enable 1234abcd-12ab-34cd-56ef-1234567890ab --days 180
    """
    client.enable_key_rotation(key_id, days)
    print_done(output, f"{key_id} is rotated every {days} days from now on")


@rotation.command()
@key_argument
@with_client
def disable(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Rotate a key by itself no more. Takes an id or an ARN.

    \b
    kms-grpc rotation disable 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    client.disable_key_rotation(key_id)
    print_done(output, f"{key_id} is not rotated by itself any more")


@rotation.command()
@key_argument
@with_client
def status(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Show whether a key is rotated by itself, how often, and when next. Takes an id or an ARN.

    \b
    kms-grpc rotation status 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.get_key_rotation_status(key_id))
    print_json(answer) if output == JSON else print_facts(answer)


@rotation.command(short_help="Rotate a key now.")
@key_argument
@with_client
def now(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Rotate a key now, at most 25 times in its life. Takes an id or an ARN.

    A key with imported material takes the material that waits: kms-grpc import KEY --file FILE --new.

    \b
    kms-grpc rotation now 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.rotate_key_on_demand(key_id))
    text = f"{key_id} has new key material; what the former encrypted still opens"
    print_json(answer) if output == JSON else click.echo(text)


@rotation.command("list", short_help="List a key's rotations, or all its material.")
@key_argument
@click.option("--all", "everything", is_flag=True, help="Also the first material, and the one that waits.")
@click.option("--limit", type=click.IntRange(1, 1000), help="One page of at most so many.")
@click.option("--marker", help="NextMarker of the page before.")
@with_client
def list_(
    client: KeyManagementClient, output: str, key_id: str, everything: bool, limit: int | None, marker: str | None
) -> None:
    """List a key's rotations, oldest first: all, or one page. Takes an id or an ARN.

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
    """ListKeyRotations' answer: one page where limit or marker are given, else all pages as one."""
    from kms_grpc.v1.key_management_pb2 import ListKeyRotationsResponse

    if limit is None and marker is None:
        entries = client.all_key_rotations(key_id, include_key_material=include)
        return shaped(ListKeyRotationsResponse(rotations=entries))
    return shaped(client.list_key_rotations(key_id, include_key_material=include, limit=limit, marker=marker))
