"""Keys, aliases and regions that the shell suggests, asked from the server while a command line is typed.

Without an answer within SECONDS, or with a token that is not accepted, nothing is suggested.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

SECONDS: Final = 1.5
MOST: Final = 1_000
"""The largest number of keys, or of aliases, that the server is asked for."""
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _suggesting(ask: Callable[[KeyManagementClient], Iterable[CompletionItem]]) -> Complete:
    """Makes a completion that calls `ask` with the connection of the options that stand on the line so far."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            from kms_grpc.cli.files import read_token
            from kms_grpc.client import KeyManagementClient

            names = ("endpoint", "region", "tls_ca", "tls_name")
            where: dict[str, Any] = {name: context.params.get(name) for name in names if name != parameter.name}
            file = context.params.get("token_file")
            with KeyManagementClient(token=read_token(file) if file else None, **where, timeout=SECONDS) as client:
                return [item for item in ask(client) if item.value.startswith(typed)]
        except Exception:  # whatever is wrong, the shell must not print it into the line that is typed
            return []

    return complete


def _keys(client: KeyManagementClient) -> Iterator[CompletionItem]:
    named: dict[str, list[str]] = {}
    for alias in islice(client.all_aliases(), MOST):
        named.setdefault(alias.target_key_id, []).append(alias.alias_name)
    for entry in islice(client.all_keys(), MOST):
        yield CompletionItem(entry.key_id, help=", ".join(named.get(entry.key_id, [])) or None)


def _aliases(client: KeyManagementClient) -> Iterator[CompletionItem]:
    for alias in islice(client.all_aliases(), MOST):
        yield CompletionItem(alias.alias_name, help=alias.target_key_id or None)


def _either(client: KeyManagementClient) -> Iterator[CompletionItem]:
    yield from _aliases(client)
    yield from _keys(client)


def _regions(client: KeyManagementClient) -> Iterator[CompletionItem]:
    return (CompletionItem(region) for region in client.get_limits().regions)


keys: Final = _suggesting(_keys)
"""Suggests key ids; a shell that shows help shows their aliases."""
aliases: Final = _suggesting(_aliases)
keys_and_aliases: Final = _suggesting(_either)
regions: Final = _suggesting(_regions)
