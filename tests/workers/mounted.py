"""A configuration that tests change under a running server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.served import ACCOUNT, Served

IN_FORCE = "the changed configuration is in force"
ALLOWS_ENCRYPT = '{"Statement":{"Effect":"Allow","Action":["kms:Encrypt","kms:GenerateRandom"],"Resource":"*"}}'


def principal(name: str, token: str, policies: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return (
        f'[[principals]]\nname = "{name}"\narn = "{arn}"\naccount = "{ACCOUNT}"\ntoken_sha256 = "{digest}"\n'
        f"policies = {policies}\n"
    )


class Mounted:
    """A folder as Kubernetes mounts one: each file leads to `..data`, which leads to the present version's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = 0
        self.path = folder / "kms.toml"

    def swap(self, text: str, policy: str = ALLOWS_ENCRYPT) -> None:
        self._versions += 1
        version = self._folder / f"..{self._versions}"
        version.mkdir(parents=True)
        (version / "kms.toml").write_text(text)
        (version / "policy.json").write_text(policy)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._folder / "..data")
        for name in ("kms.toml", "policy.json"):
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(Path("..data", name))


def said(served: Served, message: str) -> list[dict[str, Any]]:
    entries = (json.loads(line) for line in served.log_text().splitlines() if line.startswith("{"))
    return [entry for entry in entries if entry["message"].startswith(message)]
