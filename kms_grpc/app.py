"""The composition root: the only module that names concrete classes, and the roles that `kms-grpc` runs.

| role | process | does |
|---|---|---|
| serve | supervisor | starts the others, restarts what dies, holds no key |
| prepare | one-off, before the others | makes and migrates shards, checks root key and configuration |
| worker | one per core | serves the doors |
| keeper | one | deletes, expires and rotates keys when they are due; copies the audit records of writes |
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kms_grpc.audit.base import AuditLog
from kms_grpc.audit.counters import Counters
from kms_grpc.audit.log import RESERVE_BYTES, FileAuditLog
from kms_grpc.authentication.base import Authentication
from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.callers import Callers
from kms_grpc.authentication.signature_v4 import FixedSigners, SignatureV4
from kms_grpc.authorization.authorizer import Policies
from kms_grpc.authorization.identity_policies import identities
from kms_grpc.authorization.key_policies import StoredKeyPolicies
from kms_grpc.clock import Clock, JudgedClock, SystemClock
from kms_grpc.config import (
    DEV_ACCESS_KEY,
    DEV_ACCOUNT,
    DEV_NAME,
    DEV_SECRET,
    ConfigurationError,
    Settings,
)
from kms_grpc.crypto import envelope
from kms_grpc.crypto.keyring import keyring_facts, libcrypto_advice, libcrypto_version, open_keyring
from kms_grpc.model.principal import Principal
from kms_grpc.operations.call import Service
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.table import COUNTED, TABLE
from kms_grpc.processes import keeper as keeper_process
from kms_grpc.processes import logs
from kms_grpc.processes import prepare as prepare_process
from kms_grpc.processes import worker as worker_process
from kms_grpc.processes.isolation import python_module
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.processes.supervisor import Supervisor
from kms_grpc.registry import provisioning
from kms_grpc.registry.access_keys import StoredSigners
from kms_grpc.registry.readiness_key import ReadinessKeys
from kms_grpc.registry.shards import Shard, Shards
from kms_grpc.registry.sql.library import sqlite_advice, sqlite_version
from kms_grpc.root_key.file import RootKeyFile
from kms_grpc.token_files import read_token

if TYPE_CHECKING:
    from kms_grpc.endpoints.doors import Beside

SLOTS_BESIDE_MATERIALS = 64
"""Keyring slots for the root key at start and for the regions' keys."""


def serve(settings: Settings, module: str = "kms_grpc") -> int:
    """`kms-grpc serve`; returns its exit code. `module` is run with the role of each child as its argument."""
    return Supervisor(settings, lambda role, index: python_module(module, role), COUNTED).run()


def run_prepare() -> int:
    return prepare_process.run(prepare)


def run_worker() -> int:
    return worker_process.run(Worker)


def run_keeper() -> int:
    return keeper_process.run(Keeper)


class Worker:
    """One serving process: the executor behind both doors."""

    def __init__(self, settings: Settings, index: int, beside: Beside | None = None) -> None:
        # Only here: neither the supervisor nor the keeper loads grpc, and a worker's environment is set by now.
        from kms_grpc.endpoints.doors import NOTHING_BESIDE, Doors

        self._log = audit_log(settings, index)
        self._clock = JudgedClock(SystemClock())
        self.service = build_service(settings, index, self._log, self._clock)
        self._readiness_keys = ReadinessKeys(self.service.shards)
        self._recorded_times = [shard.words.latest_time for shard in self.service.shards]
        self._cached_keys = [shard.keys_in_cache for shard in self.service.shards]
        self._follow_recorded_time()
        self.server = Doors(Executor(self.service), TABLE, settings, index, beside or NOTHING_BESIDE)

    def facts(self) -> Mapping[str, Any]:
        return {
            "libcrypto": libcrypto_version(),
            "sqlite": sqlite_version(),
            "advice": libcrypto_advice(),
            "sqlite_advice": sqlite_advice(),
            "memory_locked": keyring_facts().locked,
        }

    def _follow_recorded_time(self) -> None:
        served = [shard.is_served() for shard in self.service.shards]
        times = [time.value for time, is_served in zip(self._recorded_times, served, strict=True) if is_served]
        self._clock.raise_floor(max(times, default=0))

    def gauges(self) -> Mapping[str, int]:
        """Returns the worker's gauges. Called at each beat, so it also reads the latest time that a shard has
        recorded."""
        self._follow_recorded_time()
        log, keyring = self._log.facts(), keyring_facts()
        return {
            "memory_locked": int(keyring.locked),
            "keyring_slots_used": keyring.used,
            "cached_keys": sum(map(len, self._cached_keys)),
            "audit_dropped": log.dropped,
            "audit_not_written": self.service.sampling.not_written,
            "audit_held_bytes": log.held_bytes,
            "audit_reserve_bytes": log.reserve_bytes,
            "audit_blocked": int(log.blocked),
            "audit_gaps": log.gaps,
            **self.server.gauges(),
        }

    async def decrypt(self) -> None:
        await self.server.run_at_once(self._readiness_keys.decrypt)

    async def report(self, able: bool) -> None:
        await self.server.report(able)

    def close(self) -> None:
        self._log.close()
        self.service.shards.close()


