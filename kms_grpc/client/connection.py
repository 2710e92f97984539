"""Connection: endpoints, token, region and TLS settings of a client, and the gRPC channels made from them.

gRPC itself retries calls, by its service config: only for UNAVAILABLE, at most four attempts, and as the server's
`grpc-retry-pushback-ms` says (https://github.com/grpc/proposal/blob/master/A6-client-retries.md). A call may be retried
if its rpc has an idempotency_level in the proto, or if it sends a `kms-request-id`, which is the same in all attempts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from kms_grpc.addresses import ip_of, is_local
from kms_grpc.client.failures import InvalidConnection
from kms_grpc.v1 import envelope_pb2, key_management_pb2

DEFAULT_ENDPOINT: Final = "127.0.0.1:50051"
CREATES: Final = frozenset({"CreateKey", "CreateAlias", "CreateGrant"})
"""Operations whose calls send a request id."""

RETRY_POLICY: Final = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
RECONNECTION: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 2_000),
)
"""How soon a channel connects again: after 0.1 s at first, after 1 s at most, each 20 % more or less. The third value
ends an attempt that nobody answers. gRPC's own values are 1, 120 and 20 s."""
POLICIES: Final = ("round_robin", "pick_first")
Options = Sequence[tuple[str, Any]]
_MESSAGE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a connection. Raises InvalidConnection for settings that cannot work.

    endpoint: HOST:PORT on the loopback, or unix:/path; or several of one kind, separated by commas.
    token: the bearer token that authenticates the caller.
    region: the called region. None: the server's default region.
    policy: of several endpoints that answer, use each in turn (round_robin) or only the first (pick_first).
    tls_ca: PEM file of the trusted certificates. With it, HOST:PORT may be any address, and the connection uses TLS.
    tls_name: name that the server's certificate must have, instead of HOST. Required for several endpoints under TLS.
    """

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)
    region: str | None = None
    policy: str = "round_robin"
    tls_ca: Path | None = None
    tls_name: str | None = None

    def __post_init__(self) -> None:
        for endpoint in self.endpoints:
            _check_endpoint(endpoint, self.tls_ca is not None)
        _target(self.endpoints)
        self._check_tls()
        if self.policy not in POLICIES:
            raise InvalidConnection(f"policy {self.policy!r}: give {' or '.join(POLICIES)}")
        if self.region is not None and not (self.region.isascii() and self.region.isprintable()):
            raise InvalidConnection("the region must be printable ASCII")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise InvalidConnection("the token must be printable ASCII without spaces")

    @classmethod
    def from_environment(
        cls,
        endpoint: str | None = None,
        token: str | None = None,
        region: str | None = None,
        tls_ca: str | Path | None = None,
        tls_name: str | None = None,
    ) -> Connection:
        """Returns a connection. Reads an argument that is None from KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN, KMS_GRPC_REGION,
        KMS_GRPC_TLS_CA or KMS_GRPC_TLS_NAME."""
        ca = tls_ca or os.environ.get("KMS_GRPC_TLS_CA")
        return cls(
            endpoint or os.environ.get("KMS_GRPC_ENDPOINT") or DEFAULT_ENDPOINT,
            token or os.environ.get("KMS_GRPC_TOKEN") or None,
            region or os.environ.get("KMS_GRPC_REGION") or None,
            tls_ca=Path(ca) if ca else None,
            tls_name=tls_name or os.environ.get("KMS_GRPC_TLS_NAME") or None,
        )

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(endpoint.strip() for endpoint in self.endpoint.split(","))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of every call: the token and the region, if they are set."""
        pairs = (("authorization", f"Bearer {self.token}" if self.token else None), ("kms-region", self.region))
        return tuple((name, value) for name, value in pairs if value is not None)

    def open_channel(self, options: Options = ()) -> grpc.Channel:
        """Opens a channel with its own TCP connections and the retry policy. It never uses a proxy. The file of trusted
        certificates is read now and not again."""
        target, options = _target(self.endpoints), [*self._options(), *options]
        if not self.under_tls:
            return grpc.insecure_channel(target, options=options)
        return grpc.secure_channel(target, self._credentials(), options=options)

    def open_aio_channel(self, options: Options = ()) -> grpc.aio.Channel:
        """Opens such a channel for the running event loop."""
        target, options = _target(self.endpoints), [*self._options(), *options]
        if not self.under_tls:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, self._credentials(), options=options)

    @property
    def under_tls(self) -> bool:
        """True if the channels use TLS. Unix sockets never do: their data does not leave the machine."""
        return self.tls_ca is not None and not self.endpoints[0].startswith("unix:")

    def trusted(self) -> bytes:
        """Returns the content of the file `tls_ca`. Raises InvalidConnection if it has no certificates."""
        assert self.tls_ca is not None
        try:
            pem = self.tls_ca.read_bytes()
        except OSError as error:
            raise InvalidConnection(f"tls_ca {self.tls_ca}: {error.strerror}") from None
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            raise InvalidConnection(f"tls_ca {self.tls_ca}: the file has no certificates in PEM format")
        return pem

    def _credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.trusted())

    def _check_tls(self) -> None:
        if self.tls_name is not None and self.tls_ca is None:
            raise InvalidConnection(f"tls_name {self.tls_name!r} is for TLS: give tls_ca as well")
        if self.under_tls:
            self.trusted()
            if len(self.endpoints) > 1 and self.tls_name is None:
                raise InvalidConnection("several endpoints under TLS: give tls_name, which all their certificates have")

    def _options(self) -> list[tuple[str, Any]]:
        name = [("grpc.ssl_target_name_override", self.tls_name)] if self.tls_name and self.under_tls else []
        return [
            *name,
            *RECONNECTION,
            ("grpc.service_config", service_config(self.policy if len(self.endpoints) > 1 else "pick_first")),
            ("grpc.enable_retries", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            # Otherwise channels share connections, and a forked child uses those of its parent.
            ("grpc.use_local_subchannel_pool", 1),
        ]


def service_config(policy: str = "pick_first") -> str:
    """Returns gRPC's service config as JSON: which methods are retried, and how endpoints are chosen."""
    names = [{"service": method.containing_service.full_name, "method": method.name} for method in _retryable()]
    methods = [{"name": names, "retryPolicy": RETRY_POLICY}]
    return json.dumps({"loadBalancingConfig": [{policy: {}}], "methodConfig": methods})


def _retryable() -> Iterator[MethodDescriptor]:
    for file in (key_management_pb2.DESCRIPTOR, envelope_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            yield from (method for method in service.methods if is_retryable(method))


def is_retryable(method: MethodDescriptor) -> bool:
    """Returns whether two calls have the same effect as one."""
    level = method.GetOptions().idempotency_level
    return method.name in CREATES or level != MethodOptions.IDEMPOTENCY_UNKNOWN


def _check_endpoint(endpoint: str, tls: bool) -> None:
    """Raises InvalidConnection for an address that would send the token in clear beyond this machine."""
    if endpoint.startswith("unix:") and len(endpoint) > len("unix:"):
        return
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InvalidConnection(f"endpoint {endpoint!r}: give HOST:PORT, such as {DEFAULT_ENDPOINT}, or unix:/path")
    if not tls and not is_local(endpoint):
        raise InvalidConnection(
            f"endpoint {endpoint!r}: only loopback (127.0.0.1, [::1]) and unix:/path are served without TLS; "
            "for others give tls_ca, the file of the CA's certificate"
        )


def _target(endpoints: Sequence[str]) -> str:
    """Returns the target for gRPC's resolvers: a single endpoint unchanged; several addresses after their scheme."""
    if len(endpoints) == 1:
        return endpoints[0]
    addresses = ["127.0.0.1:" + one.rpartition(":")[2] if one.startswith("localhost:") else one for one in endpoints]
    kinds = {_kind(address) for address in addresses}
    if len(kinds) > 1 or "" in kinds:
        raise InvalidConnection(f"endpoints {', '.join(endpoints)}: all must be IPv4, or all IPv6, or all unix:/path")
    return f"{kinds.pop()}:{','.join(address.removeprefix('unix:') for address in addresses)}"


def _kind(address: str) -> str:
    """Returns unix, ipv4 or ipv6; empty for a host name, which gRPC resolves only as a single endpoint."""
    if address.startswith("unix:"):
        return "unix"
    ip = ip_of(address)
    return f"ipv{ip.version}" if ip else ""
