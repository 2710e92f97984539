"""The settings of a server: values of the command line, else of a TOML file, else defaults.

```toml
regions = ["eu-central-1", "eu-west-1"]      # the first one is the default region
listen = "127.0.0.1:50051"                   # loopback or unix:/path; with [tls] any address
aws_listen = "127.0.0.1:8080"                # the endpoint URL for AWS's own clients; the same addresses
workers = 2

[[principals]]
name = "billing"
arn = "arn:aws:iam::123456789012:role/billing"
account = "123456789012"
token_sha256 = "9f86d0…"                     # or token_file = "/run/secrets/billing.token", or token = "…"
policies = ["user"]                          # what the principal may do

[tls]                                        # PEM files, reloaded when they change
certificate_file = "/etc/kms/server.pem"     # the server's certificate, then any intermediate certificates
key_file = "/etc/kms/server.key"

[quotas]
keys_per_account = 100_000
```
A setting of an unknown name is an error. Errors name the setting and say how to correct it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from kms_grpc.addresses import ONLY_LOOPBACK, check_listen, networks_of
from kms_grpc.issuer_settings import (
    BundleSettings,
    IssuerSettings,
    MappingSettings,
    check_client_certificates,
    check_issuers,
    check_mappings,
)
from kms_grpc.misfits import ConfigurationError as ConfigurationError  # this module's error, for its callers
from kms_grpc.misfits import misfit_text
from kms_grpc.model.region import REGION
from kms_grpc.principal_settings import (
    ACCOUNT,
    CredentialSettings,
    PrincipalSettings,
    check_principals,
    files_of,
    policy_files,
)
from kms_grpc.token_files import require_closed

MANAGED_SERVICES = (
    "s3", "ebs", "rds", "dynamodb", "secretsmanager", "ssm", "sns", "sqs", "lambda", "kinesis", "elasticfilesystem",
    "backup",
)  # fmt: skip
SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resource quotas per account and region. The defaults are AWS's. A call beyond one gets LimitExceededException."""

    keys_per_account: int = 100_000
    """KMS keys of an account, in any state."""
    aliases_per_key: int = 50
    """Aliases of a key."""
    grants_per_key: int = 50_000
    """Grants of a key."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of each worker process."""

    message_bytes: int = 4 * 1024 * 1024
    """Size of the largest gRPC message, request or response, in bytes. The default is gRPC's."""
    http_body_bytes: int = 1024 * 1024
    """Size of the largest HTTP request body at the AWS endpoint, in bytes."""
    http_connections: int = 1000
    """Connections to the AWS endpoint, never more than half of the files that a worker may open. When all are in use, a
    newcomer takes the place of a connection without a verified call, of the address that has most."""
    http_connections_per_address: int = 250
    """Connections of one address (IPv6: /64) to the AWS endpoint. Behind a proxy all clients have the proxy's."""
    calls: int = 1024
    """Calls under way in a worker, over all connections, waiting calls and streams included. A call beyond that gets
    ThrottlingException with RetryInfo."""
    waiting_calls: int = 256
    """Calls that wait for a thread of the worker: this many that read, and as many that write. A call beyond that gets
    ThrottlingException with RetryInfo."""
    bulk_waiting_ms: int = 1000
    """Longest time that a large call (a batch) waits before it gets ThrottlingException, in milliseconds; at most half
    the time to its deadline. A longer wait makes an overload cheaper, because a waiting client does not retry."""
    in_flight_bytes: int = 64 * 1024 * 1024
    """Bytes of requests and responses that a worker holds in memory."""
    calls_per_connection: int = 72
    """Calls under way on one connection, streams included. HTTP/2 announces the limit, and the client holds back
    further calls. With a larger limit, the server has to refuse more calls in an overload."""
    threads: int = 4
    """Threads of a worker for calls that write."""
    read_threads: int = 4
    """Threads of a worker for calls that read keys that are not cached. They never wait behind writes."""
    streams: int = 128
    """EncryptStream and DecryptStream calls of a worker, each with up to 8 MiB of memory. One beyond that gets
    ThrottlingException."""
    stream_idle_seconds: float = 30.0
    """Seconds without data in either direction after which a stream may be ended to make room for a new one."""
    cached_keys: int = 16_384
    """KMS keys that a worker caches, with their key material."""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's certificate. The server checks both files when it starts (kms_grpc/endpoints/certificate.py)."""

    certificate_file: Path
    """PEM file: the server's certificate, then any intermediate certificates."""
    key_file: Path
    """PEM file: the private key of the certificate, without a passphrase, readable by the owner only."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Asks callers for a certificate, which a bundle of `client_bundles` must have signed: off, optional or required.
    `optional` is for the AWS endpoint alone: gRPC for Python cannot ask without requiring one, so `listen` must be a
    Unix socket."""


