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
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kms_grpc.audit.base import AuditLog
from kms_grpc.audit.counters import Counters
from kms_grpc.audit.log import RESERVE_BYTES, FileAuditLog
from kms_grpc.authentication.assertions import Assertions, assertions_of
from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.callers import Callers
from kms_grpc.authentication.certificates import Certificates, certificates_of
from kms_grpc.authentication.in_force import Configured, InForce
from kms_grpc.authentication.key_sources import KeySources
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
    Source,
)
from kms_grpc.configured_files import DISK, KeptFiles, NamedFiles
from kms_grpc.crypto import envelope
from kms_grpc.crypto.keyring import keyring_facts, libcrypto_advice, libcrypto_version, open_keyring
from kms_grpc.model.principal import Principal
from kms_grpc.operations.call import Service
from kms_grpc.operations.executor import Executor
from kms_grpc.operations.table import COUNTED, TABLE
from kms_grpc.principal_settings import CredentialSettings, PrincipalSettings, digest_of, same_tokens
from kms_grpc.processes import keeper as keeper_process
from kms_grpc.processes import logs
from kms_grpc.processes import prepare as prepare_process
from kms_grpc.processes import worker as worker_process
from kms_grpc.processes.child_protocol import AT_START, Offer, Taken
from kms_grpc.processes.isolation import python_module
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.processes.supervisor import Supervisor
from kms_grpc.registry import provisioning
from kms_grpc.registry.access_keys import StoredSigners
from kms_grpc.registry.readiness_key import ReadinessKeys
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.sessions import Sessions
from kms_grpc.registry.shards import Shard, Shards
from kms_grpc.registry.sql.library import sqlite_advice, sqlite_version
from kms_grpc.root_key.file import RootKeyFile

if TYPE_CHECKING:
    from kms_grpc.endpoints.doors import Beside

SLOTS_BESIDE_MATERIALS = 64
"""Keyring slots for the root key at start and for the regions' keys."""


def serve(settings: Settings, source: Source | None = None, module: str = "kms_grpc") -> int:
    """`kms-grpc serve`; returns its exit code. `source` is where the settings are read again; without it only the files
    that they name are. `module` is run with the role of each child as its argument."""
    return Supervisor(settings, lambda role, index: python_module(module, role), COUNTED, source=source).run()


def run_prepare() -> int:
    return prepare_process.run(prepare)


def run_worker() -> int:
    return worker_process.run(Worker)


def run_keeper() -> int:
    return keeper_process.run(Keeper)


class Worker:
    """One serving process: the executor behind both doors."""

    def __init__(self, settings: Settings, index: int, taken: Taken = AT_START, beside: Beside | None = None) -> None:
        # Only here: neither the supervisor nor the keeper loads grpc, and a worker's environment is set by now.
        from kms_grpc.endpoints.doors import NOTHING_BESIDE, Doors

        self._log = audit_log(settings, index)
        self._clock = JudgedClock(SystemClock())
        self.service = build_service(settings, index, self._log, self._clock, taken)
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
            "credentials_throttled": self.service.failures.not_written,
            "audit_not_written": self.service.sampling.not_written,
            "audit_held_bytes": log.held_bytes,
            "audit_reserve_bytes": log.reserve_bytes,
            "audit_blocked": int(log.blocked),
            "audit_gaps": log.gaps,
            **self.server.gauges(),
        }

    def prepare(self, offer: Offer) -> None:
        """Has the configuration of an offer ready. Raises ConfigurationError."""
        assert self.service.in_force is not None
        in_force = self.service.in_force
        in_force.prepare(configured(offer.settings(), self._clock, offer.taken, in_force.sources))

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
    configured(settings, SystemClock())
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


