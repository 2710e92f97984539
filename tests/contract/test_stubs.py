"""The committed stubs equal those that `python build.py --stubs` makes from protos/."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def build_script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("build_script", ROOT / "build.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_committed_stubs_are_up_to_date(tmp_path: Path) -> None:
    build_script().build_stubs(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / "kms_grpc" / "v1").iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "kms_grpc" / "v1").glob("*_pb2*")}
    assert kept.keys() == made.keys()
    assert [name for name in made if made[name] != kept[name]] == [], "run: python build.py --stubs"
