"""All settings, in one typed object: a TOML file, then the command line over it. Every field has a usable default.

```toml
regions = ["eu-central-1", "eu-west-1"]      # the first one is the default region
listen = "127.0.0.1:50051"                   # loopback or unix:/path; with [tls] any address
aws_listen = "127.0.0.1:8080"                # AWS's own clients, by setting an endpoint URL; likewise
workers = 2

[[principals]]
name = "billing"
arn = "arn:aws:iam::123456789012:role/billing"
account = "123456789012"
token_file = "/run/secrets/billing.token"    # or token = "…"

[tls]                                        # PEM; both files are read again when they change
certificate_file = "/etc/kms/server.pem"     # the server's certificate first, then those that lead to its CA
key_file = "/etc/kms/server.key"

[quotas]
keys_per_account = 100_000
```
Unknown names are refused. Errors name the place and the way out.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

ACCOUNT = re.compile(r"[0-9]{12}")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
TOKEN_LENGTH_MINIMUM = 16
MANAGED_SERVICES = (
    "s3", "ebs", "rds", "dynamodb", "secretsmanager", "ssm", "sns", "sqs", "lambda", "kinesis", "elasticfilesystem",
    "backup",
)  # fmt: skip
SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class ConfigurationError(Exception):
    """The configuration cannot be used. The text says where and what to change."""


class PrincipalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A caller: known by a bearer token, given here or in a file (at least 16 characters)."""

    name: str
    arn: str
    account: str
    token: str | None = None
    token_file: Path | None = None
    service: str | None = None
    """Service principal (`s3.amazonaws.com`) acting for the account."""

    def read_token(self) -> str:
        if (self.token is None) == (self.token_file is None):
            raise ConfigurationError(f"principal {self.name}: give exactly one of token and token_file")
        token = self.token if self.token_file is None else _read_token_file(self.name, self.token_file)
        assert token is not None
        if len(token) < TOKEN_LENGTH_MINIMUM or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError(
                f"principal {self.name}: its token must be {TOKEN_LENGTH_MINIMUM} or more printable ASCII characters, "
                "without spaces"
            )
        return token


