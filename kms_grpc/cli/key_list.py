"""`kms-grpc keys list`: the keys with their states and upcoming events.

ListKeys returns ids only. The command calls DescribeKey, ListAliases and, for keys that the service rotates,
GetKeyRotationStatus for each key, AT_ONCE keys at the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import click

from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_json, print_table, shaped
from kms_grpc.cli.terminal import draws
from kms_grpc.errors import NotFoundException

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

AT_ONCE: Final = 16
LONG: Final = 500
"""The smallest number of keys for which a terminal shows a progress bar."""
COLUMNS: Final = ("KeyId", "KeyState", "Kind", "Rotation", "WhatNext", "Aliases", "Description")


@click.command("list", short_help="List the account's keys in the region.")
@click.option("--limit", type=click.IntRange(1, 1000), help="One page of at most this many keys.")
@click.option("--marker", help="NextMarker of the previous page.")
@click.option("--ids", is_flag=True, help="Ids and ARNs only: one call per thousand keys, not three per key.")
@with_client
def list_keys(client: KeyManagementClient, output: str, limit: int | None, marker: str | None, ids: bool) -> None:
    """List the account's keys in the called region, oldest first: all of them, or one page.

    The columns show each key's state, manager, automatic rotation and upcoming events, such as "deleted on 2026-12-24,
    in 30 days".

    \b
    kms-grpc keys list
    kms-grpc keys list --ids
    kms-grpc keys list --limit 10 --output json
    """
    page = _page(client, limit, marker)
    if not ids:
        page["Keys"] = list(_described(client, [entry["KeyId"] for entry in page["Keys"]]))
    if output == JSON:
        print_json(page)
        return
    _print_ids(page["Keys"]) if ids else _print_keys(page["Keys"])
    if page["Truncated"]:
        click.echo(f"more: --marker {page['NextMarker']}", err=True)


def _page(client: KeyManagementClient, limit: int | None, marker: str | None) -> dict[str, Any]:
    """Returns an answer of ListKeys: one page if limit or marker is given, else all pages as one."""
    from kms_grpc.v1.key_management_pb2 import ListKeysResponse

    if limit is None and marker is None:
        return shaped(ListKeysResponse(keys=client.all_keys()))
    return shaped(client.list_keys(limit=limit, marker=marker))


def _print_ids(keys: Sequence[dict[str, Any]]) -> None:
    print_table(["KeyId", "KeyArn"], [[key["KeyId"], key["KeyArn"]] for key in keys], empty="no keys here")


def _print_keys(keys: Sequence[dict[str, Any]]) -> None:
    print_table(COLUMNS, map(_row, keys), empty="no keys here")


def _row(key: dict[str, Any]) -> list[object]:
    from kms_grpc.cli.upcoming import rotation_of, upcoming

    kind = f"{key['KeyManager'].lower()}{', imported' if key['Origin'] == 'EXTERNAL' else ''}"
    rotation = key.get("Rotation")
    events = upcoming(key, rotation)
    return [key["KeyId"], key["KeyState"], kind, rotation_of(rotation), events, key["Aliases"], key["Description"]]


def _described(client: KeyManagementClient, key_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the described keys in the order of `key_ids`, without keys that were deleted in the meantime."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        described = threads.map(lambda key_id: _describe(client, key_id), key_ids)
        yield from (key for key in _with_progress(described, len(key_ids)) if key is not None)


def _describe(client: KeyManagementClient, key_id: str) -> dict[str, Any] | None:
    """Returns KeyMetadata with Aliases, and with Rotation if the service rotates the key; None for an unknown key."""
    try:
        key: dict[str, Any] = shaped(client.describe_key(key_id))["KeyMetadata"]
        key["Aliases"] = [alias.alias_name for alias in client.all_aliases(key_id)]
        if key["Origin"] == "AWS_KMS":
            status = shaped(client.get_key_rotation_status(key_id))
            key["Rotation"] = {name: value for name, value in status.items() if name != "KeyId"}
    except NotFoundException:
        return None
    return key


def _with_progress(described: Iterator[dict[str, Any] | None], count: int) -> Iterator[dict[str, Any] | None]:
    if count < LONG or not draws(sys.stderr):
        yield from described
        return
    with click.progressbar(described, length=count, label="describing keys", file=sys.stderr) as bar:
        yield from bar
