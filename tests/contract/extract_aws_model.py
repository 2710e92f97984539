"""Extracts aws_model.json from AWS's service model. Tests compare the contract with it.

    pip download --no-deps botocore && unzip botocore-*.whl 'botocore/data/kms/2014-11-01/service-2.json.gz'
    python tests/contract/extract_aws_model.py botocore/data/kms/2014-11-01/service-2.json.gz VERSION

Only what the contract has is kept: operations with their members' names, shapes and errors, and the values of enums.
The committed extract is of botocore 1.44.8 (Apache-2.0).
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from kms_grpc.v1 import key_management_pb2

CONSTRAINTS = ("required", "min", "max", "pattern", "enum", "sensitive")


def operations() -> list[str]:
    service = key_management_pb2.DESCRIPTOR.services_by_name["KeyManagementService"]
    return [method.name for method in service.methods]


def extract(model: dict[str, Any], version: str) -> dict[str, Any]:
    shapes: dict[str, Any] = {}
    extracted = {}
    for name in operations():
        operation = model["operations"][name]
        parts = {side: operation[side]["shape"] for side in ("input", "output") if side in operation}
        extracted[name] = {**parts, "errors": sorted(error["shape"] for error in operation.get("errors", []))}
        for shape in parts.values():
            collect(model["shapes"], shape, shapes)
    return {"source": f"botocore {version}", "operations": extracted, "shapes": dict(sorted(shapes.items()))}


def collect(all_shapes: dict[str, Any], name: str, kept: dict[str, Any]) -> None:
    """Adds a shape, and all shapes that it refers to, to `kept`."""
    if name in kept:
        return
    shape = all_shapes[name]
    kept[name] = {"type": shape["type"], **{key: shape[key] for key in CONSTRAINTS if key in shape}}
    if "members" in shape:
        kept[name]["members"] = {member: facts["shape"] for member, facts in shape["members"].items()}
    for role in ("member", "key", "value"):
        if role in shape:
            kept[name][role] = shape[role]["shape"]
    for child in [*kept[name].get("members", {}).values(), *(kept[name][r] for r in ("member",) if r in kept[name])]:
        collect(all_shapes, child, kept)


if __name__ == "__main__":
    with gzip.open(sys.argv[1]) as file:
        made = extract(json.load(file), sys.argv[2])
    Path(__file__).with_name("aws_model.json").write_text(json.dumps(made, indent=1) + "\n")