DATA_DIR = Path("kms-data")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a server. Only `regions` has no usable default."""

    data_dir: Path = DATA_DIR
    """Directory of the registry, the root key file and the audit log."""
    marks_dir: Path | None = None
    """Directory of the marks, by which an older copy of a region is noticed: best on another file system, which is not
    restored together with DATA_DIR. None: DATA_DIR/marks."""
    accept_older: bool = False
    """For one start after a restore on purpose: serve regions that are older than their marks, or that have lost or
    older rows. It is audited."""
    listen: str = "127.0.0.1:50051"
    """Address of the gRPC endpoint: HOST:PORT or unix:/path. Without [tls], HOST must be loopback."""
    aws_listen: str | None = None
    """Address of the endpoint for AWS's own clients (JSON over HTTP). None: no such endpoint."""
    metrics_listen: str | None = None
    """HOST:PORT of the Prometheus metrics, served at /metrics over HTTP: loopback, or any with `metrics_networks`.
    None: no metrics."""
    metrics_networks: list[str] = []
    """Networks such as 10.1.0.0/16 whose machines may read the metrics, beside this one."""
    tls: Tls | None = None
    """Serve the TCP ports of `listen` and `aws_listen` with TLS. Unix sockets never use TLS."""
    regions: list[str] = []
    """Regions of the service, such as eu-central-1. The first one is the default region. Required."""
    workers: int = msgspec.field(default_factory=lambda: max(2, os.cpu_count() or 1))
    """Worker processes: 1 to 256. Default: one per CPU, at least 2."""
    partition: str | None = None
    """Partition in the ARNs of new regions. None: AWS's own, by the region's name (`aws`, `aws-cn`, `aws-us-gov` …). A
    region keeps the partition that it was made with."""
    service_account: str = "000000000000"
    """Account that owns the service's own keys: 12 digits. It cannot change once the first region is set up."""
    reflection: bool = True
    """Serve gRPC server reflection, by which tools such as grpcurl learn the API."""
    drain_seconds: float = 30.0
    """Time that calls under way may take to finish when the server stops: more than 0, at most 3600 seconds."""
    dev: bool = False
    """For development: add a principal, the root of account 123456789012, with its token in DATA_DIR/dev.token."""
    log_level: str = "info"
    """debug, info, warning or error."""
    principals: list[PrincipalSettings] = []
    """The principals that may call the service."""
    issuers: list[IssuerSettings] = []
    """Issuers of signed assertions (JWT), with which callers authenticate that are not listed one by one."""
    mappings: list[MappingSettings] = []
    """Rules that make principals from the claims of assertions and from the names of client certificates."""
    client_bundles: list[BundleSettings] = []
    """CAs that vouch for client certificates."""
    managed_services: list[str] = msgspec.field(default_factory=lambda: list(MANAGED_SERVICES))
    """AWS services that get an AWS managed key, `alias/aws/<service>`, in each account."""
    non_committing_suites: bool = False
    """Let DecryptStream read messages of the AWS Encryption SDK whose algorithm suite has no key commitment."""
    quotas: Quotas = Quotas()
    """Resource quotas."""
    limits: Limits = Limits()
    """Limits of each worker process."""

    def named_files(self) -> Iterator[tuple[Path, bool]]:
        """Yields the path of each file that says who may call, and whether it holds a token."""
        yield from files_of(self.principals)
        for rule in self.mappings:
            yield from ((path, False) for path in policy_files(rule.policies or ()))
        for issuer in self.issuers:
            yield from ((path, False) for path in (issuer.jwks_file, issuer.ca_file) if path is not None)
        yield from ((bundle.file, False) for bundle in self.client_bundles)

    @property
    def default_region(self) -> str:
        """The region of a call that names none."""
        return self.regions[0]


