"""The committed stubs equal those that `python build.py --stubs` makes from protos/. Other packages' options may be
loaded beside them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.build_script import ROOT, build_script

OTHER_PACKAGE = """
from google.protobuf import descriptor_pb2, descriptor_pool

Field = descriptor_pb2.FieldDescriptorProto
file = descriptor_pb2.FileDescriptorProto(
    name="other/options.proto", package="other", dependency=["google/protobuf/descriptor.proto"])
for kind in ("Message", "Field", "Enum", "EnumValue", "Service", "Method"):
    for number in range(50_000, 50_010):
        file.extension.add(
            name=f"{kind.lower()}_{number}", extendee=f".google.protobuf.{kind}Options", number=number,
            label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
descriptor_pool.Default().Add(file)
"""
IMPORT_STUBS = """
from kms_grpc.v1 import envelope_pb2, key_management_pb2, keys_pb2, options_pb2
field = key_management_pb2.EncryptRequest.DESCRIPTOR.fields_by_name["plaintext"]
assert field.GetOptions().Extensions[options_pb2.limits].max == 4096
"""


def test_committed_stubs_are_up_to_date(tmp_path: Path) -> None:
    build_script().build_stubs(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / "kms_grpc" / "v1").iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "kms_grpc" / "v1").glob("*_pb2*")}
    assert kept.keys() == made.keys()
    assert [name for name in made if made[name] != kept[name]] == [], "run: python build.py --stubs"


@pytest.mark.parametrize(
    "script", [OTHER_PACKAGE + IMPORT_STUBS, IMPORT_STUBS + OTHER_PACKAGE], ids=["before", "after"]
)
def test_a_package_whose_options_have_in_house_numbers_is_imported_beside(script: str) -> None:
    """descriptor.proto leaves 50000 to 99999 to each organization, so other packages use them too."""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_stubs_cannot_be_made_without_googleapis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = build_script()
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install googleapis-common-protos"):
        script.build_stubs(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_compiler_without_googleapis_names_the_missing_file(tmp_path: Path) -> None:
    """google/rpc/status.proto is not vendored: Go would register it twice, and Java have a second class."""
    assert not (ROOT / "protos" / "google").exists()
    shutil.copytree(ROOT / "protos" / "kms_grpc", tmp_path / "kms_grpc")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "kms_grpc/v1/envelope.proto"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "google/rpc/status.proto: File not found" in done.stderr
