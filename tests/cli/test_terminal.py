"""Output on a terminal: colours, the start of a server, and `kms-grpc wait`."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from kms_grpc.cli.exports import announcement
from kms_grpc.config import from_values
from tests.cli.conftest import Run
from tests.served import Served, clean

ESCAPE = "\x1b"


def on_terminal(arguments: Sequence[str], until: str | None = None, **variables: str) -> str:
    """Returns what a command prints on a terminal. It is interrupted when it has printed `until`."""
    main, terminal = pty.openpty()
    environment = clean() | {"TERM": "xterm", "COLUMNS": "200"} | variables
    process = subprocess.Popen(
        [sys.executable, "-m", "kms_grpc", *arguments], stdin=terminal, stdout=terminal, stderr=terminal,
        env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    killed = threading.Timer(60, process.kill)
    killed.start()
    printed = b""
    try:
        while True:
            printed += os.read(main, 65536)  # may end within a character
            if until and until.encode() in printed:
                process.send_signal(signal.SIGINT)
                until = None
    except OSError:  # the terminal ends with its last process
        process.wait(60)
    finally:
        killed.cancel()
        os.close(main)
    shown = printed.decode()
    assert until is None, shown
    return shown.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_no_color_and_dumb_terminals_are_obeyed(server: Served, variables: dict[str, str], coloured: bool) -> None:
    given = server.variables() | variables
    assert (ESCAPE in on_terminal(["keys", "list", "--limit", "1"], **given)) is coloured, "a table"
    assert (ESCAPE in on_terminal(["keys", "describe", "alias/none"], **given)) is coloured, "an error"


def test_a_dumb_terminal_gets_no_progress_bar(server: Served, key: str, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(bytes(3_000_000))
    command = ["encrypt-file", "--key", key, str(tmp_path / "film"), "--replace"]
    shown = on_terminal(command, **server.variables() | {"TERM": "dumb"})
    assert re.fullmatch(r"\S+ -> \S+\s+3,000,000 bytes, [\d,]+ MB/s\n", shown), shown
    assert re.search(rf"{ESCAPE}\[[\d;]*m", on_terminal(command, **server.variables() | {"NO_COLOR": "1"})) is None


def test_no_rate_of_a_small_file(kms: Run, key: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"xy")
    assert kms("encrypt-file", "--key", key, tmp_path / "small").text.endswith("small.kms   2 bytes\n")


@pytest.mark.timeout(120)
def test_a_server_says_at_once_what_it_does_and_how_to_call_it(tmp_path: Path) -> None:
    """The printed lines, pasted, call it."""
    folder = tmp_path / "a folder"
    options = ["--data-dir", str(folder), "--region", "eu-west-1", "--listen", "127.0.0.1:0", "--workers", "1"]
    shown = on_terminal(["serve", "--dev", *options, "--aws-listen", "127.0.0.1:0"], until=" supervisor: serving")
    assert shown.startswith("kms-grpc serves eu-west-1 at 127.0.0.1:0 and http://127.0.0.1:0 for AWS's clients.\n")
    assert "Ctrl-C stops the server" in shown
    lines = [line.strip() for line in shown.split("into another terminal:\n\n")[1].split("\n\n")[0].splitlines()]
    served = Served(folder, ["--aws-listen", "127.0.0.1:0"], regions=["eu-west-1"], workers=1)
    try:
        served.start()
        done = subprocess.run(
            ["bash", "-euc", "\n".join([*lines, "env"])], capture_output=True, text=True, env=clean(), check=False
        )
    finally:
        served.close()
    assert done.returncode == 0, done.stderr
    assert f"KMS_GRPC_ENDPOINT={served.address}\n" in done.stdout
    assert "no keys here" in done.stdout
    assert {"AWS_DEFAULT_REGION=eu-west-1", "AWS_SECRET_ACCESS_KEY=test"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("settings", "says", "never"),
    [
        ({}, ["kms-grpc serves eu-west-1 at 127.0.0.1:50051."], ["export"]),
        ({"dev": True}, ["export KMS_GRPC_ENDPOINT=127.0.0.1:50051 KMS_GRPC_REGION=eu-west-1\n"], ["AWS_", "TLS"]),
        ({"dev": True, "listen": "unix:/k", "workers": 1}, ["KMS_GRPC_ENDPOINT=unix:/k "], []),
        ({"dev": True, "listen": "unix:/k", "workers": 2}, ["run/address"], ["ENDPOINT=unix"]),
        (
            {"dev": True, "tls": {"certificate_file": "/c.pem", "key_file": "/k"}, "aws_listen": "127.0.0.1:1"},
            ["export KMS_GRPC_TLS_CA=/c.pem", "AWS_CA_BUNDLE=/c.pem", "AWS_ENDPOINT_URL_KMS=https://127.0.0.1:1"],
            [],
        ),
        ({"dev": True, "aws_listen": "unix:/a"}, ["unix:/a"], ["http", "AWS_"]),
    ],
)  # fmt: skip
def test_the_announcement(settings: dict[str, object], says: list[str], never: list[str]) -> None:
    text = announcement(from_values({"regions": ["eu-west-1"], **settings}))
    assert [each for each in says if each not in text] == []
    assert [each for each in never if each in text] == []


def test_wait(kms: Run, run: Run, server: Served) -> None:
    assert kms("wait").text == f"{server.address} is SERVING\n"
    assert run("wait", "--endpoint", server.address, "-o", "json").json["Status"] == "SERVING"
    refused = run("wait", "--endpoint", "127.0.0.1:1", "--timeout", "0.2")
    assert (refused.code, "did not become ready" in refused.err) == (3, True)
    assert run("wait", "--endpoint", "kms.example.com:1").code == 2


def test_wait_returns_when_the_server_has_started(tmp_path: Path) -> None:
    """A script starts a server and waits for it."""
    served = Served(tmp_path / "data", regions=["eu-west-1"], workers=1, listen=f"unix:{tmp_path}/kms")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "kms_grpc", "wait", "--endpoint", f"unix:{tmp_path}/kms"],
        stdout=subprocess.PIPE, env=clean(),
    )  # fmt: skip
    try:
        served.launch()
        assert waiting.wait(60) == 0
    finally:
        waiting.kill()
        served.close()