def build_service(
    settings: Settings, worker: int, log: AuditLog, clock: Clock | None = None, taken: Taken = AT_START
) -> Service:
    """Returns one worker's parts. The shards must have been prepared. `taken` is what the supervisor has read of the
    files that the settings name."""
    clock = clock or JudgedClock(SystemClock())
    shards = open_shards(settings)
    words = shards.default.words
    sources = KeySources()
    in_force = InForce(configured(settings, clock, taken, sources), sources, words.configuration_number.reader())

    def keep(row: OutboxRow) -> None:
        log.append(row.record)

    signers = StoredSigners(shards.default, in_force.principal_named, fixed_signers(settings), clock, keep)
    sessions = Sessions(shards.default, in_force.principal_named, in_force.digest_of, clock, keep)
    return Service(
        shards=shards,
        authentication=Callers(in_force, SignatureV4(signers, clock.wall_ns, sessions)),
        authorizer=Policies(in_force.policies, StoredKeyPolicies(shards.key_policy)),
        audit_log=log,
        counters=Counters.open(RunFolder(settings.data_dir).counters(worker), COUNTED),
        clock=clock,
        managed_services=frozenset(settings.managed_services),
        non_committing_suites=settings.non_committing_suites,
        quotas=settings.quotas,
        limits=settings.limits,
        configured=in_force.principal_with_arn,
        serves_tls=settings.tls is not None,
        in_force=in_force,
    )


def configured(
    settings: Settings, clock: Clock, taken: Taken = AT_START, sources: KeySources | None = None
) -> Configured:
    """Returns the callers that the settings describe. Keys of issuers are fetched with `sources` alone. Raises
    ConfigurationError."""
    files = KeptFiles(taken.files)
    assertions, certificates = vouchers(settings, clock, files, sources)
    tokens = bearer_tokens(settings, clock, files, assertions)
    policies = identities([*settings.principals, *settings.mappings], files)
    digests = {each.name: digest_of(each, files) for each in callers(settings)}
    known = principals(settings)
    return Configured(taken.number, known, tokens, policies, digests, certificates, assertions.sources)


def vouchers(
    settings: Settings, clock: Clock, files: NamedFiles, sources: KeySources | None = None
) -> tuple[Assertions, Certificates]:
    """Returns who vouches for callers that are not listed: issuers and CAs. Raises ConfigurationError."""
    return (
        assertions_of(settings.issuers, settings.mappings, files, sources, clock.wall_ns),
        certificates_of(settings.client_bundles, settings.mappings, files, clock.wall_ns),
    )


def fixed_signers(settings: Settings) -> FixedSigners:
    """Returns the signers whose secrets are known at start: with --dev that of the access key `test`."""
    test = [(DEV_ACCESS_KEY, DEV_SECRET, principals(settings)[DEV_NAME])] if settings.dev else []
    return FixedSigners(test)


def callers(settings: Settings) -> list[PrincipalSettings]:
    """Returns the configured callers, and with --dev the root of account 123456789012."""
    root = PrincipalSettings(DEV_NAME, f"arn:aws:iam::{DEV_ACCOUNT}:root", DEV_ACCOUNT)
    return [*settings.principals, *([root] if settings.dev else [])]


def principals(settings: Settings) -> dict[str, Principal]:
    """Returns the same callers by name."""
    return {each.name: Principal(each.name, each.arn, each.account, each.service) for each in callers(settings)}


def bearer_tokens(
    settings: Settings, clock: Clock, files: NamedFiles = DISK, assertions: Assertions | None = None
) -> BearerTokens:
    """Returns the bearer tokens of all principals. Raises ConfigurationError if there is none, or one cannot be
    used."""
    of = principals(settings)
    known = [(one, of[name]) for name, one in same_tokens(settings.principals, files)]
    if settings.dev:
        dev = CredentialSettings(token_file=settings.data_dir / "dev.token")
        known.append((dev.read(), of[DEV_NAME]))
    if not (of or settings.mappings):
        raise ConfigurationError(
            "nobody may call: give [[principals]] in the configuration, or --dev for one on this machine"
        )
    logs.hide_digests((one.length, one.digest) for one, _ in known if one.length is not None)
    return BearerTokens(known, clock.wall_ns, assertions.holder if assertions and settings.issuers else None)


def _provide_dev_token(path: Path) -> None:
    """Writes 32 random bytes in hex, readable by the owner alone. Keeps a token that is there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.read_text("ascii").strip():
        return
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(envelope.random_bytes(32).hex() + "\n", "ascii")
