"""The steps of the quickstart. Every command is run as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.quickstart_grants import GrantScript
from kms_grpc.cli.quickstart_key_changes import KeyChangesScript
from kms_grpc.cli.quickstart_runner import QuickstartRunner, QuickstartServer, key_id_in

REGIONS: Final = ("eu-central-1", "eu-west-1")
FLIP: Final = 'b = bytearray(open("{0}", "rb").read()); b[100] ^= 1; open("{1}", "wb").write(b)'
"""A Python program that flips one bit of an encrypted data key, in byte 100, which belongs to its ciphertext."""


class QuickstartScript:
    """One run of the steps, with a new key, a new alias and one input file."""

    def __init__(self, runner: QuickstartRunner, server: QuickstartServer, source: Path) -> None:
        self._runner = runner
        self._server = server
        self._source = source
        name = shlex.quote(source.name)
        self._name = name
        self._context = f"--context {shlex.quote(f'file={source.name}')}"
        self._unwrap = f"kms-grpc decrypt {shlex.quote(source.name + '.key')} {self._context}"
        self._open = (
            f"{self._unwrap} | python3 envelope.py open {shlex.quote(source.name + '.enc')} {self._opened} "
            f"&& cmp {name} {self._opened} && echo the same, byte for byte"
        )
        self._key = ""
        self._alias = ""

    @property
    def _opened(self) -> str:
        return shlex.quote(self._source.name + ".opened")

    def run(self) -> None:
        """Runs all steps. Raises StepFailed at the first that does not have the expected result."""
        for step in (
            self._make_key, self._encrypt, self._decrypt, self._other_key, self._other_region,
            self._flipped_bit, self._disable, self._grant, self._change_key, self._kill,
        ):  # fmt: skip
            step()

    def _make_key(self) -> None:
        self._runner.title("A key and an alias")
        self._key = self._create_key("quickstart")
        self._alias = self._free_alias()
        self._runner.run(f"kms-grpc alias create {self._alias} {self._key}")
        listed = self._runner.run("kms-grpc keys list")
        named = re.search(f"^{self._key} +Enabled .* {self._alias} ", listed, re.MULTILINE)
        self._runner.require(named is not None, "the key is enabled, and the alias points at it")

    def _create_key(self, description: str) -> str:
        return key_id_in(self._runner.run(f"kms-grpc keys create --description {description}"))

    def _free_alias(self) -> str:
        """Returns alias/quickstart, or with a number if an earlier quickstart has taken that name."""
        listed = self._runner.run("kms-grpc alias list")
        names = set(re.findall(r"^alias/\S+", listed, re.MULTILINE))
        candidates = ("alias/quickstart", *(f"alias/quickstart-{number}" for number in range(2, len(names) + 3)))
        return next(name for name in candidates if name not in names)

    def _encrypt(self) -> None:
        self._runner.title("A file encrypted under a data key")
        self._runner.run(f"cp {shlex.quote(str(self._source))} {self._name}")
        files = f"{self._name} {shlex.quote(self._source.name + '.enc')}"
        wrapped = shlex.quote(self._source.name + ".key")
        self._runner.run(
            f"kms-grpc data-key --key {self._alias} {self._context} --ciphertext-to {wrapped} --plaintext-to - "
            f"| python3 envelope.py seal {files}"
        )
        self._runner.run(f"wc -c {files} {wrapped}")
        self._runner.confirm("the plaintext data key went through a pipe; only the encrypted data key is on disk")

    def _decrypt(self) -> None:
        self._runner.title("The file decrypted")
        self._runner.run(self._open)
        lines = self._runner.run(f"sha256sum {self._name} {self._opened}").splitlines()
        same = len(lines) == 2 and lines[0].split()[0] == lines[1].split()[0]
        self._runner.require(same, "the decrypted file is the same, byte for byte")

    def _other_key(self) -> None:
        self._runner.title("Another key cannot decrypt the file")
        other = self._create_key("another")
        self._runner.refuse(f"{self._unwrap} --key {other}", "IncorrectKeyException", ExitCode.CIPHERTEXT)

    def _other_region(self) -> None:
        self._runner.title("The other region does not have the key")
        there = f"--region {REGIONS[1]}"
        self._runner.refuse(f"{self._unwrap} {there}", "AccessDeniedException", ExitCode.NOT_ALLOWED)
        self._runner.refuse(f"kms-grpc keys describe {self._key} {there}", "NotFoundException", ExitCode.NOT_FOUND)

    def _flipped_bit(self) -> None:
        self._runner.title("A ciphertext with one flipped bit")
        flip = FLIP.format(f"{self._source.name}.key", "flipped.key")
        self._runner.run(f"python3 -c {shlex.quote(flip)}")
        command = f"kms-grpc decrypt flipped.key {self._context}"
        self._runner.refuse(command, "InvalidCiphertextException", ExitCode.CIPHERTEXT)

    def _disable(self) -> None:
        self._runner.title("The key disabled and enabled")
        self._runner.run(f"kms-grpc keys disable {self._key}")
        self._runner.refuse(self._unwrap, "DisabledException", ExitCode.KEY_STATE)
        self._runner.run(f"kms-grpc keys enable {self._key}")
        self._runner.run(self._open)

    def _grant(self) -> None:
        GrantScript(self._runner, self._key, self._alias, self._unwrap, self._open).run()

    def _change_key(self) -> None:
        KeyChangesScript(self._runner, self._key, self._unwrap, self._open).run()

    def _kill(self) -> None:
        self._runner.title("The server killed and started again")
        self._server.kill()
        self._runner.refuse("kms-grpc keys list", "ServiceUnreachable", ExitCode.UNREACHABLE)
        self._server.start()
        self._runner.run(self._open)
        self._runner.confirm("nothing was lost")
