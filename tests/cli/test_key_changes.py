"""Commands that schedule deletions, tag, rotate and import, run against a real server."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kms_grpc.cli.importing import ALGORITHMS as OFFERED
from kms_grpc.cli.importing import MATERIAL_BYTES as NEEDED
from kms_grpc.cli.importing import WRAPPING_KEYS as OFFERED_KEYS
from kms_grpc.cli.upcoming import upcoming
from kms_grpc.client import wrapping
from tests.cli.conftest import Run
from tests.conftest import StartServer
from tests.served import Served, clean

NEW = "--new"


@pytest.fixture
def external(kms: Run) -> str:
    """The id of a key in state PendingImport."""
    key_id: str = kms("keys", "create", "--origin", "external", "-o", "json").json["KeyMetadata"]["KeyId"]
    return key_id


@pytest.fixture
def material(tmp_path: Path) -> Path:
    file = tmp_path / "material"
    file.write_bytes(os.urandom(32))
    return file


def row_of(kms: Run, key_id: str) -> str:
    """Returns the key's line of `kms-grpc keys list`, with single spaces."""
    [row] = [line for line in kms("keys", "list").text.splitlines() if line.startswith(key_id)]
    return re.sub(" +", " ", row)


# --- deletion -----------------------------------------------------------------------------------------------------


def test_a_deletion_is_scheduled_shown_and_cancelled(kms: Run, key: str) -> None:
    blob = kms("encrypt", "--key", key, stdin=b"x").out
    answer = kms("keys", "schedule-deletion", key, "-o", "json").json
    assert set(answer) == {"KeyId", "PendingWindowInDays", "DeletionDate", "KeyState"}
    assert (answer["PendingWindowInDays"], answer["KeyState"]) == (30, "PendingDeletion")
    date = answer["DeletionDate"][:10]
    assert f"{key} PendingDeletion customer off deleted on {date}, in 30 days" in row_of(kms, key)
    assert f"WhatNext               deleted on {date}, in 30 days" in kms("keys", "describe", key).text
    refused = kms("decrypt", stdin=blob)
    assert refused.code == 6
    assert "kms-grpc keys cancel-deletion" in refused.err
    assert kms("keys", "cancel-deletion", key, "-o", "json").json["KeyId"].endswith(key)
    assert f"{key} Disabled" in row_of(kms, key)
    again = kms("keys", "cancel-deletion", key)
    assert (again.code, "is not pending deletion" in again.err) == (6, True)
    assert "in 7 days" in kms("keys", "schedule-deletion", key, "--days", "7").text
    assert f"kms-grpc keys enable {key}" in kms("keys", "cancel-deletion", key).text
    kms("keys", "enable", key)
    assert kms("decrypt", stdin=blob).out == b"x"


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "rotation", "says"),
    [
        ({"KeyState": "Enabled"}, None, ""),
        ({"KeyState": "PendingImport"}, None, "waits for its key material"),
        ({"DeletionDate": timedelta(days=30)}, None, "deleted on 2026-12-24, in 30 days"),
        ({"DeletionDate": timedelta(days=29, hours=1)}, None, "deleted on 2026-12-23, in 30 days"),  # rounded up
        ({"DeletionDate": timedelta(days=1)}, None, "deleted on 2026-11-25, in 24 hours"),
        ({"DeletionDate": timedelta(minutes=5)}, None, "deleted on 2026-11-24, in 1 hour"),
        ({"DeletionDate": timedelta(minutes=-5)}, None, "deleted on 2026-11-24, which is now"),
        (
            {"ValidTo": timedelta(days=20), "DeletionDate": timedelta(days=10)},  # the next event comes first
            None,
            "deleted on 2026-12-04, in 10 days; material expires on 2026-12-14, in 20 days",
        ),
        ({}, {"NextRotationDate": timedelta(days=365)}, "rotated on 2027-11-24, in 365 days"),
    ],
)
def test_upcoming_events_in_words(key: dict[str, Any], rotation: dict[str, Any] | None, says: str) -> None:
    def dated(members: dict[str, Any]) -> dict[str, Any]:
        return {
            name: (NOW + value).isoformat() if isinstance(value, timedelta) else value
            for name, value in members.items()
        }

    assert upcoming({"KeyState": "Enabled"} | dated(key), dated(rotation or {}), NOW) == says


# --- tags, rotation -----------------------------------------------------------------------------------------------


