"""`kms-grpc policy`: read, replace, check and begin key policies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.files import read_input
from kms_grpc.cli.options import failing_cleanly, output_option, with_client
from kms_grpc.cli.output import JSON, print_done, print_json, print_table, shaped, text_of

if TYPE_CHECKING:
    from kms_grpc.cli.policy_changes import AccessChange
    from kms_grpc.client import KeyManagementClient

ADMINISTRATE = (
    "kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*",
    "kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource", "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand",
)  # fmt: skip
"""The actions that AWS's console gives the administrators of a key: no cryptography."""
USE = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey")
"""The actions that AWS's console gives the users of a key."""

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
file_argument = click.argument("file", metavar="FILE")


@click.group(short_help="Read, replace, check and begin key policies.")
def policy() -> None:
    """Key policies: who may use and manage a key.

    \b
    kms-grpc policy get 1234abcd-12ab-34cd-56ef-1234567890ab > policy.json
    kms-grpc policy check policy.json
    kms-grpc policy put 1234abcd-12ab-34cd-56ef-1234567890ab policy.json
    """


@policy.command(short_help="Print a key's policy, as it was given.")
@key_argument
@with_client
def get(client: KeyManagementClient, output: str, key_id: str) -> None:
    """Print a key's policy, byte for byte as it was given. KEY is an id or an ARN.

    \b
    kms-grpc policy get 1234abcd-12ab-34cd-56ef-1234567890ab
    """
    answer = client.get_key_policy(key_id)
    if output == JSON:
        print_json(shaped(answer))
    elif sys.stdout.isatty():
        click.echo("\n".join(map(text_of, answer.policy.splitlines())))
    else:
        click.echo(answer.policy, nl=False)


@policy.command(short_help="Replace a key's policy, after showing what changes.")
@key_argument
@file_argument
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="CONFIG",
    help="Show what changes for the principals of this configuration, with their own policies.  [those that the"
    " policies name]",
)
@click.option("--yes", is_flag=True, help="Do not ask, even if somebody loses access.")
@click.option("--bypass-lockout-check", is_flag=True, help="Take a policy that does not let you replace it again.")
@with_client
def put(
    client: KeyManagementClient,
    output: str,
    key_id: str,
    file: str,
    config_file: Path | None,
    yes: bool,
    bypass_lockout_check: bool,
) -> None:
    """Replace a key's policy by a file, or standard input for -. Shows what changes for whom, and asks before anybody
    loses access.

    \b
    kms-grpc policy put 1234abcd-12ab-34cd-56ef-1234567890ab policy.json --config kms.toml
    """
    from kms_grpc.cli import policy_changes

    text = _text_of(file)
    before = client.get_key_policy(key_id).policy
    known = policy_changes.named((before, text)) if config_file is None else policy_changes.configured(config_file)
    key = policy_changes.key_of(client.describe_key(key_id).key_metadata.arn)
    found = policy_changes.changes(key, known, before, text)
    _show(found, output)
    if not yes and any(change.takes_away for change in found):
        _ask()
    client.put_key_policy(key_id, text, bypass_policy_lockout_safety_check=bypass_lockout_check)
    print_done(output, f"{key_id} has the new policy")


@policy.command(short_help="Check a policy for mistakes, without a server.")
@file_argument
@click.option("--identity", is_flag=True, help="It is an identity policy, not a key policy.")
@output_option
def check(output: str, file: str, identity: bool) -> ExitCode:
    """Check a policy: errors that the server would refuse, and statements that never match or protect nothing. Exit
    code 0 only if there is nothing to warn of.

    \b
    kms-grpc policy check policy.json
    """
    with failing_cleanly(output):
        from kms_grpc.authorization.base import PolicyKind
        from kms_grpc.authorization.parsing import parse
        from kms_grpc.authorization.warnings import warnings_about

        kind = PolicyKind.IDENTITY if identity else PolicyKind.KEY
        warnings = warnings_about(parse(_text_of(file), kind, file))
    if output == JSON:
        print_json({"Warnings": warnings})
    elif not warnings:
        click.echo(f"{file}: nothing to warn of")
    for warning in warnings if output != JSON else ():
        click.echo(f"{file}: {warning}")
    return ExitCode.REFUSED if warnings else ExitCode.OK


@policy.command(short_help="Print a key policy to begin with.")
@click.option("--account", required=True, metavar="ID", help="The key's account: 12 digits.")
@click.option("--administrator", "administrators", multiple=True, metavar="ARN", help="Manages the key. Repeatable.")
@click.option("--user", "users", multiple=True, metavar="ARN", help="Encrypts and decrypts. Repeatable.")
@click.option("--partition", default="aws", show_default=True, help="The first part of the ARNs.")
def template(account: str, administrators: tuple[str, ...], users: tuple[str, ...], partition: str) -> None:
    """Print a key policy: the account's identity policies count, administrators manage the key, users use it.

    \b
    kms-grpc policy template --account 123456789012 --user arn:aws:iam::123456789012:role/orders
    """
    root = f"arn:{partition}:iam::{account}:root"
    statements = [_statement("Enable IAM User Permissions", (root,), ("kms:*",))]
    if administrators:
        statements.append(_statement("Allow access for Key Administrators", administrators, ADMINISTRATE))
    if users:
        statements.append(_statement("Allow use of the key", users, USE))
    click.echo(json.dumps({"Version": "2012-10-17", "Id": "key-consolepolicy-3", "Statement": statements}, indent=2))


def _statement(sid: str, principals: tuple[str, ...], actions: tuple[str, ...]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": principals[0] if len(principals) == 1 else list(principals)},
        "Action": actions[0] if len(actions) == 1 else list(actions),
        "Resource": "*",
    }


def _text_of(file: str) -> str:
    try:
        return read_input(file).decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{file}: it is not UTF-8") from None


def _show(found: list[AccessChange], output: str) -> None:
    """Prints the changes as a table; nothing with JSON, whose one document is the result."""
    if output == JSON:
        return
    rows = [(each.principal, ", ".join(each.actions), each.before.said, each.after.said) for each in found]
    print_table(("Principal", "Actions", "Before", "After"), rows, empty="nothing changes for these principals")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("somebody would lose access: look at the table, and give --yes if that is meant")
    click.confirm("Somebody loses access. Replace the policy?", abort=True, err=True)
