"""The quickstart's step with a second caller, whom a grant lets use the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.quickstart_runner import QuickstartRunner
from kms_grpc.config import DEV_ACCOUNT

CALLERS: Final = "callers.toml"
TOKEN: Final = "orders.token"  # noqa: S105  the name of a file
ORDERS: Final = f"arn:aws:iam::{DEV_ACCOUNT}:role/orders"
_CALLER: Final = f"""[[principals]]
name = "orders"
arn = "{ORDERS}"
account = "{DEV_ACCOUNT}"
token_file = "{TOKEN}"
policies = []            # it may do what key policies and grants allow
"""


def write_callers(folder: Path) -> None:
    """Writes the configuration of the second caller, and its token unless an earlier quickstart has made one. Both
    can be read by their owner alone."""
    from kms_grpc.crypto import envelope

    token = folder / TOKEN
    if not token.exists():
        _write(token, envelope.random_bytes(32).hex() + "\n")
    _write(folder / CALLERS, _CALLER)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, "ascii")


class GrantScript:
    """The step: the second caller is denied, gets a grant, is allowed, and is denied again."""

    def __init__(self, runner: QuickstartRunner, key: str, alias: str, unwrap: str, opens: str) -> None:
        """`unwrap` is a command that uses the key; `opens` is a command that decrypts the file and compares it."""
        self._runner = runner
        self._key = key
        self._alias = alias
        as_orders = f'KMS_GRPC_TOKEN="$(cat {TOKEN})"'
        self._unwrap = f"{as_orders} {unwrap}"
        self._opens = f"{as_orders} {opens}"

    def run(self) -> None:
        self._runner.title("A second caller: denied, let in by a grant, and denied again")
        self._runner.run(f"cat {CALLERS}")
        self._deny()
        made = self._runner.run(f"kms-grpc grants create {self._key} --to {ORDERS} --allow Decrypt")
        grant = re.search(r"^GrantId +([0-9a-f]{64})$", made, re.MULTILINE)
        self._runner.require(grant is not None, "the grant is made")
        assert grant is not None, "require raises otherwise"
        self._runner.run(self._opens)
        self._runner.run(f"kms-grpc explain --principal {ORDERS} --action kms:Decrypt --key {self._alias}")
        self._runner.run(f"kms-grpc grants revoke {self._key} {grant[1]}")
        self._deny()

    def _deny(self) -> None:
        self._runner.refuse(self._unwrap, "AccessDeniedException", ExitCode.NOT_ALLOWED)
