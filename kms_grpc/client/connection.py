"""Where the service is, who calls it, and how a channel to it behaves.

Retries are gRPC's own, by service config: UNAVAILABLE only, four attempts at most, and the server's
`grpc-retry-pushback-ms` obeyed (https://github.com/grpc/proposal/blob/master/A6-client-retries.md). Which calls may be
repeated is read from the contract: those with an idempotency_level, and those that create, since these carry a
`kms-request-id` that stays the same over all attempts.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from kms_grpc.client.failures import InvalidConnection
from kms_grpc.v1 import envelope_pb2, key_management_pb2

DEFAULT_ENDPOINT: Final = "127.0.0.1:50051"
CREATES: Final = frozenset({"CreateKey", "CreateAlias"})
"""Calls that carry a request id."""

RETRY_POLICY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
POLICIES: Final = ("round_robin", "pick_first")
Options = Sequence[tuple[str, Any]]
_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """Address, caller and region.

    `endpoint` is HOST:PORT on the loopback, or unix:/path; or several of the same kind, joined by commas. With several,
    calls take turns on those that answer (`policy` round_robin), or all go to the first that does (pick_first).
    """

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)
    region: str | None = None
    policy: str = "round_robin"

    def __post_init__(self) -> None:
        for endpoint in self.endpoints:
            _check_endpoint(endpoint)
        _target(self.endpoints)
        if self.policy not in POLICIES:
            raise InvalidConnection(f"policy {self.policy!r}: give {' or '.join(POLICIES)}")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise InvalidConnection("the token must be printable ASCII without spaces")

    @classmethod
    def from_environment(
        cls, endpoint: str | None = None, token: str | None = None, region: str | None = None
    ) -> Connection:
        """What is None is read from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN and KMS_GRPC_REGION."""
        return cls(
            endpoint or os.environ.get("KMS_GRPC_ENDPOINT") or DEFAULT_ENDPOINT,
            token or os.environ.get("KMS_GRPC_TOKEN") or None,
            region or os.environ.get("KMS_GRPC_REGION") or None,
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(endpoint.strip() for endpoint in self.endpoint.split(","))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries: the caller's token and the called region, as far as they are known."""
        pairs = (("authorization", f"Bearer {self.token}" if self.token else None), ("kms-region", self.region))
        return tuple((name, value) for name, value in pairs if value is not None)

    def open_channel(self, options: Options = ()) -> grpc.Channel:
        """A channel with a connection of its own and the retry policy. It never goes through a proxy: the service is on
        this machine."""
        return grpc.insecure_channel(_target(self.endpoints), options=[*self._options(), *options])

    def open_aio_channel(self, options: Options = ()) -> grpc.aio.Channel:
        """The same for the event loop that runs."""
        return grpc.aio.insecure_channel(_target(self.endpoints), options=[*self._options(), *options])

    def _options(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.service_config", service_config(self.policy if len(self.endpoints) > 1 else "pick_first")),
            ("grpc.enable_retries", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            # Channels would share connections otherwise, and a forked child its parent's.
            ("grpc.use_local_subchannel_pool", 1),
        ]


def service_config(policy: str = "pick_first") -> str:
    """gRPC's service config, as JSON: which methods are repeated, and when; and how endpoints are chosen."""
    names = [{"service": method.containing_service.full_name, "method": method.name} for method in _repeatable()]
    methods = [{"name": names, "retryPolicy": RETRY_POLICY}]
    return json.dumps({"loadBalancingConfig": [{policy: {}}], "methodConfig": methods})


def _repeatable() -> Iterator[MethodDescriptor]:
    for file in (key_management_pb2.DESCRIPTOR, envelope_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            yield from (method for method in service.methods if is_repeatable(method))


def is_repeatable(method: MethodDescriptor) -> bool:
    """Whether sending the call twice does no more than sending it once."""
    level = method.GetOptions().idempotency_level
    return method.name in CREATES or level != MethodOptions.IDEMPOTENCY_UNKNOWN


def _check_endpoint(endpoint: str) -> None:
    """The token travels in clear, so it only goes where it stays on this machine."""
    if endpoint.startswith("unix:") and len(endpoint) > len("unix:"):
        return
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InvalidConnection(f"endpoint {endpoint!r}: give HOST:PORT, such as {DEFAULT_ENDPOINT}, or unix:/path")
    if host != "localhost" and not _is_loopback(host.strip("[]")):
        raise InvalidConnection(f"endpoint {endpoint!r}: only loopback (127.0.0.1, [::1]) and unix:/path are served")


def _target(endpoints: Sequence[str]) -> str:
    """As gRPC's resolvers take it: one endpoint as it is; several addresses of one kind behind its scheme."""
    if len(endpoints) == 1:
        return endpoints[0]
    addresses = ["127.0.0.1:" + one.rpartition(":")[2] if one.startswith("localhost:") else one for one in endpoints]
    kinds = {_kind(address) for address in addresses}
    if len(kinds) > 1:
        raise InvalidConnection(f"endpoints {', '.join(endpoints)}: all must be IPv4, or all IPv6, or all unix:/path")
    return f"{kinds.pop()}:{','.join(address.removeprefix('unix:') for address in addresses)}"


def _kind(address: str) -> str:
    if address.startswith("unix:"):
        return "unix"
    return "ipv6" if address.startswith("[") else "ipv4"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
