"""The quickstart: all its steps, the server that keeps running, its end, and a second run in the same folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kms_grpc.cli import quickstart_key_changes, quickstart_runner
from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.quickstart_runner import QuickstartRunner, StepFailed
from tests.cli.conftest import Run
from tests.ending import ENDING_WITH_US
from tests.served import clean

SHOWN = [
    "A server with two regions", "A key and an alias", "A file encrypted under a data key", "The file decrypted",
    "refused, as expected: IncorrectKeyException", "refused, as expected: AccessDeniedException",
    "refused, as expected: NotFoundException", "refused, as expected: InvalidCiphertextException",
    "refused, as expected: DisabledException",
    "A key with imported key material", "refused, as expected: KMSInvalidStateException",
    "openssl pkeyutl -encrypt", "the key encrypts",
    "Imported key material deleted", "IncorrectKeyMaterialException", "with the same bytes the key can be used again",
    "A rotation", "the new key material is current", "A deletion scheduled", "the list shows the date of the deletion",
    "every process of the server was killed", "nothing was lost",
    "AWS's own command line", "export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:", "lists the same keys",
    "Every step succeeded.",
]  # fmt: skip


def quickstart(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [*ENDING_WITH_US[:2], "TERM", sys.executable, "-m", "kms_grpc", "quickstart", "--data-dir", str(folder)]
    return subprocess.Popen(
        [*command, *options], cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean(), start_new_session=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if mark in line:
            return text
    raise AssertionError(f"the quickstart ended before {mark!r}:\n{text}")


def in_order(text: str, marks: list[str]) -> bool:
    places = [text.find(mark) for mark in marks]
    return -1 not in places and places == sorted(places)


@pytest.mark.timeout(400)
def test_two_quickstarts_in_one_folder(tmp_path: Path) -> None:
    """Folder and file have spaces in their names, and the printed commands can be pasted all the same.

    The second run creates a key and an alias of its own, and finds those of the first.
    """
    folder, secret = tmp_path / "a folder", tmp_path / "my file.bin"
    secret.write_bytes(os.urandom(100_000))
    process = quickstart(folder, "--file", str(secret), "--listen", "127.0.0.1:0")
    try:
        text = read_until(process, "Ctrl-C stops it")
        assert in_order(text, SHOWN), text
        paste = text.split("paste this into another terminal:")[1].split("To use AWS's own clients")[0]
        pasted = subprocess.run(["bash", "-ec", paste], capture_output=True, text=True, env=clean(), check=True)
        assert "alias/quickstart " in pasted.stdout
        as_aws = text.split("To use AWS's own clients, paste this:")[1].split("Its log is")[0]
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        pasted = subprocess.run(
            ["bash", "-ec", as_aws], capture_output=True, text=True, env=clean() | {"PATH": path}, check=True
        )
        assert len(json.loads(pasted.stdout)["Keys"]) >= 3
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert (folder / "my file.bin.opened").read_bytes() == secret.read_bytes()
    for group in map(int, re.findall(r"kill -KILL -- -(\d+)", text)):
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)
    again = quickstart(folder, "--exit", "--listen", "127.0.0.1:0")
    text, _ = again.communicate(timeout=200)
    assert again.returncode == 0, text
    assert "alias/quickstart-2 points at" in text
    assert re.search(r"^ +alias/quickstart ", text, re.MULTILINE), "the alias of the first run is listed"


def test_without_openssl_the_import_is_skipped_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No step of the import is run."""
    monkeypatch.setattr(quickstart_key_changes, "search_path", lambda: "/nowhere")
    script = quickstart_key_changes.KeyChangesScript(QuickstartRunner(tmp_path), "KEY", "false", "false")
    monkeypatch.setattr(script, "_rotate", lambda: None)
    monkeypatch.setattr(script, "_delete", lambda: None)
    script.run()
    assert "skipped: openssl is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_the_quickstart(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(KeyboardInterrupt):
            quickstart_runner.ending_on_signals(lambda: os.kill(os.getpid(), number) or 0)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_folder_of_other_files_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "root.key").write_bytes(b"somebody's")
    ran = run("quickstart", "--exit", "--data-dir", tmp_path)
    assert ran.code == 2
    assert "no quickstart created it" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["root.key"]


@pytest.mark.parametrize(
    "lie",
    [
        lambda runner: runner.run("false"),  # it must succeed
        lambda runner: runner.run("false | true"),  # in a pipe as well
        lambda runner: runner.refuse("true", "DisabledException", ExitCode.KEY_STATE),  # it must be refused
        lambda runner: runner.refuse("echo DisabledException", "DisabledException", ExitCode.KEY_STATE),
        lambda runner: runner.refuse("echo IncorrectKeyException; exit 6", "DisabledException", ExitCode.KEY_STATE),
        lambda runner: runner.require(False, "it is so"),
    ],
)
def test_a_step_without_the_expected_result_fails_the_quickstart(
    lie: object, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart_runner.QuickstartServer, "start", lambda server: lie(server._runner))  # type: ignore[operator]
    ran = run("quickstart", "--exit", "--data-dir", tmp_path / "q")
    assert ran.code == 1
    assert "FAILED" in ran.text


def test_a_step_with_the_expected_result_passes(tmp_path: Path) -> None:
    runner = QuickstartRunner(tmp_path)
    assert runner.run("echo said") == "said\n"
    runner.refuse("echo DisabledException; exit 6", "DisabledException", ExitCode.KEY_STATE)
    with pytest.raises(StepFailed):
        runner.run("exit 3")