def test_tags(kms: Run) -> None:
    key = kms("keys", "create", "--tag", "team=shop", "--tag", "a=b=c", "-o", "json").json["KeyMetadata"]["KeyId"]
    assert kms("tags", "list", key).text.splitlines()[1:] == ["a        b=c", "team     shop"]
    assert kms("tags", "set", key, "team=store", "stage=", "-o", "json").json == {}
    assert kms("tags", "remove", key, "a", "never", "-o", "json").json == {}
    listed = kms("tags", "list", key, "-o", "json").json
    assert listed["Tags"] == [{"TagKey": "stage", "TagValue": ""}, {"TagKey": "team", "TagValue": "store"}]
    page = kms("tags", "list", key, "--limit", "1", "-o", "json").json
    rest = kms("tags", "list", key, "--marker", page["NextMarker"], "-o", "json").json
    assert page["Tags"] + rest["Tags"] == listed["Tags"]
    refused = kms("tags", "set", key, "aws:mine=x")
    assert (refused.code, "reserved" in refused.err) == (1, True)


def test_rotation(kms: Run, key: str) -> None:
    blob = kms("encrypt", "--key", key, stdin=b"old").out
    assert kms("rotation", "list", key).text == "never rotated\n"
    assert kms("rotation", "status", key, "-o", "json").json["KeyRotationEnabled"] is False
    assert "every 100 days" in kms("rotation", "enable", key, "--days", "100").text
    status = kms("rotation", "status", key, "-o", "json").json
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 100)
    date = status["NextRotationDate"][:10]
    assert f"{key} Enabled customer every 100 days rotated on {date}, in 100 days" in row_of(kms, key)
    assert "new key material" in kms("rotation", "now", key).text
    [entry] = kms("rotation", "list", key, "-o", "json").json["Rotations"]
    assert (entry["RotationType"], entry["KeyMaterialState"]) == ("ON_DEMAND", "CURRENT")
    assert len(kms("rotation", "list", key, "--all", "-o", "json").json["Rotations"]) == 2
    first = kms("rotation", "list", key, "--all", "--limit", "1", "-o", "json").json
    second = kms("rotation", "list", key, "--all", "--marker", first["NextMarker"], "-o", "json").json
    assert [one["KeyMaterialState"] for one in first["Rotations"] + second["Rotations"]] == ["NON_CURRENT", "CURRENT"]
    assert kms("decrypt", stdin=blob).out == b"old"
    assert kms("rotation", "disable", key).code == 0
    assert f"{key} Enabled customer off" in row_of(kms, key)


# --- importing ----------------------------------------------------------------------------------------------------


def test_the_command_offers_the_wrapping_algorithms_of_the_client() -> None:
    """The command has its own list, since its help must not import cryptography."""
    assert (OFFERED, OFFERED_KEYS, NEEDED) == (wrapping.ALGORITHMS, wrapping.WRAPPING_KEYS, wrapping.MATERIAL_BYTES)


@pytest.mark.parametrize("algorithm", OFFERED)
def test_key_material_is_wrapped_and_imported(kms: Run, external: str, material: Path, algorithm: str) -> None:
    """Key material that is imported again gets the same id and decrypts earlier ciphertexts."""
    assert kms("encrypt", "--key", external, stdin=b"x").code == 6
    done = kms("import", external, "--file", material, "--algorithm", algorithm, "--wrapping-key", "RSA_2048")
    assert done.code == 0, done.err
    blob = kms("encrypt", "--key", external, stdin=b"kept").out
    assert "the same bytes" in kms("keys", "delete-material", external).text
    refused = kms("decrypt", stdin=blob)
    assert (refused.code, "kms-grpc import" in refused.err) == (6, True)
    again = kms(
        "import", external, "--file", "-", "--wrapping-key", "RSA_2048", "-o", "json", stdin=material.read_bytes()
    )
    assert set(again.json) == {"KeyId", "KeyMaterialId"}
    assert again.json["KeyMaterialId"] in done.text
    assert kms("decrypt", stdin=blob).out == b"kept"


def test_options_of_an_import(kms: Run, external: str, material: Path) -> None:
    """Key material expires at its date. Other bytes are refused, but accepted with --new until the next rotation."""
    date = datetime.now(UTC).date() + timedelta(days=100)
    ran = kms("import", external, "--file", material, "--expires", date, "--description", "first", "-o", "json")
    material_id = ran.json["KeyMaterialId"]
    assert f"{external} Enabled customer, imported off material expires on {date}, in 100 days" in row_of(kms, external)
    blob = kms("encrypt", "--key", external, stdin=b"kept").out
    other = os.urandom(32)
    refused = kms("import", external, "--file", "-", stdin=other)
    assert (refused.code, "IncorrectKeyMaterialException" in refused.err, NEW in refused.err) == (1, True, True)
    assert kms("import", external, "--file", "-", NEW, stdin=other).code == 0
    wrong = kms("import", external, "--file", "-", "--id", material_id, stdin=other)
    assert (wrong.code, "IncorrectKeyMaterialException" in wrong.err) == (1, True)
    assert kms("rotation", "now", external).code == 0
    entries = kms("rotation", "list", external, "--all", "-o", "json").json["Rotations"]
    assert [entry["KeyMaterialState"] for entry in entries] == ["NON_CURRENT", "CURRENT"]
    assert (entries[0]["KeyMaterialDescription"], entries[0]["ExpirationModel"]) == ("first", "KEY_MATERIAL_EXPIRES")
    assert kms("decrypt", stdin=blob).out == b"kept"
    assert kms("keys", "delete-material", external, "--id", material_id).code == 0
    assert f"{external} PendingImport" in row_of(kms, external)


