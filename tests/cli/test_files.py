"""`kms-grpc encrypt-file` and `decrypt-file`: round trips, file names, files after a failure, exit codes."""

from __future__ import annotations

import os
import pty
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kms_grpc.cli.atomic import UNFINISHED
from kms_grpc.client import KeyManagementClient
from tests import stock_library
from tests.cli.conftest import Run
from tests.served import Served, clean

CONTENT = os.urandom(2_500_000)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_encrypted_and_decrypted(kms: Run, server: Served, key: str, film: Path) -> None:
    """The AWS Encryption SDK decrypts the same file."""
    ran = kms("encrypt-file", "--key", key, "--context", "a=b", "--frame-length", 4096, film)
    encrypted = film.with_name("film.mp4.kms")
    assert ran.code == 0
    assert re.match(rf"{film} -> {encrypted}   2,500,000 bytes, [\d,]+ MB/s\n$", ran.text)
    with KeyManagementClient(server.address, token=server.token) as client:
        arn = client.describe_key(key).key_metadata.arn
        assert stock_library.read(encrypted.read_bytes(), stock_library.key_of_service(client, arn)) == (
            CONTENT,
            {"a": "b"},
        )
    film.unlink()
    ran = kms("decrypt-file", encrypted, "-o", "json")
    [facts] = ran.json["Files"]
    assert (facts["Source"], facts["Target"], facts["KeyId"]) == (str(encrypted), str(film), arn)
    assert film.read_bytes() == CONTENT
    assert stat.S_IMODE(film.stat().st_mode) == 0o600
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(encrypted.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("size", [0, 1, 65536])
def test_standard_input_and_output(kms: Run, key: str, size: int) -> None:
    content = CONTENT[:size]
    encrypted = kms("encrypt-file", "--key", key, stdin=content)
    assert (encrypted.code, encrypted.err) == (0, "")
    decrypted = kms("decrypt-file", "-", stdin=encrypted.out)
    assert (decrypted.code, decrypted.out) == (0, content)


def test_a_directory(kms: Run, key: str, tmp_path: Path) -> None:
    """The results are beside the files or below another directory. Links and encrypted files are skipped."""
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    for name in ("a.txt", "below/b.txt", ".hidden", "old.kms", f".x{UNFINISHED}"):
        (tree / name).write_bytes(name.encode())
    (tree / "link").symlink_to(tree / "a.txt")
    elsewhere, back = tmp_path / "elsewhere", tmp_path / "back"
    assert kms("encrypt-file", "--key", key, "-r", tree, "--to", elsewhere).code == 0
    assert names(elsewhere) == [".hidden.kms", "a.txt.kms", "below/b.txt.kms"]
    assert kms("decrypt-file", "-r", elsewhere, "--to", back).code == 0
    assert names(back) == [".hidden", "a.txt", "below/b.txt"]
    assert (back / "below/b.txt").read_bytes() == b"below/b.txt"
    (tree / "old.kms").unlink()
    assert kms("encrypt-file", "--key", key, "--recursive", tree).code == 0
    assert (tree / "below/b.txt.kms").exists()


WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def test_skipped_and_unreadable_entries_of_a_directory_are_named(server: Served, key: str, tmp_path: Path) -> None:
    """Links, pipes, unreadable folders and names with control characters are all printed."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    for name in ("closed/a", "\x1b[31m[red]\nb", "c"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"x")
    (tree / "link").symlink_to("c")
    (tree / "folder").symlink_to(tmp_path)
    os.mkfifo(tree / "pipe")
    (tree / "closed").chmod(0)
    command = [sys.executable, "-m", "kms_grpc", "encrypt-file", "--key", key, "-r", str(tree), "--to", str(out)]
    command = [*WITHOUT_ROOTS_RIGHTS, *command] if os.geteuid() == 0 else command
    ran = subprocess.run(command, env=clean() | server.variables(), capture_output=True, text=True, timeout=60)
    (tree / "closed").chmod(0o700)
    lines = ran.stderr.splitlines()
    left = [f"{tree}/{name}: skipped: a link or a special file" for name in ("folder", "link", "pipe")]
    assert (ran.returncode, sorted(lines)) == (2, sorted([*left, f"{tree}/closed: Permission denied"]))
    assert names(out) == ["\x1b[31m[red]\nb.kms", "c.kms"]
    assert [line.split(" -> ")[0] for line in ran.stdout.splitlines()] == [rf"{tree}/\x1b[31m[red]\nb", f"{tree}/c"]


def test_an_input_that_cannot_be_read_is_named(kms: Run, key: str, tmp_path: Path) -> None:
    ran = kms("encrypt-file", "--key", key, "/proc/self/mem", "--to", tmp_path / "new")
    assert (ran.code, "/proc/self/mem: Input/output error" in ran.err, names(tmp_path)) == (2, True, [])


def test_other_files_are_decrypted_after_a_damaged_one(kms: Run, key: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b", "c"):
        (tree / name).write_bytes(CONTENT)
    assert kms("encrypt-file", "--key", key, "-r", tree, "--to", tmp_path / "kms").code == 0
    broken = tmp_path / "kms" / "b.kms"
    broken.write_bytes(broken.read_bytes()[:-1])
    ran = kms("decrypt-file", "-r", tmp_path / "kms", "--to", tmp_path / "back")
    assert ran.code == 7
    assert f"{broken}:" in ran.err
    assert names(tmp_path / "back") == ["a", "c"]


REFUSED: list[tuple[list[str], int, str]] = [
    (["decrypt-file", "{cut}"], 7, "InvalidCiphertextException"),
    (["decrypt-file", "{kms}", "--to", "{new}", "--context", "a=c"], 7, "InvalidCiphertextException"),
    (["decrypt-file", "{kms}", "--to", "{new}", "--key", "{other}"], 7, "IncorrectKeyException"),
    (["encrypt-file", "--key", "alias/none", "{film}"], 5, "NotFoundException"),
    (["encrypt-file", "--key", "{key}", "{film}", "--to", "{film}"], 2, "exists already"),
    (["encrypt-file", "--key", "{key}", "{film}", "--to", "{film}", "--replace"], 2, "is the input itself"),
    (["encrypt-file", "--key", "{key}", "{folder}"], 2, "--recursive"),
    (["encrypt-file", "--key", "{key}", "-r", "{film}"], 2, "needs a directory"),
    (["encrypt-file", "--key", "{key}", "-r", "{folder}", "--to", "-"], 2, "needs a directory"),
    (["encrypt-file", "--key", "{key}", "{folder}/absent"], 2, "No such file"),
    (["encrypt-file", "--key", "{key}", "{film}", "--to", "/proc/no/such"], 2, "No such file"),
    (["decrypt-file", "{film}"], 2, "does not end in .kms"),
    (["encrypt-file", "--key", "{key}", "--frame-length", "1000", "{film}"], 2, "1024<=x<=1048576"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "text"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_refused_command_leaves_no_file(
    kms: Run, key: str, film: Path, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    encrypted, cut = tmp_path / "e.kms", tmp_path / "cut.kms"
    assert kms("encrypt-file", "--key", key, "--context", "a=b", film, "--to", encrypted).code == 0
    cut.write_bytes(encrypted.read_bytes()[:-1])
    other = kms("keys", "create", "-o", "json").json["KeyMetadata"]["KeyId"]
    before = names(tmp_path)
    places = {"kms": encrypted, "cut": cut, "film": film, "folder": tmp_path, "new": tmp_path / "new"}
    ran = kms(*[argument.format(**places, key=key, other=other) for argument in arguments])
    assert (ran.code, text in ran.err) == (code, True), ran.err
    assert names(tmp_path) == before
    assert film.read_bytes() == CONTENT


def test_an_existing_target_stays_until_the_new_file_is_complete(kms: Run, key: str, film: Path) -> None:
    target = film.with_name("film.mp4.kms")
    target.write_bytes(b"the old one")
    assert kms("encrypt-file", "--key", "alias/none", film, "--replace").code == 5
    assert target.read_bytes() == b"the old one"
    assert kms("encrypt-file", "--key", key, film, "--replace").code == 0
    assert kms("decrypt-file", target, "--to", "-").out == CONTENT


def test_no_incomplete_file_after_a_kill(server: Served, key: str, tmp_path: Path) -> None:
    """After SIGKILL in the middle, no file has the final name, and the next run succeeds."""
    target = tmp_path / "big.kms"
    command = [sys.executable, "-m", "kms_grpc", "encrypt-file", "--key", key, "--to", str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=clean() | server.variables())
    assert process.stdin is not None
    process.stdin.write(CONTENT)
    process.stdin.flush()
    end = time.monotonic() + 60
    while not any(path.stat().st_size > 1_000_000 for path in tmp_path.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stdin.close()
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(UNFINISHED)
    done = subprocess.run(command, input=CONTENT, env=clean() | server.variables(), timeout=60, check=True)
    assert done.returncode == 0
    assert target.exists()


def test_a_progress_bar_is_shown_on_a_terminal_only(server: Served, key: str, film: Path) -> None:
    """A terminal shows bar, bytes, rate and time left on standard error; a pipe gets nothing."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "kms_grpc", "encrypt-file", "--key", key, str(film), "--replace"]
    environment = clean() | server.variables() | {"TERM": "xterm", "COLUMNS": "120"}
    ran = subprocess.run(command, stderr=terminal, stdout=subprocess.PIPE, env=environment, timeout=60, check=True)
    os.close(terminal)
    seen = os.read(main, 100_000).decode()
    os.close(main)
    assert ran.returncode == 0
    assert re.search(r"film\.mp4.*\d\.\d/2\.5 MB", seen), seen
    assert re.search(r"2\.5/2\.5 MB +[\d.]+ .B/s +0:00:00", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", seen)), seen
    quiet = subprocess.run([*command, "--quiet"], capture_output=True, env=environment, timeout=60, check=True)
    assert quiet.stderr == b""


def test_binary_output_to_a_terminal_is_refused(server: Served, key: str, film: Path) -> None:
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "kms_grpc", "encrypt-file", "--key", key, str(film), "--to", "-"]
    ran = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, env=clean() | server.variables(), timeout=60)
    os.close(terminal)
    os.close(main)
    assert (ran.returncode, b"--force" in ran.stderr) == (2, True)
