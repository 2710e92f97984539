"""`kms-grpc tags`: set, remove and list tags of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.options import parse_pairs, with_client
from kms_grpc.cli.output import JSON, print_done, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)


@click.group(short_help="Set, remove and list tags of keys.")
def tags() -> None:
    """Set, remove and list tags of keys, at most 50 per key. Tags are not secret and do not change what a key does.

    \b
    kms-grpc tags set 1234abcd-12ab-34cd-56ef-1234567890ab team=shop stage=test
    kms-grpc tags list 1234abcd-12ab-34cd-56ef-1234567890ab
    """


@tags.command("set")
@key_argument
@click.argument("pairs", metavar="NAME=VALUE...", nargs=-1, required=True, callback=parse_pairs)
@with_client
def set_(client: KeyManagementClient, output: str, key_id: str, pairs: dict[str, str]) -> None:
    """Add tags, or replace the values of existing tags. Takes an id or an ARN.

    \b
    kms-grpc tags set 1234abcd-12ab-34cd-56ef-1234567890ab team=shop stage=test
    """
    client.tag_resource(key_id, pairs)
    print_done(output, f"{key_id} is tagged {', '.join(pairs)}")


@tags.command()
@key_argument
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@with_client
def remove(client: KeyManagementClient, output: str, key_id: str, names: tuple[str, ...]) -> None:
    """Remove tags by name. It is no error if a tag does not exist. Takes an id or an ARN.

    \b
    kms-grpc tags remove 1234abcd-12ab-34cd-56ef-1234567890ab stage
    """
    client.untag_resource(key_id, names)
    print_done(output, f"{key_id} no longer has the tags {', '.join(names)}")


@tags.command("list")
@key_argument
@click.option("--limit", type=click.IntRange(1, 50), help="One page of at most this many tags.")
@click.option("--marker", help="NextMarker of the previous page.")
@with_client
def list_(client: KeyManagementClient, output: str, key_id: str, limit: int | None, marker: str | None) -> None:
    """List a key's tags, ordered by name: all of them, or one page. Takes an id or an ARN.

    \b
    kms-grpc tags list 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = shaped(client.list_resource_tags(key_id, limit=50 if limit is None else limit, marker=marker))
    if output == JSON:
        print_json(answer)
        return
    print_table(["TagKey", "TagValue"], [[tag["TagKey"], tag["TagValue"]] for tag in answer["Tags"]], empty="no tags")
    if answer["Truncated"]:
        click.echo(f"more: --marker {answer['NextMarker']}", err=True)
