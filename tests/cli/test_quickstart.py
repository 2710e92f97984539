"""The quickstart, as a newcomer sees it: it walks, serves, ends cleanly, and comes back to what it left."""

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
from tests.served import clean

SHOWN = [
    "A server with two regions", "A key, and a name for it", "A file, encrypted under a data key", "Decrypted again",
    "refused, as it must be: IncorrectKeyException", "refused, as it must be: AccessDeniedException",
    "refused, as it must be: NotFoundException", "refused, as it must be: InvalidCiphertextException",
    "refused, as it must be: DisabledException",
    "A key whose material is made outside", "refused, as it must be: KMSInvalidStateException",
    "openssl rsautl -encrypt", "the key encrypts",
    "Its material deleted", "IncorrectKeyMaterialException", "the same bytes brought the key back",
    "A rotation", "one material more", "A deletion scheduled", "the list says when the key is deleted",
    "every process of the server was killed", "nothing was lost",
    "AWS's own command line", "export AWS_ENDPOINT_URL_KMS=http://127.0.0.1:", "it lists the same keys",
    "Every step did what it says.",
]  # fmt: skip


def quickstart(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kms_grpc", "quickstart", "--data-dir", str(folder), *options]
    return subprocess.Popen(
        command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean(),
        start_new_session=True,
    )  # fmt: skip


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if mark in line:
            return text
    raise AssertionError(f"it ended before {mark!r}:\n{text}")


def in_order(text: str, marks: list[str]) -> bool:
    places = [text.find(mark) for mark in marks]
    return -1 not in places and places == sorted(places)


@pytest.mark.timeout(400)
def test_it_walks_serves_ends_and_comes_back(tmp_path: Path) -> None:
    """A name with spaces, since the commands are pasted by people. What it prints to paste works. The second walk makes
    a key and an alias of its own; what the first one left is still there."""
    folder, secret = tmp_path / "a folder", tmp_path / "my file.bin"
    secret.write_bytes(os.urandom(100_000))
    process = quickstart(folder, "--file", str(secret), "--listen", "127.0.0.1:0")
    try:
        text = read_until(process, "Ctrl-C ends it")
        assert in_order(text, SHOWN), text
        paste = text.split("paste this into another terminal:")[1].split("Or this,")[0]
        pasted = subprocess.run(["bash", "-ec", paste], capture_output=True, text=True, env=clean(), check=True)
        assert "alias/quickstart " in pasted.stdout
        as_aws = text.split("for AWS's own clients:")[1].split("Its log is")[0]
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
    assert re.search(r"^ +alias/quickstart ", text, re.MULTILINE), "the first walk's alias is listed"


def test_without_openssl_the_import_is_left_out_and_the_walk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it is run; the rest of the walk is."""
    monkeypatch.setattr(quickstart_key_changes, "search_path", lambda: "/nowhere")
    walk = quickstart_key_changes.KeyChangesScript(QuickstartRunner(tmp_path), "KEY", "false", "false")
    monkeypatch.setattr(walk, "_rotate", lambda: None)
    monkeypatch.setattr(walk, "_delete", lambda: None)
    walk.run()
    assert "left out: openssl is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(KeyboardInterrupt):
            quickstart_runner.ending_on_signals(lambda: os.kill(os.getpid(), number) or 0)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "root.key").write_bytes(b"somebody's")
    ran = run("quickstart", "--exit", "--data-dir", tmp_path)
    assert ran.code == 2
    assert "no quickstart made it" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["root.key"]


@pytest.mark.parametrize(
    "lie",
    [
        lambda runner: runner.run("false"),  # should have succeeded
        lambda runner: runner.run("false | true"),  # in a pipe as well
        lambda runner: runner.refuse("true", "DisabledException", ExitCode.KEY_STATE),  # should have been refused
        lambda runner: runner.refuse("echo DisabledException", "DisabledException", ExitCode.KEY_STATE),
        lambda runner: runner.refuse("echo IncorrectKeyException; exit 6", "DisabledException", ExitCode.KEY_STATE),
        lambda runner: runner.require(False, "it is so"),
    ],
)
def test_a_step_that_does_not_do_what_it_says_fails_the_walk(
    lie: object, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart_runner.Server, "start", lambda server: lie(server._runner))  # type: ignore[operator]
    ran = run("quickstart", "--exit", "--data-dir", tmp_path / "q")
    assert ran.code == 1
    assert "FAILED" in ran.text


def test_a_true_step_passes(tmp_path: Path) -> None:
    runner = QuickstartRunner(tmp_path)
    assert runner.run("echo said") == "said\n"
    runner.refuse("echo DisabledException; exit 6", "DisabledException", ExitCode.KEY_STATE)
    with pytest.raises(StepFailed):
        runner.run("exit 3")
