"""Commands that end for a local reason: a full disk, a closed stream, a letter that the locale lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.cli.conftest import Run
from tests.served import Served, clean

LIST, ENCRYPT = ("keys", "list", "--ids"), ("encrypt", "--key", "alias/none")


def shell(redirected: str, arguments: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `kms-grpc` with arguments and with the streams that a shell redirects."""
    command = ["bash", "-c", f'"$@" {redirected}', "bash", sys.executable, "-m", "kms_grpc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean() | variables, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "redirected", "says"),
    [
        (LIST, ">/dev/full", "standard output: No space left on device"),
        (("--help",), ">/dev/full", "standard output: No space left on device"),
        (("random", "8"), ">/dev/full", "standard output: No space left on device"),
        (LIST, ">&-", "standard output: it is closed"),
        (("random", "8"), ">&-", "standard output: it is closed"),
        (ENCRYPT, "<&-", "standard input: it is closed"),
        (("encrypt-file", "--key", "alias/none"), "<&-", "standard input: it is closed"),
        (ENCRYPT, "<&- >&-", "standard input: it is closed"),
        (LIST, "2>&-", ""),
        (("keys", "list", "--limit", "0"), "2>/dev/full", ""),
        (("keys", "list", "--limit", "0"), "2>&-", ""),
    ],
)
def test_a_full_or_closed_stream_is_wrong_usage(
    arguments: tuple[str, ...], redirected: str, says: str, server: Served
) -> None:
    ran = shell(redirected, arguments, **server.variables())
    assert (ran.returncode, ran.stderr.count("\n")) == (0 if (says, arguments) == ("", LIST) else 2, bool(says))
    assert says in ran.stderr


def test_nothing_takes_the_number_of_a_closed_stream(server: Served) -> None:
    """A file or connection with the number 1 or 2 would be written into."""
    code = (
        "import os; from kms_grpc.cli import standard_streams as s; s.repair(); "
        "os._exit(len({os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)} - {'/dev/null'}))"
    )
    ran = subprocess.run(["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code], check=False)
    assert ran.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "--description", b"\xff"),
        ("alias", "create", b"alias/\xff", "K"),
        ("encrypt", "--key", "K", "--context", b"a=\xff", __file__),
        ("keys", "create", "--tag", b"a=\xff"),
    ],
    ids=str,
)
def test_an_argument_that_is_not_text_is_wrong_usage(arguments: tuple[str | bytes, ...], server: Served) -> None:
    ran = shell("", [os.fsdecode(each) for each in arguments], **server.variables())
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "is not text in the encoding of this locale. Way out: give it in UTF-8" in ran.stderr


@pytest.mark.parametrize("arguments", [("keys", "list", "--region", "ü"), ("keys", "create", "--request-id", "ü")])
def test_metadata_is_ascii(arguments: tuple[str, ...], kms: Run) -> None:
    ran = kms(*arguments)
    assert (ran.code, "must be printable ASCII" in ran.err) == (2, True)
    assert kms("keys", "list", KMS_GRPC_REGION="ü").code == 2


def test_letters_that_the_locale_lacks_are_escaped(server: Served, kms: Run) -> None:
    key_id = kms("keys", "create", "--description", "schlüssel 鍵 🔑", "-o", "json").json["KeyMetadata"]["KeyId"]
    latin = server.variables() | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "kms_grpc", "keys", "describe", key_id]
    table = subprocess.run(command, capture_output=True, env=clean() | latin, check=True).stdout.decode("latin-1")
    assert r"schlüssel \u9375" in table
    answer = subprocess.run([*command, "-o", "json"], capture_output=True, env=clean() | latin, check=True).stdout
    assert json.loads(answer)["KeyMetadata"]["Description"] == "schlüssel 鍵 🔑"


@pytest.mark.parametrize("asking", [("--output", "json"), ("-o", "json"), ("--output=json",), ("-ojson",)], ids=str)
def test_wrong_usage_is_json_where_that_is_asked_for(asking: tuple[str, ...], run: Run) -> None:
    ran = run("keys", "list", "--limit", "0", *asking)
    assert ran.code == 2
    assert json.loads(ran.err) == {
        "Error": "UsageError",
        "Message": "Invalid value for '--limit': 0 is not in the range 1<=x<=1000",
        "WayOut": "kms-grpc keys list --help",
    }
    assert json.loads(run("kyes", *asking).err)["Error"] == "UsageError"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--region", "eu-west-1", "keys", "list"], "--region stands after the command: kms-grpc keys list --region …"),
        (["keys", "-o", "json", "list"], '"-o stands after the command: kms-grpc keys list -o …"'),
        (["--region", "eu-west-1"], "No such option '--region'"),
        (["--versoin"], "Did you mean '--version'"),
    ],
)
def test_an_option_before_its_command_is_told_its_place(arguments: list[str], says: str, run: Run) -> None:
    ran = run(*arguments)
    assert (ran.code, says in ran.err) == (2, True), ran.err
