"""`kms-grpc explain`: says why a call would be allowed or denied, by the policies of the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kms_grpc.cli import suggestions
from kms_grpc.cli.audited_call import SupposedCall, region_of, supposed_calls
from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.options import context_option, with_client
from kms_grpc.cli.output import JSON, print_facts, print_json, shaped

if TYPE_CHECKING:
    from kms_grpc.client import KeyManagementClient


@click.command(short_help="Say why a call would be allowed or denied.")
@click.option("--principal", metavar="ARN", help="The caller.")
@click.option("--action", metavar="ACTION", help="The permission, such as kms:Decrypt.")
@click.option(
    "--key", "--key-id", "key_id", metavar="KEY", shell_complete=suggestions.keys_and_aliases,
    help="Key id, ARN, alias/NAME or alias ARN; left out for actions such as kms:CreateKey.",
)  # fmt: skip
@context_option()
@click.option("--source-ip", metavar="ADDRESS", help="The caller's address, aws:SourceIp.")
@click.option(
    "--condition", "conditions", multiple=True, metavar="NAME=VALUE",
    help="A condition key of the call and its value; repeat it for more.",
)  # fmt: skip
@click.option(
    "--request", "record", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Explain the call of this audit record instead.",
)  # fmt: skip
@with_client
def explain(
    client: KeyManagementClient, output: str, *, principal: str | None, action: str | None, key_id: str | None,
    context: dict[str, str], source_ip: str | None, conditions: tuple[str, ...], record: Path | None,
) -> None:  # fmt: skip
    """Say whether a principal may call an action on a key, and which statement of which policy decides it. Nothing is
    called. The exit code is 0 if it is allowed and 1 if it is denied. Needs the permission kms-grpc:ExplainDecision.

    \b
    kms-grpc explain --principal arn:aws:iam::111122223333:user/bob --action kms:Decrypt --key alias/orders
    kms-grpc explain --principal arn:aws:iam::111122223333:user/bob --action kms:CreateKey --source-ip 10.1.2.3
    kms-grpc explain --request denied.json
    """
    if record is None:
        calls = [_asked(principal, action, key_id, context, source_ip, conditions)]
    else:
        if principal or action or key_id or context or source_ip or conditions:
            raise click.UsageError("--request takes all from the audit record: leave out the other options")
        calls = _recorded(client, record)
    answers = [shaped(client.explain_decision(*call[:3], **_rest(call))) for call in calls]
    if output == JSON:
        print_json(answers[0] if record is None else answers)
    else:
        for call, answer in zip(calls, answers, strict=True):
            _print(call, answer)
    if not all(answer["Allowed"] for answer in answers):
        raise click.exceptions.Exit(ExitCode.REFUSED)


def _asked(
    principal: str | None, action: str | None, key_id: str | None, context: dict[str, str], source_ip: str | None,
    conditions: tuple[str, ...],
) -> SupposedCall:  # fmt: skip
    if principal is None or action is None:
        raise click.UsageError("give --principal and --action, or --request with an audit record")
    given: dict[str, list[str]] = {} if source_ip is None else {"aws:SourceIp": [source_ip]}
    for pair in conditions:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--condition: {pair!r} is not NAME=VALUE")
        given.setdefault(name, []).append(value)
    return SupposedCall(principal, action, key_id, context, given)


def _recorded(client: KeyManagementClient, record: Path) -> list[SupposedCall]:
    try:
        text = record.read_text("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError(f"{record}: is not UTF-8") from None
    calls = supposed_calls(text)
    region = region_of(text)
    called = client.connection.region or client.get_limits().default_region
    if region != called:
        raise click.UsageError(f"the call was made in {region}: give --region {region}")
    return calls


def _rest(call: SupposedCall) -> dict[str, Any]:
    return {"encryption_context": call.encryption_context, "conditions": call.conditions}


def _print(call: SupposedCall, answer: dict[str, Any]) -> None:
    verdict = click.style("allowed", fg="green") if answer["Allowed"] else click.style("denied", fg="red")
    click.echo(f"{verdict}: {call.action} by {call.principal}")
    facts = {"Because": answer["Explanation"]}
    if "KeyId" in answer:
        facts["Key"] = f"{answer['KeyId']} ({answer['KeyState']})"
    if not answer["PrincipalIsConfigured"]:
        facts["Principal"] = "not in the configuration: judged without identity policies"
    if answer["DependsOn"]:
        facts["Depends on"] = ", ".join(answer["DependsOn"])
    print_facts(facts)
