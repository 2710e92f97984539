"""The quickstart's part about the life of a key: imported material, a rotation, a deletion that is called off."""

from __future__ import annotations

import re
import shutil
from typing import Final

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.quickstart_runner import QuickstartRunner, key_id_in, search_path

SMALL: Final = "envelope.py"
"""A file that lies there and is short enough to be encrypted directly."""


class KeyLifeScript:
    """Steps on the walk's own key, whose file must open after each of them, and on a key with imported material."""

    def __init__(self, stage: QuickstartRunner, key: str, unwrap: str, opens: str) -> None:
        """`unwrap` is a command that uses the key, `opens` one that opens the walk's file and compares it."""
        self._stage = stage
        self._key = key
        self._unwrap = unwrap
        self._opens = opens
        self._imported = ""
        self._reads = f"kms-grpc decrypt imported.kms | cmp - {SMALL} && echo the same, byte for byte"

    def run(self) -> None:
        """All steps; those with openssl only where it is there."""
        if shutil.which("openssl", path=search_path()) is None:
            self._stage.title("Imported key material")
            self._stage.confirm("left out: openssl is not installed (apt-get install openssl)")
        else:
            self._import()
            self._import_again()
        self._rotate()
        self._delete()

    def _import(self) -> None:
        self._stage.title("A key whose material is made outside, by openssl")
        self._imported = key_id_in(self._stage.run("kms-grpc keys create --origin external --description imported"))
        use = f"kms-grpc encrypt --key {self._imported} {SMALL} --to imported.kms"
        self._stage.refuse(use, "KMSInvalidStateException", ExitCode.KEY_STATE)
        plan = self._stage.run(f"kms-grpc import {self._imported} --plan")
        for command in (line for line in plan.splitlines() if not line.startswith("#")):
            self._stage.run(command)
        self._stage.run(use)
        self._stage.run(self._reads)
        self._stage.confirm("openssl wrapped it, the service unwrapped it, the key encrypts")

    def _import_again(self) -> None:
        self._stage.title("Its material deleted, and imported again")
        self._stage.run(f"kms-grpc keys delete-material {self._imported}")
        self._stage.refuse("kms-grpc decrypt imported.kms", "KMSInvalidStateException", ExitCode.KEY_STATE)
        other = f"openssl rand 32 | kms-grpc import {self._imported} --file -"
        self._stage.refuse(other, "IncorrectKeyMaterialException", ExitCode.REFUSED)
        material = f"import-{self._imported}/PlaintextKeyMaterial.bin"
        self._stage.run(f"kms-grpc import {self._imported} --file {material}")
        self._stage.run(self._reads)
        self._stage.confirm("the same bytes brought the key back")

    def _rotate(self) -> None:
        self._stage.title("A rotation: new material, the old file still opens")
        before = self._materials()
        self._stage.run(f"kms-grpc rotation now {self._key}")
        after = self._materials()
        grown = len(after) == len(before) + 1 and after[:-1] == [(one, "NON_CURRENT") for one, _ in before]
        self._stage.require(grown and after[-1][1] == "CURRENT", "one material more, and the new one is current")
        self._stage.run(self._opens)

    def _materials(self) -> list[tuple[str, str]]:
        listed = self._stage.run(f"kms-grpc rotation list {self._key} --all")
        return re.findall(r"^([0-9a-f]{64}) +(\w+)", listed, re.MULTILINE)

    def _delete(self) -> None:
        self._stage.title("A deletion scheduled, and called off")
        self._stage.run(f"kms-grpc keys schedule-deletion {self._key} --days 7")
        listed = self._stage.run("kms-grpc keys list")
        told = re.search(f"^{self._key} +PendingDeletion .*deleted on [0-9-]+, in 7 days", listed, re.MULTILINE)
        self._stage.require(told is not None, "the list says when the key is deleted")
        self._stage.refuse(self._unwrap, "KMSInvalidStateException", ExitCode.KEY_STATE)
        self._stage.run(f"kms-grpc keys cancel-deletion {self._key}")
        self._stage.refuse(self._unwrap, "DisabledException", ExitCode.KEY_STATE)
        self._stage.run(f"kms-grpc keys enable {self._key}")
        self._stage.run(self._opens)
