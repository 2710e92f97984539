"""Help, usage errors and exit codes of the command line, without a server."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kms_grpc import errors
from kms_grpc.cli import failures, key_list
from kms_grpc.cli.main import BENCH, ENTRIES, SECTIONS, cli
from kms_grpc.cli.output import print_table, text_of
from tests.cli.conftest import Run
from tests.served import clean

SERVER_PROCESSES = {"worker", "keeper", "prepare"}
EVERY_ERROR = {error.__name__ for error in errors.KMSError.__subclasses__()}


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields all commands that are not hidden, without groups."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name) if name != BENCH else None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and not command.hidden:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_help_has_an_example(path: tuple[str, ...], run: Run) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    assert f"kms-grpc {' '.join(path)}" in ran.text.split("Options:")[0].split("\n", 1)[1], "no example"
    options = [option for option in COMMANDS[path].params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_root_lists_every_command_in_order_and_every_exit_code(run: Run) -> None:
    text = run("--help").text
    listed = re.findall(r"^  ([a-z-]+) ", text.split("Start a server:")[1].split("Environment variables:")[0], re.M)
    assert listed == [name for entries in SECTIONS.values() for name in entries]
    assert set(listed) == set(ENTRIES) - SERVER_PROCESSES
    for code, meaning in failures.MEANINGS.items():
        assert f"{code:>3}  {meaning}" in text
    assert set(failures.MEANINGS) == set(failures.ExitCode)


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - SERVER_PROCESSES))
def test_the_line_of_the_root_is_that_of_the_command(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=120) == ENTRIES[name].line


def test_no_option_takes_a_secret() -> None:
    """Arguments are visible in process lists, so secrets come by environment, file or pipe. A grant token is none:
    whoever has one must still be named by the grant."""
    taking = {
        (path, name)
        for path, command in COMMANDS.items()
        for parameter in command.params
        for name in parameter.opts
        if any(word in name for word in ("token", "secret", "password", "plaintext", "material"))
    }
    assert {name for _, name in taking} == {"--token-file", "--grant-token", "--plaintext-to", "--without-plaintext"}


def test_help_imports_no_large_library() -> None:
    heavy = {"grpc", "google.protobuf", "sqlalchemy", "alembic", "rich", "uvloop", "kms_grpc.crypto"}
    script = f"""if True:
        import sys
        from kms_grpc.cli.main import main
        main(["--help"])
        sys.exit(str({heavy} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=clean(), check=False)
    assert done.stderr.strip() == "set()"


SERVE = ("serve", "--region", "eu-west-1")
TLS = ("--tls-certificate", "c", "--tls-key", "k")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kyes"], "No such command"),
        (["keys", "describe"], "Missing argument 'KEY'"),
        (["keys", "list", "--limit", "0"], "1<=x<=1000"),
        (["encrypt", "--key", "K", "--context", "novalue"], "not NAME=VALUE"),
        (["encrypt", "--key", "K", "--context", "a=1", "--context", "a=2"], "given twice"),
        (["encrypt", "--key", "K", "/nowhere/file"], "No such file"),
        (["decrypt", "--base64"], "not base64"),
        (["data-key", "--key", "K"], "choose where the data key goes"),
        (["data-key", "--key", "K", "--without-plaintext", "--plaintext-to", "f"], "exclude each other"),
        (["random", "1025"], "1<=x<=1024"),
        (["keys", "schedule-deletion", "K", "--days", "6"], "7<=x<=30"),
        (["rotation", "enable", "K", "--days", "89"], "90<=x<=2560"),
        (["tags", "set", "K"], "Missing argument"),
        (["tags", "set", "K", "novalue"], "not NAME=VALUE"),
        (["keys", "create", "--tag", "a=1", "--tag", "a=2"], "given twice"),
        (["import", "K"], "give one of --file FILE"),
        (["import", "K", "--file", "f", "--parameters-to", "d"], "give one of --file FILE"),
        (["import", "K", "--wrapped", "f"], "need each other"),
        (["import", "K", "--file", "-", "--expires", "2027-01-31", "--no-expiry"], "exclude each other"),
        (["import", "K", "--file", "-", "--expires", "soon"], "not a date"),
        (["import", "K", "--file", "-", "--expires", "9999-12-31T23:59:59-23:00"], "not a date"),
        (["import", "K", "--file", "-"], "32 bytes are needed, not 10"),
        (["import", "K", "--file", "-", "--algorithm", "RSAES_PKCS1_V1_5"], "is not one of"),
        (["keys", "list", "--token-file", "/nowhere/token"], "--token-file"),
        (["keys", "list", "--endpoint", "kms.example.com:443"], "only loopback"),
        (["keys", "list", "--timeout", "0"], "x>0"),
        (["serve", "--dev"], "no region"),
        (["serve", "--dev", "--region", "nowhere"], "nowhere"),
        (["keys", "list", "--tls-name", "kms.test"], "is for TLS: give --tls-ca as well"),
        (["keys", "list", "--tls-ca", "/nowhere.pem"], "/nowhere.pem: No such file"),
        (["keys", "list", "--tls-ca", __file__], "has no certificates in PEM"),
        (["check", "--data-dir", ".", "--tls-ca", "/nowhere.pem"], "need --endpoint"),
        ([*SERVE, "--listen", "0.0.0.0:50051"], "only loopback (127.0.0.1, [::1]) or unix:/path can be served, unless"),
        ([*SERVE, "--listen", "0.0.0.0:50051"], "give [tls] certificate_file and key_file, or --tls-certificate"),
        ([*SERVE, "--listen", ":50051"], "must be HOST:PORT or unix:/path"),  # gRPC would take it for all addresses
        ([*SERVE, "--tls-key", "k"], "--tls-certificate and --tls-key need each other"),
        ([*SERVE, *TLS, "--listen", "unix:/run/kms"], "Unix sockets do not use TLS"),  # an option that would do nothing
        ([*SERVE, *TLS, "--aws-listen", "0.0.0.0:0", "--dev"], "whose access key has a public secret"),
        ([*SERVE, *TLS, "--metrics-listen", "0.0.0.0:0"], "metrics_listen '0.0.0.0:0': only loopback"),  # without TLS
        ([*SERVE, "--config", "{half}"], "half.toml: tls.key_file: is missing"),
        (["serve", "--region", "eu-west-1", "--config", "/nowhere.toml"], "No such file"),
        (["quickstart", "--file", "/nowhere"], "does not exist"),
        (["completion", "tcsh"], "bash"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], says: str, run: Run, tmp_path: Path) -> None:
    half = tmp_path / "half.toml"
    half.write_text('[tls]\ncertificate_file = "c"\n')
    ran = run(*(argument.replace("{half}", str(half)) for argument in arguments), stdin=b"no base64!")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("kms-grpc: ")
    assert says in ran.err


