"""A full disk: writes are refused, stored rows stay readable, calls are served as long as they can be audited, and
everything is served again once there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.processes.gauges import KEEPER, Gauges
from kms_grpc.processes.run_folder import RunFolder
from kms_grpc.v1 import key_management_pb2 as pb
from tests.examples import ORDERS
from tests.faults.service import Refused, Service, wait_until
from tests.faults.verification import listed_keys

CALLERS = 6
"""Number of connections, enough to reach both workers."""
CALLS = 300


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Fills the disk to the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


class Callers:
    """Several connections, used in turn."""

    def __init__(self, service: Service) -> None:
        self.all = [service.caller() for _ in range(CALLERS)]
        self.turn = 0

    def call(self, name: str, request: Any) -> Any:
        self.turn += 1
        return self.all[self.turn % CALLERS].call(name, request)

    def refusal(self, name: str, request: Any) -> str:
        try:
            self.call(name, request)
        except Refused as refused:
            return refused.reason
        return "none"

    def close(self) -> None:
        for caller in self.all:
            caller.close()


@pytest.mark.parametrize(
    ("disk", "audited"),
    [
        pytest.param(128, True, id="with the audit log's reserve"),
        pytest.param(16, False, id="too small for a reserve"),
    ],
    indirect=["disk"],
)
def test_service_on_a_full_disk(disk: Path, audited: bool) -> None:
    service = Service(disk / "data")
    service.log = disk.with_name("log")
    try:
        service.start()
        wait_until((service.data_dir / "run" / "address").exists, "it is not started to the end")
        callers = Callers(service)
        key = callers.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id
        blob = callers.call("Encrypt", pb.EncryptRequest(key_id=key, plaintext=b"before")).ciphertext_blob
        leaking = callers.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id
        leaked = callers.call("Encrypt", pb.EncryptRequest(key_id=leaking, plaintext=b"leak")).ciphertext_blob
        grant = callers.call("CreateGrant", pb.CreateGrantRequest(key_id=key, grantee_principal=ORDERS, operations=[1]))
        filler = fill(disk)
        check_writes_are_refused(callers, key)
        check_rights_can_be_taken_away(callers, leaking, leaked)
        callers.call("RevokeGrant", pb.RevokeGrantRequest(key_id=key, grant_id=grant.grant_id))
        assert not callers.call("ListGrants", pb.ListGrantsRequest(key_id=key)).grants
        check_operators_are_told(service.data_dir)
        check_service_goes_on(callers, {key, leaking}, key, blob, audited)
        filler.unlink()
        check_all_is_back(service, callers, {key, leaking}, blob)
        callers.close()
        assert service.stop() == 0
    finally:
        service.close()


def check_writes_are_refused(callers: Callers, key: str) -> None:
    for _ in range(CALLERS):
        assert callers.refusal("CreateKey", pb.CreateKeyRequest()) == "DependencyTimeoutException"
        assert callers.refusal("EnableKey", pb.EnableKeyRequest(key_id=key)) == "DependencyTimeoutException"


def check_rights_can_be_taken_away(callers: Callers, leaking: str, blob: bytes) -> None:
    """Checks that a key can be disabled and scheduled for deletion, while use and enabling are refused."""
    callers.call("DisableKey", pb.DisableKeyRequest(key_id=leaking))
    for _ in range(CALLERS):
        assert callers.refusal("Decrypt", pb.DecryptRequest(ciphertext_blob=blob)) == "DisabledException"
        assert callers.refusal("EnableKey", pb.EnableKeyRequest(key_id=leaking)) == "DependencyTimeoutException"
    callers.call("ScheduleKeyDeletion", pb.ScheduleKeyDeletionRequest(key_id=leaking))
    assert callers.refusal("CreateKey", pb.CreateKeyRequest()) == "DependencyTimeoutException"


def check_operators_are_told(data_dir: Path) -> None:
    """Checks that the gauge tells of it, and `kms-grpc check` names the disk and the registry."""
    wait_until(lambda: not writable(data_dir), "the gauge tells nothing")
    command = [sys.executable, "-m", "kms_grpc", "check", "--data-dir", str(data_dir), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [each for each in json.loads(done.stdout)["Findings"] if each["Verdict"] == "bad"]
    assert {"room", "keeper"} <= {each["Subject"] for each in found}
    assert any("0 MiB free where" in each["Text"] for each in found)


def writable(data_dir: Path) -> bool:
    return Gauges(RunFolder(data_dir).keeper_gauges, KEEPER).values()["registry_writable"] == 1


def check_service_goes_on(callers: Callers, there: set[str], key: str, blob: bytes, audited: bool) -> None:
    """Checks that calls that need no audit record before their answer are served, and the others while the reserve
    lasts."""
    assert set(listed_keys(callers.all[0])) == there
    encrypt, decrypt = pb.EncryptRequest(key_id=key, plaintext=b"during"), pb.DecryptRequest(ciphertext_blob=blob)
    for _ in range(CALLS):
        assert callers.call("DescribeKey", pb.DescribeKeyRequest(key_id=key)).key_metadata.enabled
        assert callers.call("Encrypt", encrypt).ciphertext_blob
        if audited:
            assert callers.call("Decrypt", decrypt).plaintext == b"before"
    if not audited:
        assert {callers.refusal("Decrypt", decrypt) for _ in range(CALLERS)} == {"DependencyTimeoutException"}


def check_all_is_back(service: Service, callers: Callers, there: set[str], blob: bytes) -> None:
    """Checks that both workers serve everything again without a restart, and also after one."""
    decrypt = pb.DecryptRequest(ciphertext_blob=blob)
    wait_until(lambda: back(callers, decrypt), "it does not come back")
    wait_until(lambda: writable(service.data_dir), "the gauge tells nothing")
    made = {callers.call("CreateKey", pb.CreateKeyRequest()).key_metadata.key_id for _ in range(CALLERS)}
    assert set(listed_keys(callers.all[0])) == there | made
    service.kill()
    service.start()
    caller = service.caller()
    assert set(listed_keys(caller)) == there | made
    assert caller.call("Decrypt", decrypt).plaintext == b"before"
    caller.close()


def back(callers: Callers, decrypt: pb.DecryptRequest) -> bool:
    return all(callers.refusal("Decrypt", decrypt) == "none" for _ in range(2 * CALLERS))