DEV_ACCOUNT = "123456789012"
DEV_NAME = "dev"
"""Name of the principal that `dev` adds: the root of DEV_ACCOUNT."""
DEV_ACCESS_KEY = "test"
DEV_SECRET = "test"  # noqa: S105 - public on purpose
"""Secret of DEV_ACCESS_KEY, which signs requests for the same principal. With `dev`, aws_listen must be local."""


def load(path: Path | None, overrides: dict[str, Any]) -> Settings:
    """Returns the settings of the file, replaced by those `overrides` that are not None.

    Raises ConfigurationError, which names the file if the error is in it.
    """
    values = given(path, overrides)
    try:
        return from_values(values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}" if path and _has(path, str(error)) else str(error)) from None


def _has(path: Path, error: str) -> bool:
    """Returns whether the file alone has this error as well."""
    try:
        from_values(_read_toml(path))
    except ConfigurationError as own:
        return str(own) == error
    return False


class Source(NamedTuple):
    """Settings as they were given at the start: a file, and options of the command line that override it."""

    path: Path | None
    overrides: dict[str, Any]

    def load(self) -> Settings:
        """Returns the settings as they are now. Raises ConfigurationError, also for a file without any setting, as one
        is that is being written."""
        if self.path is not None and not _read_toml(self.path):
            raise ConfigurationError(f"{self.path}: it is empty")
        return load(self.path, self.overrides)


def given(path: Path | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """Returns the same values as plain data, without defaults and checks."""
    values = _read_toml(path) if path else {}
    return values | {name: value for name, value in overrides.items() if value is not None}


def from_values(values: dict[str, Any]) -> Settings:
    """Returns the settings that plain data describes. Raises ConfigurationError."""
    try:
        settings = msgspec.convert(values, Settings, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        known = {title: section.__struct_fields__ for title, section in _SECTIONS.items()}
        raise ConfigurationError(misfit_text(str(error), known)) from None
    _check(settings)
    return settings


_SECTIONS = {
    "": Settings,
    "principals": PrincipalSettings,
    "principals.credentials": CredentialSettings,
    "issuers": IssuerSettings,
    "mappings": MappingSettings,
    "client_bundles": BundleSettings,
    "tls": Tls,
    "quotas": Quotas,
    "limits": Limits,
}


def to_json(settings: Settings) -> bytes:
    """Returns the settings as JSON, the form in which a supervisor passes them to its workers."""
    return msgspec.json.encode(settings, enc_hook=_encode_path)


def from_json(text: bytes) -> Settings:
    """Returns the settings that `to_json` wrote."""
    return msgspec.json.decode(text, type=Settings, dec_hook=_decode_path)


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))


