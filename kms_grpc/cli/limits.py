"""`kms-grpc limits`: the server's version, regions, limits and quotas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli.options import with_client
from kms_grpc.cli.output import JSON, print_facts, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient


@click.command(short_help="Version, regions, limits and quotas of the server.")
@with_client
def limits(client: KeyManagementClient, output: str) -> None:
    """Show the server's version, regions, limits and quotas.

    \b
    kms-grpc limits
    kms-grpc limits --output json | jq .Calls.MaxPlaintextBytes
    """
    answer = shaped(client.get_limits())
    print_json(answer) if output == JSON else print_facts(dict(_flat(answer)))


def _flat(members: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in members.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{limit}", number) for limit, number in value.items())
        elif name == "Pages":
            yield from ((f"{page['Operation']}.MaxLimit", page["MaxLimit"]) for page in value)
        else:
            yield name, value
