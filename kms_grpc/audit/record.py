"""The audit record of one call: CloudTrail's members, rendered as one line of JSON.

Never in a record: plaintext, ciphertext, key material, tokens. The encryption context is in it, in clear, as AWS's is.
Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import msgspec

from kms_grpc.model.key import Key
from kms_grpc.model.principal import Principal

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, omit_defaults=False):
    """The JSON object, members in the order in which they are written."""

    eventVersion: str
    userIdentity: msgspec.Raw
    eventTime: str
    eventSource: str
    eventName: str
    awsRegion: str
    sourceIPAddress: str
    userAgent: str
    requestParameters: Any
    responseElements: Any
    additionalEventData: Any
    requestID: str
    eventID: str
    readOnly: bool
    resources: list[msgspec.Raw]
    eventType: str
    managementEvent: bool
    eventCategory: str
    recipientAccountId: str | None
    errorCode: str | msgspec.UnsetType = msgspec.UNSET
    errorMessage: str | msgspec.UnsetType = msgspec.UNSET


class AuditRecord:
    """Opened before anything is known of a call, filled on its way, closed by the executor's `finally`."""

    __slots__ = (
        "operation", "region", "time_ns", "request_id", "event_id", "peer", "user_agent", "read_only",
        "principal", "keys", "parameters", "response", "additional", "error_code", "error_text",
    )  # fmt: skip

    def __init__(self, operation: str, region: str, time_ns: int, request_id: str, peer: str, user_agent: str, read_only: bool) -> None:
        self.operation = operation
        self.region = region
        self.time_ns = time_ns
        self.request_id = request_id
        self.event_id = new_id()
        self.peer = peer
        self.user_agent = user_agent
        self.read_only = read_only
        self.principal: Principal | None = None
        self.keys: tuple[Key, ...] = ()
        self.parameters: dict[str, Any] | None = None
        self.response: dict[str, Any] | None = None
        self.additional: dict[str, Any] | None = None
        self.error_code: str | None = None
        self.error_text = ""

    def line(self) -> bytes:
        """One JSON object and a newline."""
        line = _Line(
            "1.11", _identity(self.principal), iso_time(self.time_ns), "kms.amazonaws.com", self.operation, self.region,
            self.peer, self.user_agent, self.parameters, self.response, self.additional, self.request_id, self.event_id,
            self.read_only, [_resource(key) for key in self.keys], "AwsApiCall", True, "Management",
            self.principal.account if self.principal else None,
        )  # fmt: skip
        if self.error_code is not None:
            line.errorCode = self.error_code
            line.errorMessage = self.error_text
        return _encode(line) + b"\n"


class _Ids:
    """Unique ids in the shape of a UUID at a tenth of uuid4's price: 10 random bytes per process, then a count."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        seed = os.urandom(10).hex()
        self.prefix = f"{seed[:8]}-{seed[8:12]}-{seed[12:16]}-{seed[16:20]}-"
        self.count = itertools.count(int.from_bytes(os.urandom(5)))

    def next(self) -> str:
        """Threads share the count: itertools' is one step that no other thread gets between."""
        return f"{self.prefix}{next(self.count):012x}"


_ids = _Ids()
os.register_at_fork(after_in_child=_ids.start)


def new_id() -> str:
    """A fresh event or request id, unique over processes and forks."""
    return _ids.next()


_second = 0
_second_text = ""


def iso_time(time_ns: int) -> str:
    """`2026-11-24T18:10:22Z`; the text of the last second is kept, since most calls fall into it."""
    global _second, _second_text
    second = time_ns // 1_000_000_000
    if second != _second:
        _second_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        _second = second
    return _second_text


_identities: dict[Principal | None, msgspec.Raw] = {}
_resources: dict[str, msgspec.Raw] = {}
_RESOURCES_KEPT = 16_384


def _identity(principal: Principal | None) -> msgspec.Raw:
    raw = _identities.get(principal)
    if raw is None:
        raw = _identities[principal] = msgspec.Raw(_encode(_describe(principal)))
    return raw


def _describe(principal: Principal | None) -> dict[str, str]:
    if principal is None:
        return {"type": "Unknown"}
    kind = "AWSService" if principal.service else "Root" if principal.arn.endswith(":root") else "AssumedRole"
    described = {"type": kind, "principalId": principal.name, "arn": principal.arn, "accountId": principal.account}
    return described | ({"invokedBy": principal.service} if principal.service else {})


def _resource(key: Key) -> msgspec.Raw:
    raw = _resources.get(key.arn)
    if raw is None:
        if len(_resources) >= _RESOURCES_KEPT:
            _resources.clear()
        raw = _resources[key.arn] = msgspec.Raw(_encode({"accountId": key.account, "type": "AWS::KMS::Key", "ARN": key.arn}))
    return raw