def _decode_path(kind: type, value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError("a path is needed")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if _holds_tokens(values.get("principals")):
        require_closed(path, mode, "it holds tokens")
    return values


def _holds_tokens(principals: object) -> bool:
    """Returns whether a table of `principals`, or of their `credentials`, has a token itself."""
    tables = [each for each in principals if isinstance(each, dict)] if isinstance(principals, list) else []
    return any("token" in each or _holds_tokens(each.get("credentials")) for each in tables)


def _check(settings: Settings) -> None:
    if not settings.regions:
        raise ConfigurationError(
            "no region: give --region eu-central-1 (once for each region), or regions = [...] in the file"
        )
    for region in settings.regions:
        _require(REGION.fullmatch(region), f"region {region!r}: must have the form eu-central-1")
    for service in settings.managed_services:
        _require(SERVICE_NAME.fullmatch(service), f"managed_services: {service!r} must have the form s3")
    _require(len(set(settings.regions)) == len(settings.regions), "regions: the same region is given twice")
    _require(ACCOUNT.fullmatch(settings.service_account), "service_account: must be 12 digits")
    _require(1 <= settings.workers <= 256, "workers: must be 1 to 256")
    _check_numbers(settings)
    _check_doors(settings)
    check_principals(settings.principals, settings.service_account, DEV_NAME if settings.dev else None)
    names = [*(each.name for each in settings.principals), DEV_NAME]
    check_issuers(settings.issuers)
    check_mappings(
        settings.mappings,
        (each.name for each in settings.issuers),
        names,
        settings.service_account,
        [each.name for each in settings.client_bundles],
    )
    wanted = "off" if settings.tls is None else settings.tls.client_certificates
    check_client_certificates(wanted, settings.listen, bool(settings.client_bundles))


def _check_numbers(settings: Settings) -> None:
    numbers = {f"quotas.{name}": getattr(settings.quotas, name) for name in settings.quotas.__struct_fields__}
    numbers |= {f"limits.{name}": getattr(settings.limits, name) for name in settings.limits.__struct_fields__}
    for name, number in numbers.items():
        _require(number >= 1, f"{name}: must be at least 1, not {number}")
    _require(settings.limits.message_bytes >= 256 * 1024, "limits.message_bytes: must be at least 262144")
    _require(0 < settings.drain_seconds <= 3600, "drain_seconds: must be more than 0 and at most 3600")
    _require(
        settings.log_level in ("debug", "info", "warning", "error"), "log_level: must be debug, info, warning or error"
    )


def _check_doors(settings: Settings) -> None:
    doors = {"listen": settings.listen}
    if settings.aws_listen is not None:
        doors["aws_listen"] = settings.aws_listen
    for name, address in doors.items():
        _check_door(settings, name, address)
    all_unix = all(address.startswith("unix:") for address in doors.values())
    _require(
        settings.tls is None or not all_unix, "tls: Unix sockets do not use TLS; give listen HOST:PORT, or remove [tls]"
    )
    if settings.metrics_listen is not None:
        _require(not settings.metrics_listen.startswith("unix:"), "metrics_listen: must be HOST:PORT")
        on_machine = check_listen(settings.metrics_listen, "metrics_listen")
        _require(
            on_machine or settings.metrics_networks,
            f"metrics_listen {settings.metrics_listen!r}: {ONLY_LOOPBACK}, unless metrics_networks lists the networks "
            "that may read the metrics",
        )
    networks_of(settings.metrics_networks)


def _check_door(settings: Settings, name: str, address: str) -> None:
    """Raises ConfigurationError for an address that would expose secrets.

    Without TLS, only local addresses are served, so that tokens and plaintexts never leave the machine in clear. No
    option changes that. For aws_listen with `dev`, the address must be local even with TLS.
    """
    if check_listen(address, name):
        return
    refused = f"{name} {address!r}: {ONLY_LOOPBACK}"
    _require(settings.tls is not None, f"{refused}, unless TLS is configured: {_GIVE_A_CERTIFICATE}")
    _require(name == "listen" or not settings.dev, f"{refused} with dev, whose access key has a public secret")


_GIVE_A_CERTIFICATE = "give [tls] certificate_file and key_file, or --tls-certificate and --tls-key"


def _require(condition: object, text: str) -> None:
    if not condition:
        raise ConfigurationError(text)
