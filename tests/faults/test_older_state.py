"""A server on state that is old, replaced or gone: files removed and exchanged under it, and logs that were lost."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from kms_grpc.registry.sql.library import sqlite3
from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.service import REGION, Caller, Refused, Service, wait_until
from tests.faults.test_refused_starts import assert_does_not_start

SECOND = "eu-west-1"
COPIED_SECONDS = 5
"""Five times the period in which the keeper copies the log into the shard."""
CONNECTIONS = 8
"""Enough for the kernel to give some to each worker."""


@dataclass
class Running:
    """A server of two regions with a key in each."""

    service: Service
    callers: list[Caller]
    blobs: dict[str, bytes]
    keys: dict[str, str]

    def decrypt(self, region: str = REGION) -> list[str]:
        """Decrypts over each connection; returns the errors."""
        errors = []
        for caller in self.callers:
            try:
                caller.call("Decrypt", pb.DecryptRequest(ciphertext_blob=self.blobs[REGION]))
            except Refused as refused:
                errors.append(f"{refused.reason} {refused.text}")
        return errors


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    service = Service(tmp_path / "data", (REGION, SECOND))
    callers: list[Caller] = []
    try:
        service.start()
        made = Running(service, callers, {}, {})
        for region in service.regions:
            caller = service.caller(region)
            key = caller.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id
            made.keys[region] = key
            made.blobs[region] = caller.call("Encrypt", pb.EncryptRequest(key_id=key, plaintext=b"x")).ciphertext_blob
            caller.close()
        wait_until((service.data_dir / "run" / "address").exists, "all processes are ready", 30)
        callers += [service.caller() for _ in range(CONNECTIONS)]
        assert made.decrypt() == []
        yield made
    finally:
        for caller in callers:
            caller.close()
        service.close()


def shard(service: Service, region: str = REGION) -> Path:
    return service.data_dir / "regions" / f"{region}.sqlite"


def check(service: Service) -> tuple[int, str]:
    command = [sys.executable, "-m", "kms_grpc", "check", "--data-dir", str(service.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.xdist_group("older")
def test_a_second_server_is_refused_although_lock_and_run_were_removed(running: Running, tmp_path: Path) -> None:
    (running.service.data_dir / "lock").unlink()
    second = Service(running.service.data_dir, (REGION, SECOND))
    second.log = tmp_path / "second.log"
    try:
        process = second.exec()
        assert process.wait(60) not in (0, None)
        assert "is in use by another server" in second.log_text()
    finally:
        second.close()
    assert running.decrypt() == []


def replace_words(run: Path) -> None:
    shutil.copy(run / "words", run / "copy")
    (run / "copy").replace(run / "words")


WORDS_GONE: list[tuple[str, Callable[[Path], object]]] = [
    ("another file is in their place", replace_words),
    ("the file was removed", lambda run: (run / "words").unlink()),
    ("the folder was removed", shutil.rmtree),
]


@pytest.mark.xdist_group("older")
@pytest.mark.parametrize(("what", "change"), WORDS_GONE, ids=[case[0] for case in WORDS_GONE])
def test_processes_obey_each_other_after_the_words_were_replaced(
    running: Running, what: str, change: Callable[[Path], object]
) -> None:
    """All processes start anew with one file, so a key that is then disabled opens nowhere."""
    service = running.service
    address = service.data_dir / "run" / "address"
    change(service.data_dir / "run")
    wait_until(lambda: "was replaced while the server runs" in service.log_text(), "it is noticed", 5)
    wait_until(lambda: not address.exists(), "the processes are started anew", 5)
    wait_until(address.exists, "all processes are ready again", 30)
    assert service.becomes_ready()
    caller = service.caller()
    caller.call("DisableKey", pb.DisableKeyRequest(key_id=running.keys[REGION]))
    caller.close()
    errors = running.decrypt()
    assert [error.split()[0] for error in errors] == ["DisabledException"] * CONNECTIONS


@pytest.mark.xdist_group("older")
def test_a_restore_over_a_running_server_stops_the_region(running: Running, tmp_path: Path) -> None:
    service = running.service
    with closing(sqlite3.connect(shard(service))) as source, closing(sqlite3.connect(tmp_path / "older")) as copy:
        source.backup(copy)
    (tmp_path / "older").replace(shard(service))
    began = time.monotonic()
    wait_until(lambda: len(running.decrypt()) == CONNECTIONS, "the region is served no more", 20)
    assert time.monotonic() - began < 8, "a second, on a machine that is not busy"
    assert all("was replaced or moved while the server runs" in error for error in running.decrypt())
    other = service.caller(SECOND)
    other.call("Decrypt", pb.DecryptRequest(ciphertext_blob=running.blobs[SECOND]))
    other.close()


def delete_folder(folder: Path) -> None:
    """Deletes a folder in which others make files meanwhile."""
    while folder.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
            return


def first_records(service: Service) -> list[str]:
    """Returns the name of the first event in each worker's log that has one."""
    logs = (service.data_dir / "audit").glob("worker-*.jsonl")
    return [json.loads(line)["eventName"] for log in logs for line in log.read_text().splitlines()[:1]]


@pytest.mark.xdist_group("older")
def test_a_deleted_audit_folder_leaves_a_record_of_the_gap(running: Running) -> None:
    service = running.service
    delete_folder(service.data_dir / "audit")
    errors = running.decrypt()
    assert all("its file was deleted" in error for error in errors)
    wait_until(lambda: running.decrypt() == [], "the logs are made anew", 10)
    wait_until(lambda: len(first_records(service)) == 2, "a worker without calls begins its log anew as well", 10)
    assert first_records(service) == ["AuditLogGap"] * 2
    wait_until(lambda: "audit log was deleted while it ran" in check(service)[1], "the workers' beats tell of it", 20)
    assert check(service)[0] != 0


@pytest.mark.xdist_group("older")
def test_a_log_that_was_lost_in_a_crash_is_noticed_and_can_be_accepted(running: Running) -> None:
    service = running.service
    assert check(service)[0] in (0, 1)
    time.sleep(COPIED_SECONDS)  # the keys of `running` are in the shard's own file now
    for _ in range(5):
        running.callers[0].call("CreateKey", pb.CreateKeyRequest())
    service.kill()
    shard(service).with_name(f"{REGION}.sqlite-wal").unlink()
    assert_does_not_start(service, [f"{REGION}.sqlite", "commits are missing", "--accept-older"])
    code, said = check(service)
    assert (code != 0, "commits are missing" in said) == (True, True), said
    service.more.append("--accept-older")
    service.start()
    service.more.remove("--accept-older")
    assert running.decrypt() == []
    assert service.stop() == 0
    service.start()
    log = service.data_dir / "audit" / "keeper.jsonl"
    wait_until(lambda: '"eventName":"AcceptOlderShard"' in log.read_text(), "the keeper has copied the record", 20)
