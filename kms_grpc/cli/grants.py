"""`kms-grpc grants`: create, list, retire and revoke grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.encryption import dry_run_option, try_only
from kms_grpc.cli.options import context_option, request_id_option, with_client
from kms_grpc.cli.output import JSON, print_done, print_facts, print_json, print_table, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient

key_argument = click.argument("key_id", metavar="KEY", shell_complete=suggestions.keys)
COLUMNS = ("GrantId", "Grantee", "Operations", "Constraints", "Retiring")


@click.group(short_help="Let principals use keys: create, list, retire and revoke grants.")
def grants() -> None:
    """Let a principal use a key for some operations, without a change to any policy.

    \b
    kms-grpc grants create KEY --to arn:aws:iam::111122223333:role/orders --allow Encrypt --allow Decrypt
    kms-grpc grants list KEY
    """


@grants.command(short_help="Let a principal use KEY.")
@key_argument
@click.option("--to", "grantee", metavar="PRINCIPAL", required=True, help="ARN, or a service such as s3.amazonaws.com.")
@click.option("--allow", "operations", metavar="OPERATION", multiple=True, required=True, help="Repeat for more.")
@click.option("--retiring", metavar="PRINCIPAL", help="Who may retire it: an ARN, or a service.")
@context_option("--context-has", "Pair that the encryption context must have")
@context_option("--context-is", "Pair of the only encryption context allowed")
@click.option("--source-arn", metavar="ARN", help="Resource on whose behalf a service must call.")
@click.option("--name", help="With a name, a repeated command makes no second grant.")
@dry_run_option
@request_id_option("create one grant, for 24 hours")
@with_client
def create(
    client: KeyManagementClient, output: str, key_id: str, grantee: str, operations: tuple[str, ...],
    retiring: str | None, context_has: dict[str, str], context_is: dict[str, str], source_arn: str | None,
    name: str | None, dry_run: bool, request_id: str | None,
) -> None:  # fmt: skip
    """Let a principal use KEY (an id or an ARN) for operations such as Encrypt, Decrypt, GenerateDataKey,
    ReEncryptFrom, ReEncryptTo, DescribeKey, CreateGrant, RetireGrant. It is effective at once.

    \b
    kms-grpc grants create KEY --to arn:aws:iam::111122223333:role/orders --allow Encrypt --allow Decrypt
    kms-grpc grants create KEY --to arn:aws:iam::444455556666:root --allow Decrypt --context-has app=shop
    """
    arguments: dict[str, Any] = {
        "encryption_context_subset": context_has or None,
        "encryption_context_equals": context_is or None,
        "source_arn": source_arn,
        "name": name,
        **_principal("grantee", grantee),
        **_principal("retiring", retiring),
    }
    if dry_run:
        try_only(output, lambda: client.create_grant(key_id, _known(operations), dry_run=True, **arguments))
        return
    answer = shaped(client.create_grant(key_id, _known(operations), request_id=request_id, **arguments))
    print_json(answer) if output == JSON else print_facts(answer)


@grants.command("list", short_help="List the grants of KEY.")
@click.argument("key_id", metavar="[KEY]", required=False, shell_complete=suggestions.keys)
@click.option("--to", "grantee", metavar="PRINCIPAL", help="Only grants to this principal or service.")
@click.option("--retiring", metavar="PRINCIPAL", help="Instead of KEY: the grants that this principal may retire.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, help="Most grants of a page. Default: 50.")
@click.option("--marker", help="NextMarker of the previous page.")
@with_client
def list_(
    client: KeyManagementClient, output: str, key_id: str | None, grantee: str | None, retiring: str | None,
    limit: int, marker: str | None,
) -> None:  # fmt: skip
    """List a page of the grants of KEY (an id or an ARN), or of those that a principal may retire.

    \b
    kms-grpc grants list 1234abcd-12ab-34cd-56ef-1234567890ab
    kms-grpc grants list --retiring arn:aws:iam::111122223333:role/orders
    """
    if (key_id is None) is (retiring is None) or (grantee and retiring):
        raise click.UsageError("Give KEY, with or without --to; or --retiring alone.")
    if key_id is None:
        answer = shaped(client.list_retirable_grants(**_principal("retiring", retiring), limit=limit, marker=marker))
    else:
        answer = shaped(client.list_grants(key_id, **_principal("grantee", grantee), limit=limit, marker=marker))
    if output == JSON:
        print_json(answer)
        return
    print_table(COLUMNS, [_cells(entry) for entry in answer["Grants"]], empty="no grants")
    if answer["Truncated"]:
        click.echo(f"more: --marker {answer['NextMarker']}", err=True)


@grants.command(short_help="End a grant, as its retiring principal.")
@click.argument("key_id", metavar="[KEY", required=False, shell_complete=suggestions.keys)
@click.argument("grant_id", metavar="GRANT]", required=False)
@click.option("--grant-token", metavar="TOKEN", help="Instead of KEY and GRANT: a token of the grant.")
@dry_run_option
@with_client
def retire(
    client: KeyManagementClient, output: str, key_id: str | None, grant_id: str | None, grant_token: str | None,
    dry_run: bool,
) -> None:  # fmt: skip
    """End GRANT of KEY (an id or an ARN). The grant says who may do so. Every worker obeys at once.

    \b
    kms-grpc grants retire KEY GRANT
    kms-grpc grants retire --grant-token TOKEN
    """
    named: dict[str, Any] = {"key_id": key_id, "grant_id": grant_id, "grant_token": grant_token}
    if dry_run:
        try_only(output, lambda: client.retire_grant(**named, dry_run=True))
        return
    client.retire_grant(**named)
    print_done(output, "the grant is retired")


@grants.command(short_help="End a grant, as an administrator of its key.")
@key_argument
@click.argument("grant_id", metavar="GRANT")
@dry_run_option
@with_client
def revoke(client: KeyManagementClient, output: str, key_id: str, grant_id: str, dry_run: bool) -> None:
    """End GRANT of KEY (an id or an ARN). Every worker obeys at once.

    \b
    kms-grpc grants revoke KEY GRANT
    """
    if dry_run:
        try_only(output, lambda: client.revoke_grant(key_id, grant_id, dry_run=True))
        return
    client.revoke_grant(key_id, grant_id)
    print_done(output, "the grant is revoked")


def _principal(role: str, principal: str | None) -> dict[str, str]:
    """Returns the argument for a principal, which is an ARN or a service."""
    if principal is None:
        return {}
    is_service = "." in principal and ":" not in principal
    return {f"{role}_service_principal" if is_service else f"{role}_principal": principal}


def _known(operations: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the operations. Raises BadParameter for a name that no grant can allow."""
    from kms_grpc.client.arguments import by_aws_names
    from kms_grpc.v1.keys_pb2 import GrantOperation

    try:
        by_aws_names(GrantOperation, operations)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--allow") from None
    return operations


def _cells(entry: dict[str, Any]) -> list[object]:
    limits = entry.get("Constraints", {})
    pairs = [
        *(f"{name}={value}" for name, value in limits.get("EncryptionContextSubset", {}).items()),
        *(f"{name}=={value}" for name, value in limits.get("EncryptionContextEquals", {}).items()),
        *([limits["SourceArn"]] if "SourceArn" in limits else []),
    ]
    grantee = entry.get("GranteePrincipal") or entry.get("GranteeServicePrincipal", "")
    retiring = entry.get("RetiringPrincipal") or entry.get("RetiringServicePrincipal", "")
    return [entry["GrantId"], grantee, entry["Operations"], pairs, retiring]
