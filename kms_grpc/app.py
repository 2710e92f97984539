"""The composition root: the one module that names concrete classes, and the roles that `kms-grpc` runs.

| role | process | does |
|---|---|---|
| serve | supervisor | starts the others, restarts what dies, holds no key |
| prepare | one-off, before the others | makes and migrates shards, checks root key and configuration |
| worker | one per core | serves the doors |
| keeper | one | what happens by the clock, metrics |
"""

from __future__ import annotations

import secrets
from pathlib import Path

from kms_grpc.audit.counters import Counters
from kms_grpc.audit.log import FileAuditLog
from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authorization.account_only import AccountOnly
from kms_grpc.clock import Clock, SystemClock
from kms_grpc.config import DEV_ACCOUNT, ConfigurationError, Settings
from kms_grpc.crypto.keyring import open_keyring
from kms_grpc.model.principal import Principal
from kms_grpc.operations.call import Service
from kms_grpc.operations.table import NAMES
from kms_grpc.registry import first_start
from kms_grpc.registry.shards import Shards
from kms_grpc.root_key.file import RootKeyFile

SLOTS_BESIDE_MATERIALS = 64
"""For the root key at start and the regions' keys."""


def registry_service(settings: Settings) -> first_start.Service:
    return first_start.Service(settings.data_dir, settings.regions, settings.partition, settings.service_account)


def root_key_source(settings: Settings) -> RootKeyFile:
    return RootKeyFile(settings.data_dir / "root.key")


def prepare(settings: Settings, clock: Clock | None = None) -> None:
    """First start, migrations and checks. Raises first_start.WillNotStart or ConfigurationError, each with a way out."""
    open_keyring(SLOTS_BESIDE_MATERIALS)
    if settings.dev:
        _provide_dev_token(settings.data_dir / "dev.token")
    principals(settings)
    first_start.prepare(registry_service(settings), root_key_source(settings), clock or SystemClock())


def open_shards(settings: Settings) -> Shards:
    open_keyring(settings.limits.cached_keys + SLOTS_BESIDE_MATERIALS + 4 * len(settings.regions))
    return first_start.open_shards(registry_service(settings), root_key_source(settings), settings.limits.cached_keys)


def build_service(settings: Settings, worker: int, clock: Clock | None = None) -> Service:
    """One worker's parts. The shards must have been prepared."""
    clock = clock or SystemClock()
    log = settings.data_dir / "audit" / f"worker-{worker}.jsonl"
    return Service(
        shards=open_shards(settings),
        authentication=principals(settings),
        authorizer=AccountOnly(),
        audit_log=FileAuditLog(log, clock, reserve_bytes=AUDIT_RESERVE_BYTES // settings.workers),
        counters=Counters.open(settings.data_dir / "run" / f"counters-{worker}", NAMES),
        clock=clock,
        quotas=settings.quotas,
        limits=settings.limits,
    )


AUDIT_RESERVE_BYTES = 64 * 1024 * 1024


def principals(settings: Settings) -> BearerTokens:
    """The configured callers, and with --dev the root of account 123456789012."""
    known = [(p.read_token(), Principal(p.name, p.arn, p.account, p.service)) for p in settings.principals]
    if settings.dev:
        token = (settings.data_dir / "dev.token").read_text("ascii").strip()
        known.append((token, Principal("dev", f"arn:{settings.partition}:iam::{DEV_ACCOUNT}:root", DEV_ACCOUNT)))
    if not known:
        raise ConfigurationError("nobody may call: give [[principals]] in the configuration, or --dev for one on this machine")
    try:
        return BearerTokens(known)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _provide_dev_token(path: Path) -> None:
    """32 random bytes in hex, readable by its owner alone; kept over restarts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.read_text("ascii").strip():
        return
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(secrets.token_hex(32) + "\n", "ascii")
