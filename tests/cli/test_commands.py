"""The output, files and failures of commands that call a real server."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.served import Served, clean

METADATA = {
    "KeyId", "Arn", "AWSAccountId", "KeyState", "Enabled", "CreationDate", "Description", "KeySpec",
    "CustomerMasterKeySpec", "KeyUsage", "Origin", "KeyManager", "MultiRegion", "CurrentKeyMaterialId",
    "EncryptionAlgorithms",
}  # fmt: skip
MISSING = "00000000-0000-4000-8000-000000000000"


# --- JSON: programs read it, so its members must not change -------------------------------------------------------


def test_keys_in_json(kms: Run) -> None:
    created = kms("keys", "create", "--description", "schlüssel", "-o", "json").json["KeyMetadata"]
    assert set(created) == METADATA
    assert (created["KeyState"], created["Enabled"], created["Description"]) == ("Enabled", True, "schlüssel")
    assert created["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert kms("keys", "describe", created["KeyId"], "-o", "json").json == {"KeyMetadata": created}
    listed = kms("keys", "list", "--ids", "-o", "json").json
    assert set(listed) == {"Keys", "Truncated"}
    assert {"KeyId": created["KeyId"], "KeyArn": created["Arn"]} in listed["Keys"]
    detailed = kms("keys", "list", "-o", "json").json
    assert set(detailed) == {"Keys", "Truncated"}
    assert created | {"Aliases": [], "Rotation": {"KeyRotationEnabled": False}} in detailed["Keys"]
    assert [key["KeyId"] for key in detailed["Keys"]] == [key["KeyId"] for key in listed["Keys"]], "the same order"


def test_pages_in_json(kms: Run, key: str) -> None:
    kms("keys", "create")
    page = kms("keys", "list", "--limit", "1", "-o", "json").json
    assert set(page) == {"Keys", "Truncated", "NextMarker"}
    following = kms("keys", "list", "--limit", "1", "--marker", page["NextMarker"], "-o", "json").json
    assert following["Keys"] != page["Keys"]


def test_aliases_in_json(kms: Run, key: str) -> None:
    other = kms("keys", "create", "-o", "json").json["KeyMetadata"]["KeyId"]
    name = f"alias/{key}"
    for arguments in (["create", name, key], ["update", name, other]):
        assert kms("alias", *arguments, "-o", "json").json == {}
    [entry] = kms("alias", "list", "--key", other, "-o", "json").json["Aliases"]
    assert set(entry) == {"AliasName", "AliasArn", "TargetKeyId", "CreationDate", "LastUpdatedDate"}
    assert (entry["AliasName"], entry["TargetKeyId"]) == (name, other)
    assert kms("alias", "delete", name, "-o", "json").json == {}
    assert kms("alias", "list", "--key", other, "-o", "json").json == {"Aliases": [], "Truncated": False}


def test_encryption_in_json(kms: Run, key: str) -> None:
    encrypted = kms("encrypt", "--key", key, "-o", "json", stdin=b"hello").json
    assert set(encrypted) == {"KeyId", "CiphertextBlob", "EncryptionAlgorithm"}
    blob = base64.b64decode(encrypted["CiphertextBlob"])
    decrypted = kms("decrypt", "-o", "json", stdin=blob).json
    assert set(decrypted) == {"KeyId", "Plaintext", "EncryptionAlgorithm", "KeyMaterialId"}
    assert base64.b64decode(decrypted["Plaintext"]) == b"hello"
    moved = kms("re-encrypt", "--key", key, "-o", "json", stdin=blob).json
    assert set(moved) == {
        "KeyId", "CiphertextBlob", "DestinationEncryptionAlgorithm", "DestinationKeyMaterialId",
        "SourceKeyId", "SourceEncryptionAlgorithm", "SourceKeyMaterialId",
    }  # fmt: skip


def test_data_keys_and_random_in_json(kms: Run, key: str) -> None:
    data_key = kms("data-key", "--key", key, "-o", "json").json
    assert set(data_key) == {"KeyId", "Plaintext", "CiphertextBlob", "KeyMaterialId"}
    assert len(base64.b64decode(data_key["Plaintext"])) == 32
    bare = kms("data-key", "--key", key, "--without-plaintext", "-o", "json").json
    assert set(bare) == {"KeyId", "CiphertextBlob", "KeyMaterialId"}
    assert set(kms("random", 5, "-o", "json").json) == {"Plaintext"}
    assert set(kms("limits", "-o", "json").json) == {
        "ServerVersion", "DefaultRegion", "Regions", "Calls", "Batches", "Streams", "Pages", "Quotas",
    }  # fmt: skip


def test_refusals_in_json(kms: Run, server: Served, key: str) -> None:
    kms("keys", "disable", key)
    ran = kms("encrypt", "--key", key, "-o", "json", stdin=b"x")
    line = subprocess.run(
        [sys.executable, "-c", "import json,sys; print(sorted(json.load(sys.stdin)))"],
        input=ran.err, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert line.stdout.strip() == str(["Error", "Key", "Message", "Region", "RequestId", "State", "WayOut"])
    assert (ran.code, ran.out) == (6, b"")


# --- tables -------------------------------------------------------------------------------------


def test_tables(kms: Run, key: str) -> None:
    kms("alias", "create", f"alias/table-{key}", key)
    assert f"KeyId                  {key}\n" in kms("keys", "describe", key).text
    rows = kms("keys", "list").text.splitlines()
    assert rows[0].split() == ["KeyId", "KeyState", "Kind", "Rotation", "WhatNext", "Aliases", "Description"]
    assert any(row.startswith(f"{key}   Enabled ") and f"alias/table-{key}" in row for row in rows)
    assert f"alias/table-{key}   {key}" in kms("alias", "list").text
    limits = kms("limits").text
    assert re.search(r"^Calls.MaxPlaintextBytes +4096$", limits, re.MULTILINE)
    assert re.search(r"^Batches.MaxPlaintextBytes +65536$", limits, re.MULTILINE)
    assert kms("keys", "list", KMS_GRPC_REGION="eu-west-1").text != ""
    assert kms("keys", "disable", key).text == f"{key} is disabled\n"
    assert kms("keys", "enable", key).text == f"{key} is enabled\n"
    assert kms("keys", "update-description", key, "new words").text == f"{key} has a new description\n"
    assert "new words" in kms("keys", "describe", key).text


# --- bytes --------------------------------------------------------------------------------------------------------


def test_files(kms: Run, key: str, tmp_path: Path) -> None:
    secret, blob, opened = tmp_path / "secret", tmp_path / "blob", tmp_path / "opened"
    secret.write_bytes(bytes(range(256)))
    os.umask(0o022)
    assert kms("encrypt", "--key", key, "--context", "a=b=c", secret, "--to", blob).code == 0
    opened.write_text("an older file, open to all")
    opened.chmod(0o644)
    ran = kms("decrypt", "--context", "a=b=c", blob, "--to", opened)
    assert opened.read_bytes() == secret.read_bytes()
    assert stat.S_IMODE(opened.stat().st_mode) == 0o600, "only its owner can read it, even over an older file"
    assert stat.S_IMODE(blob.stat().st_mode) == 0o644
    assert "Plaintext" not in ran.text, "a member that was written to a file is not printed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "opened", "secret"], "no temporary file is left"


def test_a_refused_call_leaves_the_old_file(kms: Run, key: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    assert kms("decrypt", "--to", target, stdin=b"no ciphertext").code == 7
    assert target.read_text() == "old"


def test_pipes(kms: Run, key: str) -> None:
    blob = kms("encrypt", "--key", key, stdin=b"\x00\xff").out
    assert kms("decrypt", "-", "--to", "-", stdin=blob).out == b"\x00\xff"
    text = kms("encrypt", "--key", key, "--base64", stdin=b"hello").out
    assert text.endswith(b"\n") and text.isascii()
    assert kms("decrypt", "--base64", stdin=b" " + text).out == b"hello"
    again = kms("re-encrypt", "--key", key, "--context", "a=b", "--base64", stdin=text).out
    assert kms("decrypt", "--base64", "--context", "a=b", stdin=again).out == b"hello"
    assert len(kms("random", 32).out) == 32


def test_a_data_key_in_two_places(kms: Run, key: str, tmp_path: Path) -> None:
    wrapped = tmp_path / "wrapped"
    plain = kms("data-key", "--key", key, "--bytes", 16, "--ciphertext-to", wrapped, "--plaintext-to", "-").out
    assert len(plain) == 16
    assert kms("decrypt", wrapped).out == plain
    printed = kms("data-key", "--key", key, "--ciphertext-to", wrapped, "--without-plaintext").text
    assert key in printed and "CiphertextBlob" not in printed


def test_a_dry_run_does_nothing(kms: Run, key: str) -> None:
    blob = kms("encrypt", "--key", key, stdin=b"x").out
    for arguments, stdin in (
        (["encrypt", "--key", key], b"x"),
        (["decrypt"], blob),
        (["re-encrypt", "--key", key], blob),
        (["data-key", "--key", key], b""),
    ):
        ran = kms(*arguments, "--dry-run", stdin=stdin)
        assert (ran.code, ran.text) == (0, "dry run: the call would have succeeded\n")
    kms("keys", "disable", key)
    assert kms("encrypt", "--key", key, "--dry-run", stdin=b"x").code == 6


def test_a_terminal_gets_no_binary(server: Served, key: str) -> None:
    """Binary output to a pseudo terminal is refused without --force; text is not."""

    def on_terminal(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
        controller, terminal = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "kms_grpc", *arguments], input=stdin, stdout=terminal, stderr=subprocess.PIPE,
            env=clean() | server.variables(), check=False,
        )  # fmt: skip
        os.close(terminal)
        seen = b""
        try:
            while chunk := os.read(controller, 4096):
                seen += chunk
        except OSError:
            pass  # a closed pseudo terminal raises at its end
        os.close(controller)
        return done.returncode, seen

    assert on_terminal("encrypt", "--key", key, stdin=b"x") == (2, b"")
    code, text = on_terminal("encrypt", "--key", key, "--base64", stdin=b"readable")
    assert code == 0
    assert on_terminal("decrypt", "--base64", stdin=text) == (0, b"readable")
    assert on_terminal("random", "32", "--force")[0] == 0


# --- errors of the service and their exit codes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (["keys", "list"], {"KMS_GRPC_TOKEN": ""}, 4, "MissingAuthenticationTokenException"),
        (["keys", "list"], {"KMS_GRPC_TOKEN": "wrong-wrong-wrong"}, 4, "UnrecognizedClientException"),
        (["keys", "describe", MISSING], {}, 5, "kms-grpc keys list"),
        (["keys", "describe", "alias/none"], {}, 5, "NotFoundException"),
        (["keys", "list"], {"KMS_GRPC_REGION": "us-east-1"}, 1, "ValidationException"),
        (["keys", "list", "--marker", "bad"], {}, 1, "InvalidMarkerException"),
        (["alias", "create", "alias/aws/mine", "{key}"], {}, 4, "NotAuthorizedException"),
        (["alias", "create", "mine", "{key}"], {}, 1, "alias/"),
        (["decrypt", "{blob}", "--region", "eu-west-1"], {}, 4, "AccessDeniedException"),
        (["decrypt", "{blob}", "--context", "a=b"], {}, 7, "--context"),
        (["decrypt", "{blob}", "--key", "{other}"], {}, 7, "leave --key out"),
        (["encrypt", "--key", "{key}", "{large}"], {}, 1, "4096"),
    ],
)
def test_an_error_has_its_exit_code_and_a_way_out(
    kms: Run, key: str, tmp_path: Path, arguments: list[str], variables: dict[str, str], code: int, says: str
) -> None:
    blob, large = tmp_path / "blob", tmp_path / "large"
    kms("encrypt", "--key", key, "--to", blob, stdin=b"x")
    large.write_bytes(bytes(4097))
    other = kms("keys", "create", "-o", "json").json["KeyMetadata"]["KeyId"]
    filled = [argument.format(key=key, blob=blob, large=large, other=other) for argument in arguments]
    ran = kms(*filled, **variables)
    assert (ran.code, ran.out) == (code, b"")
    assert ran.err.count("\n") == 1
    assert says in ran.err


def test_an_alias_is_created_once(kms: Run, key: str) -> None:
    assert kms("alias", "create", f"alias/{key}", key).code == 0
    ran = kms("alias", "create", f"alias/{key}", key)
    assert ran.code == 1
    assert "kms-grpc alias update" in ran.err


def test_a_token_is_read_from_a_file(kms: Run, server: Served) -> None:
    assert kms("keys", "list", "--token-file", server.data_dir / "dev.token", KMS_GRPC_TOKEN="").code == 0


def test_request_ids_make_creation_repeatable(kms: Run) -> None:
    first, second = (kms("keys", "create", "--request-id", "cli-1", "-o", "json").json for _ in range(2))
    assert first == second


def test_policy_of_a_key(kms: Run) -> None:
    key_id = kms("keys", "create", "-o", "json").json["KeyMetadata"]["KeyId"]
    shown = kms("policy", "get", key_id)
    answer = kms("policy", "get", key_id, "-o", "json").json
    assert shown.json == json.loads(answer["Policy"])
    assert answer["PolicyName"] == "default"
