"""The findings of `kms-grpc check` about the machine, a data directory and a running server. Nothing is changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kms_grpc.crypto.keyring import forbid_core_dumps, keyring_facts, libcrypto_advice, libcrypto_version, open_keyring
from kms_grpc.processes import claims
from kms_grpc.processes.gauges import KEEPER, WORKER, Gauges
from kms_grpc.processes.ownership import of_another_user
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.registry.known import refuse_if_known
from kms_grpc.registry.own_row import WillNotStart, read_own_row
from kms_grpc.registry.provisioning import examine
from kms_grpc.registry.sql.library import sqlite_advice, sqlite_version
from kms_grpc.root_key.file import RootKeyFile

if TYPE_CHECKING:
    from kms_grpc.client import Connection
    from kms_grpc.root_key.base import RootKey

KEYRING_SLOTS: Final = 16_384 + 64
"""Keyring slots of a worker by default: the check locks as much memory as a worker does."""
ROOM_NEEDED: Final = 64 * 2**20
"""Free bytes. A file system with less is full, or soon will be."""
ROOM_NOTED: Final = 1024 * 2**20
RENEW_DAYS: Final = 7
"""A certificate that expires within so many days is noted."""
_NAMES_SHOWN: Final = 5


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    """A hint; nothing is wrong."""
    BAD = "BAD"


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    verdict: Verdict
    text: str


def examine_machine() -> Iterator[Finding]:
    """Yields findings about libcrypto, and about keeping keys out of swap and core dumps."""
    yield Finding("libcrypto", Verdict.OK, libcrypto_version())
    advice = libcrypto_advice()
    if advice:
        yield Finding("libcrypto", Verdict.NOTE, advice)
    sqlite = sqlite_advice()
    yield Finding("sqlite", Verdict.BAD if sqlite else Verdict.OK, sqlite or sqlite_version())
    forbid_core_dumps()
    open_keyring(KEYRING_SLOTS)
    facts = keyring_facts()
    kept_out = facts.left_out_of_dumps and facts.wiped_on_fork
    yield Finding("memory", Verdict.OK if facts.locked else Verdict.BAD, _locked("keys", facts.locked))
    dumps = "keys are left out of core dumps and forks" if kept_out else "the kernel keeps keys in core dumps or forks"
    yield Finding("memory", Verdict.OK if kept_out else Verdict.BAD, dumps)


def examine_data_dir(data_dir: Path, marks_dir: Path | None = None) -> Iterator[Finding]:
    """Yields findings about the root key, shards, rows, marks and permissions of a data directory.

    The directory's server may be running or not.
    """
    if not data_dir.is_dir():
        yield Finding(str(data_dir), Verdict.BAD, "there is no such directory")
        return
    if foreign := of_another_user(data_dir, "kms-grpc", "check", "--data-dir", str(data_dir)):
        yield Finding("data directory", Verdict.BAD, foreign)
        return
    yield from _examine_permissions(data_dir)
    yield from _examine_room(data_dir)
    try:
        root = RootKeyFile(data_dir / "root.key").open()
    except Exception as error:  # each of the many possible errors has a text that says what is wrong
        yield Finding("root key", Verdict.BAD, str(error))
        yield from _wanted_root_keys(data_dir / "regions")
        return
    try:
        yield Finding("root key", Verdict.OK, f"fingerprint {root.fingerprint}")
        yield from _examine_shards(data_dir, marks_dir or data_dir / "marks", root)
    finally:
        root.close()


def _wanted_root_keys(folder: Path) -> Iterator[Finding]:
    """Yields, for each shard, the fingerprint of the root key that it needs."""
    for path in sorted(folder.glob("*.sqlite")):
        try:
            wanted = f"needs the root key {read_own_row(path).root_fingerprint}: put it back as root.key"
        except WillNotStart as error:
            wanted = str(error)
        yield Finding(f"region {path.stem}", Verdict.BAD, wanted)


def _examine_shards(data_dir: Path, marks: Path, root: RootKey) -> Iterator[Finding]:
    folder = data_dir / "regions"
    shards = sorted(folder.glob("*.sqlite"))
    if not shards:
        yield Finding(
            "regions", Verdict.BAD, f"no shard in {folder}: this is no data directory, or no server was started on it"
        )
    for path in shards:
        yield from _examine_shard(path, marks / f"{path.stem}.mark", root)
    for mark in sorted(marks.glob("*.mark")):
        if not (folder / f"{mark.stem}.sqlite").exists():
            try:
                refuse_if_known(data_dir, folder / f"{mark.stem}.sqlite", mark)
            except WillNotStart as error:
                yield Finding(f"region {mark.stem}", Verdict.BAD, str(error))


def _examine_shard(path: Path, mark: Path, root: RootKey) -> Iterator[Finding]:
    subject = f"region {path.stem}"
    try:
        row, damaged, different = examine(path, root, mark)
    except WillNotStart as error:
        yield Finding(subject, Verdict.BAD, str(error))
        return
    if row.region != path.stem:
        yield Finding(subject, Verdict.BAD, f"{path} is the shard of {row.region}: rename it to {row.region}.sqlite")
    yield Finding(
        subject, Verdict.OK, f"partition {row.partition}, account {row.account}, root key {row.root_fingerprint}"
    )
    for name in damaged:
        yield Finding(subject, Verdict.BAD, f"changed on disk: {name}. Restore it from a backup")
    for difference in different:
        yield Finding(subject, Verdict.BAD, f"not what was committed last: {difference}. Put the newest copy back")
    if not damaged and not different:
        yield Finding(subject, Verdict.OK, "all rows are as they were written last, and the mark knows no later ones")


def _examine_permissions(data_dir: Path) -> Iterator[Finding]:
    open_to_others = [path for path in (data_dir, *data_dir.rglob("*")) if _is_open(path)]
    if open_to_others and not _is_open(data_dir):
        open_to_others = [path for path in open_to_others if path.name in ("root.key", "dev.token")]
    if not open_to_others:
        yield Finding("permissions", Verdict.OK, "nothing is open to other users")
        return
    shown = ", ".join(map(str, open_to_others[:_NAMES_SHOWN]))
    yield Finding("permissions", Verdict.BAD, f"open to other users: {shown}. Way out: chmod -R go= {data_dir}")


def _examine_room(data_dir: Path) -> Iterator[Finding]:
    """Yields a finding for each file system that holds a part of the data directory."""
    parts = {path.stat().st_dev: path for path in (data_dir, *_folders(data_dir)) if path.is_dir()}
    for path in parts.values():
        facts = os.statvfs(path)
        free = facts.f_bavail * facts.f_frsize
        no_files = facts.f_files > 0 and facts.f_favail == 0
        text = f"{free // 2**20:,} MiB free where {path} is" + (", but no room for another file" if no_files else "")
        if free < ROOM_NEEDED or no_files:
            yield Finding("room", Verdict.BAD, f"{text}: make room, or writes and audited calls are refused")
        else:
            yield Finding("room", Verdict.NOTE if free < ROOM_NOTED else Verdict.OK, text)


def _folders(data_dir: Path) -> list[Path]:
    return [data_dir / "run", data_dir / "audit", data_dir / "regions", data_dir / "marks"]


def _is_open(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def served_addresses(data_dir: Path) -> list[str]:
    """Returns the gRPC addresses of the server that runs on a data directory; empty if none runs."""
    return _written_lines(RunFolder(data_dir).address) if claims.is_held(data_dir) else []


def _written_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def own_connections(data_dir: Path) -> Iterator[Connection]:
    """Yields a connection per gRPC address of the server that runs on a data directory; none if no server runs.

    Under TLS the server is trusted by its own certificate, and under one of the certificate's names, since the address
    that it listens on may be none of them.
    """
    from kms_grpc.client import Connection

    certificate = _written_lines(RunFolder(data_dir).tls_certificate)
    ca = Path(certificate[0]) if certificate else None
    for address in served_addresses(data_dir):
        yield Connection(address, tls_ca=ca, tls_name=_some_name(ca) if ca else None)


def _some_name(certificate: Path) -> str | None:
    from cryptography import x509

    from kms_grpc.endpoints.certificate import names_of

    try:
        names = [*names_of(x509.load_pem_x509_certificates(certificate.read_bytes())[0])]
    except (OSError, ValueError):
        return None
    return names[0].replace("*", "check") if names else None


def examine_workers(data_dir: Path) -> Iterator[Finding]:
    """Yields findings about the running processes, read from their gauges; none if no server runs."""
    if not served_addresses(data_dir):
        return
    run = RunFolder(data_dir)
    keeper = Gauges(run.keeper_gauges, KEEPER).values()
    if keeper["registry_writable"] == 0:
        yield Finding("keeper", Verdict.BAD, "the registry cannot be written: the server's log says why")
    for path in sorted(run.folder.glob("gauges-worker-*")):
        gauges = Gauges(path, WORKER).values()
        name = path.name.removeprefix("gauges-")
        yield Finding(
            name,
            Verdict.OK if gauges["memory_locked"] else Verdict.BAD,
            _locked("its keys", bool(gauges["memory_locked"])),
        )
        yield from _certificate_ending(name, gauges["tls_seconds_to_expiry"])
        if gauges["audit_blocked"]:
            yield Finding(name, Verdict.BAD, "the audit log cannot be written: free space on the disk")
        if gauges["audit_gaps"]:
            yield Finding(name, Verdict.BAD, "its audit log was deleted while it ran: restore it from a backup")
        if gauges["audit_dropped"]:
            yield Finding(
                name, Verdict.BAD, f"{gauges['audit_dropped']} audit records were lost: the log could not be written"
            )


def _certificate_ending(name: str, seconds: int) -> Iterator[Finding]:
    """Yields a finding if a worker's certificate has expired or will soon. `seconds` is 0 for a worker without TLS."""
    if seconds < 0:
        yield Finding(name, Verdict.BAD, "its TLS certificate has expired: put a new one into the configured files")
    elif 0 < seconds < RENEW_DAYS * 86_400:
        yield Finding(name, Verdict.NOTE, f"its TLS certificate expires in {seconds // 3600} hours")


def examine_server(connection: Connection) -> Iterator[Finding]:
    """Yields a finding about a server's health, or that it does not answer."""
    from kms_grpc.client import ServiceUnreachable
    from kms_grpc.client.health import SERVING, health

    try:
        state = health(connection)
    except ServiceUnreachable as error:
        yield Finding("server", Verdict.BAD, f"no answer: {error}")
        return
    yield Finding("server", Verdict.OK if state == SERVING else Verdict.BAD, f"{connection.endpoint} is {state}")


def _locked(whose: str, locked: bool) -> str:
    if locked:
        return f"{whose} are locked in memory"
    return f"{whose} may be swapped to disk: allow locking (ulimit -l 8192, LimitMEMLOCK=8M, or CAP_IPC_LOCK)"