@pytest.mark.parametrize("process", sorted(SERVER_PROCESSES))
def test_a_server_process_cannot_be_started_by_hand(process: str) -> None:
    command = [sys.executable, "-m", "kms_grpc", process]
    done = subprocess.run(command, input="", capture_output=True, text=True, env=clean(), check=False)
    assert done.returncode != 0
    assert "kms-grpc serve" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_server_is_exit_code_3(run: Run) -> None:
    ran = run("keys", "list", "--endpoint", "127.0.0.1:1", "--timeout", "3")
    assert ran.code == 3
    assert "kms-grpc serve" in ran.err


def test_a_bug_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst() -> None:
        raise RuntimeError("boom\nbang")

    monkeypatch.setitem(cli.commands, "limits", click.Command("limits", callback=burst))
    ran = run("limits")
    assert (ran.code, ran.err.count("\n")) == (70, 1)
    assert "RuntimeError: boom bang" in ran.err


def test_ctrl_c_is_exit_code_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.commands, "limits", click.Command("limits", callback=interrupted))
    assert run("limits").code == 130


def test_exit_codes_and_ways_out_name_existing_errors() -> None:
    from kms_grpc import client

    known = EVERY_ERROR | set(client.__all__)
    assert set(failures._CODES) | set(failures._WAYS_OUT) <= known


def _in_region(error: errors.KMSError) -> errors.KMSError:
    error.region = "eu-west-1"
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            errors.DisabledException("arn is disabled.", key="arn"),
            "DisabledException: arn is disabled. Way out: kms-grpc keys enable arn",
        ),
        (
            _in_region(errors.DisabledException("off", key="arn")),
            "DisabledException: off. Way out: kms-grpc keys enable arn --region eu-west-1",
        ),
        (errors.TagException("Too many tags"), "TagException: Too many tags"),  # nothing to add
        (
            errors.ValidationException("2\nlines\x1b[31m"),
            "ValidationException: 2\\nlines\\x1b[31m",
        ),
        (errors.NotFoundException("{braces}"), "NotFoundException: {braces}. Way out: list the keys"),
    ],
)
def test_a_refusal_is_one_line(
    error: errors.KMSError, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMS_GRPC_REGION", "eu-central-1")
    failures.print_failure(error, as_json=False)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert click.unstyle(printed).startswith(f"kms-grpc: {line}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),  # a description must not clear the terminal's screen
        ("a\u202eb", "a\\u202eb"),  # or reverse the direction of the line
        (True, "yes"),
        (["a", "b"], "a, b"),
        ("schlüssel 鍵", "schlüssel 鍵"),
    ],
)
def test_control_characters_are_escaped(value: object, text: str) -> None:
    assert text_of(value) == text


def test_columns_stay_aligned_under_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["鍵", "x"], ["long", "y"]])
    assert click.unstyle(capsys.readouterr().out).splitlines() == ["A      B", "鍵     x", "long   y"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, run: Run) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert "_KMS_GRPC_COMPLETE" in ran.text


@pytest.mark.parametrize(("words", "completes"), [("kms-grpc ke", "keys"), ("kms-grpc keys di", "disable")])
def test_bash_completes(words: str, completes: str) -> None:
    variables = {"_KMS_GRPC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "kms_grpc"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean() | variables, check=False)
    assert completes in done.stdout


def test_a_terminal_shows_the_progress_of_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert len(list(key_list._with_progress(iter([None] * key_list.LONG), key_list.LONG))) == key_list.LONG
    assert "describing keys" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    shown = terminal.getvalue()
    assert list(key_list._with_progress(iter([None]), 1)) == [None]
    assert terminal.getvalue() == shown, "short work shows no progress"


@pytest.mark.parametrize("document", ["README.md", "kms_grpc/cli/README.md"])
def test_documents_name_the_commands_in_the_order_of_the_help(document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text("utf-8")
    order = [name for entries in SECTIONS.values() for name in entries]
    named = list(dict.fromkeys(name for name in re.findall(r"kms-grpc ([a-z-]+)", text) if name in order))
    assert named == [name for name in order if name in named]