class Keeper:
    """The keeper process: it deletes, expires and rotates keys when they are due."""

    def __init__(self, settings: Settings) -> None:
        self.clock: Clock = SystemClock()
        self._shards = open_shards(settings)

    @property
    def shards(self) -> Shards:
        return self._shards

    def facts(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        self._shards.close()


def installation(settings: Settings) -> provisioning.Installation:
    return provisioning.Installation(
        settings.data_dir, settings.regions, settings.partition, settings.service_account, settings.marks_dir
    )


def root_key_source(settings: Settings) -> RootKeyFile:
    return RootKeyFile(settings.data_dir / "root.key")


def prepare(settings: Settings, clock: Clock | None = None) -> None:
    """Makes or migrates the shards, and checks root key, tokens and certificate. Raises WillNotStart or
    ConfigurationError, each with a way out."""
    open_keyring(SLOTS_BESIDE_MATERIALS)
    if settings.dev:
        _provide_dev_token(settings.data_dir / "dev.token")
    bearer_tokens(settings)
    identities(settings.principals)
    if settings.tls is not None:
        from kms_grpc.endpoints import certificate

        certificate.read(settings.tls, datetime.now(UTC))
    clock = clock or SystemClock()
    provisioning.prepare(installation(settings), root_key_source(settings), clock, settings.accept_older)


def open_shards(settings: Settings) -> Shards:
    limits = settings.limits
    open_keyring(limits.cached_keys + limits.streams + SLOTS_BESIDE_MATERIALS + 4 * len(settings.regions))
    return provisioning.open_shards(installation(settings), root_key_source(settings), settings.limits.cached_keys)


@contextlib.contextmanager
def default_shard(settings: Settings, *, writes: bool = True) -> Iterator[Shard]:
    """Yields the shard that holds what belongs to the whole service, for a command beside a running server. Raises
    WillNotStart.

    A command that `writes` announces at its end that anything may have changed, even if it changed nothing itself: an
    earlier command may have been killed after its commit, and then the same command finds nothing left to do."""
    shards = open_shards(settings)
    try:
        yield shards.default
    finally:
        if writes:
            shards.default.words.announce_all()
        shards.close()


def audit_log(settings: Settings, worker: int) -> FileAuditLog:
    """Opens a worker's audit log. The workers share one reserve; each log holds an equal part."""
    path = RunFolder(settings.data_dir).worker_log(worker)
    return FileAuditLog(path, SystemClock(), reserve_bytes=RESERVE_BYTES // settings.workers)


def build_service(settings: Settings, worker: int, log: AuditLog, clock: Clock | None = None) -> Service:
    """Returns one worker's parts. The shards must have been prepared."""
    clock = clock or JudgedClock(SystemClock())
    shards = open_shards(settings)
    return Service(
        shards=shards,
        authentication=authentication(settings, shards, clock, log),
        authorizer=Policies(identities(settings.principals), StoredKeyPolicies(shards.key_policy)),
        audit_log=log,
        counters=Counters.open(RunFolder(settings.data_dir).counters(worker), COUNTED),
        clock=clock,
        managed_services=frozenset(settings.managed_services),
        non_committing_suites=settings.non_committing_suites,
        quotas=settings.quotas,
        limits=settings.limits,
        configured=principal_finder(settings),
        serves_tls=settings.tls is not None,
    )


def authentication(settings: Settings, shards: Shards, clock: Clock, log: AuditLog) -> Authentication:
    """Returns the authentication by bearer tokens and by signatures of access keys; with --dev also of the key
    `test`."""
    known = principals(settings)
    test = [(DEV_ACCESS_KEY, DEV_SECRET, known[DEV_NAME])] if settings.dev else []
    signers = StoredSigners(shards.default, known, FixedSigners(test), clock, lambda row: log.append(row.record))
    return Callers(bearer_tokens(settings), SignatureV4(signers, clock.wall_ns))


def principals(settings: Settings) -> dict[str, Principal]:
    """Returns the configured callers by name, and with --dev the root of account 123456789012."""
    known = {p.name: Principal(p.name, p.arn, p.account, p.service) for p in settings.principals}
    if settings.dev:
        known[DEV_NAME] = Principal(DEV_NAME, f"arn:aws:iam::{DEV_ACCOUNT}:root", DEV_ACCOUNT)
    return known


def principal_finder(settings: Settings) -> Callable[[str], Principal | None]:
    """Returns a function that finds a configured principal by its ARN, in whatever partition."""
    found = {principal.within("aws").arn: principal for principal in principals(settings).values()}
    return lambda arn: found.get(Principal("", arn, "").within("aws").arn)


def bearer_tokens(settings: Settings) -> BearerTokens:
    """Returns the bearer tokens of all principals. Raises ConfigurationError if there is none, or one cannot be
    used."""
    of = principals(settings)
    known = [(each.read_token(), of[each.name]) for each in settings.principals]
    if settings.dev:
        known.append((read_token(settings.data_dir / "dev.token"), of[DEV_NAME]))
    if not known:
        raise ConfigurationError(
            "nobody may call: give [[principals]] in the configuration, or --dev for one on this machine"
        )
    logs.hide(token for token, _ in known)
    try:
        return BearerTokens(known)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _provide_dev_token(path: Path) -> None:
    """Writes 32 random bytes in hex, readable by the owner alone. Keeps a token that is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.read_text("ascii").strip():
        return
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(envelope.random_bytes(32).hex() + "\n", "ascii")
