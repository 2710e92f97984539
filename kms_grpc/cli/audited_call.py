"""Reads an audit record and makes of it the questions whether its caller may make the call."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

_CONTEXTS: Final = {
    "kms:ReEncryptFrom": "sourceEncryptionContext",
    "kms:ReEncryptTo": "destinationEncryptionContext",
}
"""The member of requestParameters that has the encryption context of an action; else `encryptionContext`."""


class SupposedCall(NamedTuple):
    """A call of which somebody asks whether it would be allowed."""

    principal: str
    action: str
    key_id: str | None
    encryption_context: Mapping[str, str]
    conditions: Mapping[str, Sequence[str]]


def supposed_calls(text: str) -> list[SupposedCall]:
    """Returns a question for each action and key of a record's call. Raises click.UsageError for a text that is no
    audit record of a call."""
    record = _record(text)
    try:
        keys = _keys(record)
        principal, parameters = record["userIdentity"]["arn"], record["requestParameters"] or {}
        return [
            SupposedCall(principal, action, key, parameters.get(_CONTEXTS.get(action, "encryptionContext"), {}), given)
            for given in [dict(_conditions(record))]
            for action, key in _asked(_permissions(record["eventName"]), keys)
        ]
    except (KeyError, TypeError, AttributeError):
        raise click.UsageError("the file has no audit record of a call by a known caller") from None


def region_of(text: str) -> str:
    """Returns the region in which the call was made."""
    return str(_record(text).get("awsRegion", ""))


def _record(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise click.UsageError("the file must hold one audit record, a line of an audit log: one JSON object")
    return record


def _permissions(operation: str) -> tuple[str, ...]:
    from kms_grpc.v1 import envelope_pb2, key_management_pb2, options_pb2

    for file in (key_management_pb2.DESCRIPTOR, envelope_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            if operation in service.methods_by_name:
                return tuple(service.methods_by_name[operation].GetOptions().Extensions[options_pb2.permissions])
    raise click.UsageError(f"the audit record is of {operation}, which is no operation that somebody calls")


def _keys(record: Mapping[str, Any]) -> list[str | None]:
    """Returns the keys that the call concerned; of a call that found none, the key that it named."""
    found = [resource["ARN"] for resource in record["resources"] or []]
    return found or [(record["requestParameters"] or {}).get("keyId")]


def _asked(actions: Sequence[str], keys: Sequence[str | None]) -> Iterator[tuple[str, str | None]]:
    """Yields pairs of action and key: ReEncrypt has one key for each of its actions, a batch several keys."""
    if len(actions) > 1:
        yield from zip(actions, keys, strict=False)
    else:
        yield from ((action, key) for action in actions for key in keys)


def _conditions(record: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "aws:CurrentTime", [record["eventTime"]]
    if record["userAgent"]:
        yield "aws:UserAgent", [record["userAgent"]]
    try:
        yield "aws:SourceIp", [str(ipaddress.ip_address(record["sourceIPAddress"]))]
    except ValueError:
        return  # a Unix socket