class Quotas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resource quotas per account and region; exceeding one is LimitExceededException. AWS's defaults."""

    keys_per_account: int = 100_000
    aliases_per_key: int = 50


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one worker takes on at once."""

    message_bytes: int = 4 * 1024 * 1024
    """The largest gRPC message, in and out (gRPC's own default)."""
    http_body_bytes: int = 1024 * 1024
    """The largest body that the AWS door reads."""
    calls: int = 1024
    """Calls under way in a worker, over all connections, whether they run, wait or arrive, streams included; one more
    is ThrottlingException with RetryInfo."""
    waiting_calls: int = 256
    """Calls that may wait for a worker's threads; one more is ThrottlingException with RetryInfo."""
    bulk_waiting_ms: int = 1000
    """So long a large call (a batch) may wait for its turn before it is turned away, and half the time to its deadline
    at most. Who waits is not asking again: so the longer it is, the less an overload costs."""
    in_flight_bytes: int = 64 * 1024 * 1024
    """Of requests and answers that a worker holds at once."""
    calls_per_connection: int = 72
    """Calls under way on one connection, streams included; HTTP/2 tells the client, which keeps the next to itself.
    The more a client may have under way, the more of an overload is the server's to refuse."""
    threads: int = 4
    streams: int = 128
    """EncryptStream and DecryptStream that a worker runs at once, each in up to 8 MiB; one more is
    ThrottlingException."""
    stream_idle_seconds: float = 30.0
    """A stream whose caller has neither sent nor read anything for so long gives its place to one that has none."""
    cached_keys: int = 16_384
    """Keys whose row and material a worker keeps at hand."""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's certificate. What is wrong with the files is said at the start (endpoints/certificate.py)."""

    certificate_file: Path
    key_file: Path


DATA_DIR = Path("kms-data")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data_dir: Path = DATA_DIR
    listen: str = "127.0.0.1:50051"
    aws_listen: str | None = None
    """Where AWS's JSON over HTTP is served; nowhere unless it is given."""
    metrics_listen: str | None = None
    tls: Tls | None = None
    """Serve the TCP ports of both doors under TLS; Unix sockets never are."""
    regions: list[str] = []
    workers: int = msgspec.field(default_factory=lambda: max(2, os.cpu_count() or 1))
    partition: str = "aws"
    service_account: str = "000000000000"
    """The account that the service's own keys live in; fixed when the first shard is made."""
    reflection: bool = True
    drain_seconds: float = 30.0
    dev: bool = False
    """One principal, the root of account 123456789012, with its token in DIR/dev.token."""
    bench: bool = False
    """Also serve the echo methods that `kms-grpc bench` measures against."""
    log_level: str = "info"
    principals: list[PrincipalSettings] = []
    managed_services: list[str] = msgspec.field(default_factory=lambda: list(MANAGED_SERVICES))
    """Services that have an AWS managed key, `alias/aws/<service>`."""
    non_committing_suites: bool = False
    """DecryptStream also reads messages of the AWS Encryption SDK whose suite does not commit to its key."""
    quotas: Quotas = Quotas()
    limits: Limits = Limits()

    @property
    def default_region(self) -> str:
        return self.regions[0]


DEV_ACCOUNT = "123456789012"
DEV_NAME = "dev"
"""The principal that --dev lets in: the root of DEV_ACCOUNT."""
DEV_ACCESS_KEY = "test"
DEV_SECRET = "test"  # noqa: S105 - meant to be known
"""Signs for the same principal, where --dev is given: only loopback and Unix sockets are served."""


def load(path: Path | None, overrides: dict[str, Any]) -> Settings:
    """Read the file, lay `overrides` (None: not given) over it, and check the whole. Raises ConfigurationError."""
    return from_values(given(path, overrides))


def given(path: Path | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """The same, unchecked and without defaults."""
    values = _read_toml(path) if path else {}
    return values | {name: value for name, value in overrides.items() if value is not None}


def from_values(values: dict[str, Any]) -> Settings:
    """Settings from plain data, checked."""
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"configuration: {error}") from None
    _check(settings)
    return settings


def to_json(settings: Settings) -> bytes:
    """How a supervisor hands its settings to its workers."""
    return msgspec.json.encode(settings, enc_hook=_encode_path)


def from_json(text: bytes) -> Settings:
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
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _read_token_file(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"principal {name}: token_file {path}: {error}") from None


def _check(settings: Settings) -> None:
    if not settings.regions:
        raise ConfigurationError(
            "no region: give --region eu-central-1 (once per region), or regions = [...] in the file"
        )
    for region in settings.regions:
        _require(REGION.fullmatch(region), f"region {region!r}: not of the form eu-central-1")
    for service in settings.managed_services:
        _require(SERVICE_NAME.fullmatch(service), f"managed_services: {service!r} is not of the form s3")
    _require(len(set(settings.regions)) == len(settings.regions), "a region is named twice")
    _require(ACCOUNT.fullmatch(settings.service_account), "service_account: 12 digits are needed")
    _require(1 <= settings.workers <= 256, "workers: 1 to 256")
    _check_numbers(settings)
    _check_doors(settings)
    _check_principals(settings)


def _check_numbers(settings: Settings) -> None:
    numbers = {f"quotas.{name}": getattr(settings.quotas, name) for name in settings.quotas.__struct_fields__}
    numbers |= {f"limits.{name}": getattr(settings.limits, name) for name in settings.limits.__struct_fields__}
    for name, number in numbers.items():
        _require(number >= 1, f"{name}: must be 1 or more, is {number}")
    _require(settings.limits.message_bytes >= 256 * 1024, "limits.message_bytes: at least 262144")
    _require(0 < settings.drain_seconds <= 3600, "drain_seconds: more than 0, at most 3600")
    _require(settings.log_level in ("debug", "info", "warning", "error"), "log_level: debug, info, warning or error")


def _check_principals(settings: Settings) -> None:
    principals = settings.principals
    names = [principal.name for principal in principals]
    _require(len(set(names)) == len(names), "two principals have the same name")
    _require(not (settings.dev and DEV_NAME in names), f"principal {DEV_NAME}: --dev makes one of that name")
    for principal in principals:
        _require(ACCOUNT.fullmatch(principal.account), f"principal {principal.name}: account must be 12 digits")
        own = principal.account == settings.service_account
        _require(not own, f"principal {principal.name}: account {principal.account} is the service's own")
        _require(principal.arn.startswith("arn:"), f"principal {principal.name}: arn must begin with arn:")


def _check_doors(settings: Settings) -> None:
    doors = {"listen": settings.listen}
    if settings.aws_listen is not None:
        doors["aws_listen"] = settings.aws_listen
    for name, address in doors.items():
        _check_door(settings, name, address)
    all_unix = all(address.startswith("unix:") for address in doors.values())
    _require(settings.tls is None or not all_unix, "tls: Unix sockets have none; give listen HOST:PORT, or no [tls]")
    if settings.metrics_listen is not None:
        _require(not settings.metrics_listen.startswith("unix:"), "metrics_listen: HOST:PORT is needed")
        on_machine = check_listen(settings.metrics_listen, "metrics_listen")
        _require(on_machine, f"metrics_listen {settings.metrics_listen!r}: {ONLY_LOOPBACK}")


def _check_door(settings: Settings, name: str, address: str) -> None:
    """Tokens and plaintexts never leave the machine in clear: without TLS, loopback and Unix sockets are all that is
    served, and no option changes that. What is meant for this machine alone stays on it under TLS as well."""
    if check_listen(address, name):
        return
    refused = f"{name} {address!r}: {ONLY_LOOPBACK}"
    _require(settings.tls is not None, f"{refused}, unless under TLS: {_GIVE_A_CERTIFICATE}")
    _require(not settings.bench, f"{refused} with bench: anybody may call its echo")
    _require(name == "listen" or not settings.dev, f"{refused} with dev: everybody knows its access key's secret")


ONLY_LOOPBACK = "only loopback (127.0.0.1, [::1]) or unix:/path can be served"
_GIVE_A_CERTIFICATE = "give [tls] certificate_file and key_file, or --tls-certificate and --tls-key"


def check_listen(address: str, name: str = "listen") -> bool:
    """Whether it is on this machine alone: loopback, or a Unix socket. ConfigurationError for what is no address."""
    if address.startswith("unix:"):
        _require(len(address) > len("unix:"), f"{name}: unix: needs a path")
        return True
    host, _, port = address.rpartition(":")
    well_formed = host and "/" not in host and port.isdigit() and int(port) < 65536
    _require(well_formed, f"{name} {address!r}: HOST:PORT or unix:/path is needed")
    host = host.strip("[]")
    return host == "localhost" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require(condition: object, text: str) -> None:
    if not condition:
        raise ConfigurationError(text)
