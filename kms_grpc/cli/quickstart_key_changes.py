"""The steps of the quickstart that change keys: an import, a rotation and a deletion that is cancelled."""

from __future__ import annotations

import re
import shutil
from typing import Final

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.quickstart_runner import QuickstartRunner, key_id_in, search_path

SMALL: Final = "envelope.py"
"""A file in the quickstart's folder that is short enough for Encrypt."""


class KeyChangesScript:
    """Steps with imported key material, and steps that change the quickstart's key and then decrypt its file."""

    def __init__(self, runner: QuickstartRunner, key: str, unwrap: str, opens: str) -> None:
        """`unwrap` is a command that uses the key; `opens` is a command that decrypts the file and compares it."""
        self._runner = runner
        self._key = key
        self._unwrap = unwrap
        self._opens = opens
        self._imported = ""
        self._reads = f"kms-grpc decrypt imported.kms | cmp - {SMALL} && echo the same, byte for byte"

    def run(self) -> None:
        """Runs all steps. The import is skipped if openssl is not installed."""
        if shutil.which("openssl", path=search_path()) is None:
            self._runner.title("Imported key material")
            self._runner.confirm("skipped: openssl is not installed (apt-get install openssl)")
        else:
            self._import()
            self._import_again()
        self._rotate()
        self._delete()

    def _import(self) -> None:
        self._runner.title("A key with imported key material, made by openssl")
        self._imported = key_id_in(self._runner.run("kms-grpc keys create --origin external --description imported"))
        use = f"kms-grpc encrypt --key {self._imported} {SMALL} --to imported.kms"
        self._runner.refuse(use, "KMSInvalidStateException", ExitCode.KEY_STATE)
        plan = self._runner.run(f"kms-grpc import {self._imported} --plan")
        for command in (line for line in plan.splitlines() if not line.startswith("#")):
            self._runner.run(command)
        self._runner.run(use)
        self._runner.run(self._reads)
        self._runner.confirm("openssl wrapped the key material, the service unwrapped it, and the key encrypts")

    def _import_again(self) -> None:
        self._runner.title("Imported key material deleted and imported again")
        self._runner.run(f"kms-grpc keys delete-material {self._imported}")
        self._runner.refuse("kms-grpc decrypt imported.kms", "KMSInvalidStateException", ExitCode.KEY_STATE)
        other = f"openssl rand 32 | kms-grpc import {self._imported} --file -"
        self._runner.refuse(other, "IncorrectKeyMaterialException", ExitCode.REFUSED)
        material = f"import-{self._imported}/PlaintextKeyMaterial.bin"
        self._runner.run(f"kms-grpc import {self._imported} --file {material}")
        self._runner.run(self._reads)
        self._runner.confirm("with the same bytes the key can be used again")

    def _rotate(self) -> None:
        self._runner.title("A rotation: new key material, and the file can still be decrypted")
        before = self._materials()
        self._runner.run(f"kms-grpc rotation now {self._key}")
        after = self._materials()
        grown = len(after) == len(before) + 1 and after[:-1] == [(one, "NON_CURRENT") for one, _ in before]
        self._runner.require(grown and after[-1][1] == "CURRENT", "the new key material is current, the former is kept")
        self._runner.run(self._opens)

    def _materials(self) -> list[tuple[str, str]]:
        listed = self._runner.run(f"kms-grpc rotation list {self._key} --all")
        return re.findall(r"^([0-9a-f]{64}) +(\w+)", listed, re.MULTILINE)

    def _delete(self) -> None:
        self._runner.title("A deletion scheduled and cancelled")
        self._runner.run(f"kms-grpc keys schedule-deletion {self._key} --days 7")
        listed = self._runner.run("kms-grpc keys list")
        shown = re.search(f"^{self._key} +PendingDeletion .*deleted on [0-9-]+, in 7 days", listed, re.MULTILINE)
        self._runner.require(shown is not None, "the list shows the date of the deletion")
        self._runner.refuse(self._unwrap, "KMSInvalidStateException", ExitCode.KEY_STATE)
        self._runner.run(f"kms-grpc keys cancel-deletion {self._key}")
        self._runner.refuse(self._unwrap, "DisabledException", ExitCode.KEY_STATE)
        self._runner.run(f"kms-grpc keys enable {self._key}")
        self._runner.run(self._opens)