def test_far_dates_and_keys_of_the_service_are_refused(kms: Run, key: str, external: str, material: Path) -> None:
    far = kms("import", external, "--file", material, "--expires", "2099-01-01")
    assert (far.code, "365 days" in far.err) == (1, True)
    assert "UnsupportedOperationException" in kms("import", key, "--file", material).err
    plan = kms("import", key, "--plan")
    assert (plan.code, "--origin external" in plan.err) == (2, True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("algorithm", OFFERED)
def test_the_commands_of_a_plan_run(kms: Run, server: Served, external: str, tmp_path: Path, algorithm: str) -> None:
    """The commands run in bash with the real openssl. Run again, they import the same key material."""
    options = ["--algorithm", algorithm, "--wrapping-key", "RSA_2048"]
    commands = kms("import", external, "--plan", *options, "-o", "json").json["Commands"]
    text = kms("import", external, "--plan", *options).text
    assert [line for line in text.splitlines() if not line.startswith("#")] == commands
    digest = algorithm.rpartition("SHA_")[2].replace("1", "sha1", 1) if algorithm.endswith("SHA_1") else "sha256"
    assert f"-pkeyopt rsa_oaep_md:{digest} -pkeyopt rsa_mgf1_md:{digest} -out" in text
    assert [line for line in text.splitlines() if "rsautl" in line and not line.startswith("# Older notes")] == []
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-euc", text], cwd=tmp_path, env=clean() | server.variables() | {"PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    folder = tmp_path / f"import-{external}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not list(folder.glob("AesKey*")), "the AES key that wraps the key material is removed"
    assert kms("encrypt", "--key", external, stdin=b"x").code == 0
    used = kms("import", external, "--wrapped", folder / "EncryptedKeyMaterial.bin", "--parameters", folder)
    assert (used.code, "InvalidImportTokenException" in used.err, "--plan" in used.err) == (1, True, True)


def test_a_plan_is_for_sha256_and_translates_older_notes(kms: Run, external: str) -> None:
    lines = kms("import", external, "--plan").text.splitlines()
    assert "--algorithm RSAES_OAEP_SHA_256" in next(line for line in lines if "--parameters-to" in line)
    assert any("openssl pkeyutl -encrypt" in line and "rsa_oaep_md:sha256" in line for line in lines)
    assert any("rsautl" in line and "--algorithm RSAES_OAEP_SHA_1" in line for line in lines if line.startswith("#"))


def test_a_plan_for_a_file_names_the_file(kms: Run, external: str) -> None:
    text = kms("import", external, "--plan", "--file", "my material.bin", NEW, "--expires", "2027-01-31").text
    assert "-in 'my material.bin'" in text
    assert "openssl rand" not in text
    assert "--expires 2027-01-31T00:00:00+00:00 --new" in text


# --- metrics --------------------------------------------------------------------------------------------


def test_metrics_show_upcoming_deletions_and_expiries(start_server: StartServer, run: Run, material: Path) -> None:
    """A metric is absent if no such event is ahead."""
    served = start_server("--metrics-listen", "127.0.0.1:0", workers=1, regions=["eu-central-1"])
    gauges = [f"kms_grpc_keeper_{name}" for name in ("keys_pending_deletion", "seconds_to_next_deletion")]
    [address] = set(re.findall(r"http://(127[0-9.]+:\d+)/metrics", served.log_text()))
    assert gauges[1] not in metrics_of(address, lambda seen: gauges[0] in seen)
    key = run("keys", "create", "-o", "json", variables=served.variables()).json["KeyMetadata"]["KeyId"]
    run("keys", "schedule-deletion", key, "--days", 7, variables=served.variables())
    seen = metrics_of(address, lambda seen: seen[gauges[0]] == 1)
    assert 0 < seen[gauges[1]] <= 7 * 86_400
    assert "kms_grpc_keeper_seconds_to_next_expiry" not in seen


def metrics_of(address: str, when: Any) -> dict[str, float]:
    """Returns the samples without labels once they satisfy `when`."""
    import time
    import urllib.request

    for _ in range(300):
        with urllib.request.urlopen(f"http://{address}/metrics") as page:
            found = re.findall(r"^(kms_grpc_\w+) (\S+)$", page.read().decode(), re.MULTILINE)
        seen = {name: float(value) for name, value in found}
        if when(seen):
            return seen
        time.sleep(0.1)
    raise AssertionError(seen)
