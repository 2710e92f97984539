"""native/contract_fields.h: the field numbers of the C core come from the protobuf descriptors."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import build

HEADER = build.FIELDS_HEADER


def test_the_committed_header_is_current() -> None:
    assert HEADER.read_text("utf-8") == build.fields_header(), "run: python build.py --stubs"


def test_the_core_does_not_build_with_a_stale_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = build.ROOT / "build" / "stale_contract_fields.h"
    stale.parent.mkdir(exist_ok=True)
    stale.write_text(HEADER.read_text("utf-8").replace("PLAINTEXT 3", "PLAINTEXT 7", 1), "utf-8")
    monkeypatch.setattr(build, "FIELDS_HEADER", stale)
    with pytest.raises(SystemExit, match=r"run: python build\.py --stubs"):
        build.build_core()
    stale.unlink()


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        pytest.param("KMS_ENCRYPT_REQUEST_PLAINTEXT", "3", id="the contract as it is"),
        pytest.param("KMS_DECRYPT_REQUEST_KEY_ID", "6", id="two requests number the key differently"),
        pytest.param("KMS_RE_ENCRYPT_BATCH_ITEM_SOURCE_KEY_ID", "12", id="an item numbers a field unlike its batch"),
        pytest.param("KMS_DECRYPT_BATCH_RESULT_KEY", "9", id="two results number the key differently"),
        pytest.param("KMS_BATCH_DATA_KEY_PLAINTEXT", "5", id="a data key numbers a field unlike a result"),
        pytest.param("KMS_ENCRYPT_REQUEST_VARINTS", "0x0020u", id="a number is no longer a varint"),
        pytest.param("KMS_DECRYPT_BATCH_ITEM_LENGTH_DELIMITED", "0x0006u", id="a blob no longer has a length"),
    ],
)
def test_c_compiles_only_with_a_contract_that_it_can_read(tmp_path: Path, constant: str, value: str) -> None:
    text = HEADER.read_text("utf-8")
    changed, count = re.subn(rf"(?m)^(#define {constant}) .*$", rf"\1 {value}", text)
    assert count == 1
    for source in ("request.h", "request.c", "batch.c", "batch_scan.c"):
        (tmp_path / source).write_text((HEADER.parent / source).read_text("utf-8"), "utf-8")
    (tmp_path / HEADER.name).write_text(changed, "utf-8")
    sources = [str(tmp_path / name) for name in ("request.c", "batch.c", "batch_scan.c")]
    command = ["gcc", "-std=c11", "-fsyntax-only", f"-I{tmp_path}", f"-I{HEADER.parent}", *sources]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # see sanitized.sh
    compiled = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (compiled.returncode == 0) == (changed == text), compiled.stderr
