"""Audit records: CloudTrail's members, as one line of JSON each.

A record never holds plaintext, ciphertext, key material or tokens. It holds the encryption context in clear, as AWS's
does.
Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from kms_grpc.crypto.new_uuid import new_uuid
from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

LARGEST_REFUSED: Final = 256 * 1024
"""Largest record of a refused call, in bytes. Requests within their limits stay below. A larger record (a gRPC message
may have 4 MiB) leaves the parameters out, so that refused calls cannot fill the disk."""

AGENT_LENGTH: Final = 256
"""Most characters of a user agent in a record, at most 1,536 bytes of JSON."""
TEXT_LENGTH: Final = 1024
"""Most characters of an error's text in a record, at most 6 KiB of JSON. Texts may quote what a caller sent."""

_encode = msgspec.json.Encoder().encode


class AuditRecord(msgspec.Struct):
    """The members of a record that differ from call to call, in CloudTrail's spelling. `head` gives the others."""

    eventTime: str
    sourceIPAddress: str
    userAgent: str
    requestID: str
    eventID: str
    requestParameters: dict[str, Any] | msgspec.Raw | None = None
    responseElements: dict[str, Any] | None = None
    additionalEventData: dict[str, Any] | msgspec.Raw | None = None
    errorCode: str | msgspec.UnsetType = msgspec.UNSET
    errorMessage: str | msgspec.UnsetType = msgspec.UNSET

    def fail(self, code: str, text: str) -> None:
        self.errorCode, self.errorMessage = code, text[:TEXT_LENGTH]

    def line(self, head: bytes) -> bytes:
        """Returns the record as one JSON object and a newline."""
        encoded = _encode(self)
        if len(encoded) > LARGEST_REFUSED and self.errorCode is not msgspec.UNSET:
            self.requestParameters = {"omitted": True, "originalSize": len(encoded)}
            encoded = _encode(self)
        return head + encoded[1:] + b"\n"


@lru_cache(256)
def head_of_refused(operation: str, region: str, read_only: bool, principal: Principal | None) -> bytes:
    """Returns `head` of a call that is refused before it begins. Cached, since an overload refuses most calls."""
    return head(operation, region, read_only, principal, ())


def head(operation: str, region: str, read_only: bool, principal: Principal | None, keys: Sequence[Key]) -> bytes:
    """Returns the members that all calls of a principal with the same keys share: `{"eventVersion":"1.11",…,`."""
    members = {
        "eventVersion": "1.11",
        "userIdentity": _describe(principal),
        "eventSource": "kms.amazonaws.com",
        "eventName": operation,
        "awsRegion": region,
        "readOnly": read_only,
        "resources": [{"accountId": key.account, "type": "AWS::KMS::Key", "ARN": key.arn} for key in keys],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": principal.account if principal else None,
    }
    return _encode(members)[:-1] + b","


new_id: Final = new_uuid
"""Returns a fresh event or request id: unique over processes, forks and cloned machines."""


_last = (0, "")


def iso_time(time_ns: int) -> str:
    """Returns `2026-11-24T18:10:22Z`. The text of the last second is cached, since most calls fall into it."""
    global _last
    second = time_ns // 1_000_000_000
    last = _last  # replaced as a whole, since threads share it
    if second != last[0]:
        last = _last = (second, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)))
    return last[1]


def _describe(principal: Principal | None) -> dict[str, str]:
    if principal is None:
        return {"type": "Unknown"}
    kind = "AWSService" if principal.service else "Root" if principal.arn.endswith(":root") else "AssumedRole"
    described = {"type": kind, "principalId": principal.name, "arn": principal.arn, "accountId": principal.account}
    return described | ({"invokedBy": principal.service} if principal.service else {})


def service_event(
    name: str,
    region: str,
    key: Key,
    time_ns: int,
    details: dict[str, Any] | None = None,
    *,
    read_only: bool = False,
    error: str | None = None,
) -> tuple[str, bytes]:
    """Returns event id and record of an event that no call has caused (DeleteKey, RotateKey, DeleteExpiredKeyMaterial),
    or of a use of an AWS owned key. `error` is the code of the error that it ended in.

    Source: https://docs.aws.amazon.com/kms/latest/developerguide/ct-delete-key.html and its siblings."""
    event_id = new_id()
    event = {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": key.account, "invokedBy": "AWS Internal"},
        "eventTime": iso_time(time_ns),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "AWS Internal",
        "userAgent": "AWS Internal",
        "requestParameters": None,
        "responseElements": None,
        "eventID": event_id,
        "readOnly": read_only,
        "resources": [{"accountId": key.account, "type": "AWS::KMS::Key", "ARN": key.arn}],
        "eventType": "AwsServiceEvent",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": key.account,
        "serviceEventDetails": {"keyId": key.key_id} | (details or {}),
    }
    if error is not None:
        event["errorCode"] = error
    return event_id, _encode(event) + b"\n"


def access_key_event(
    name: str, region: str, principal: Principal, access_key_id: str, time_ns: int
) -> tuple[str, bytes]:
    """Returns event id and record of CreateAccessKey, DeleteAccessKey or CreateSession: commands on the data directory.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html"""
    event_id = new_id()
    event = {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": principal.account, "invokedBy": "kms-grpc principals"},
        "eventTime": iso_time(time_ns),
        "eventSource": "iam.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "kms-grpc principals",
        "userAgent": "kms-grpc principals",
        "requestParameters": {"userName": principal.name, "accessKeyId": access_key_id},
        "responseElements": None,
        "eventID": event_id,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": principal.account,
    }
    return event_id, _encode(event) + b"\n"


def shard_event(name: str, region: str, account: str, time_ns: int, details: dict[str, Any]) -> tuple[str, bytes]:
    """Returns event id and record of an event about a whole shard: FirstRowHashes, AcceptOlderShard,
    RowsDifferFromCommitted."""
    event_id = new_id()
    event = {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": account, "invokedBy": "kms-grpc serve"},
        "eventTime": iso_time(time_ns),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "kms-grpc serve",
        "userAgent": "kms-grpc serve",
        "requestParameters": None,
        "responseElements": None,
        "eventID": event_id,
        "readOnly": False,
        "eventType": "AwsServiceEvent",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": account,
        "serviceEventDetails": details,
    }
    return event_id, _encode(event) + b"\n"
