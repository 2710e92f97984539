"""`kms-grpc check` names each fault of a data directory or a server, and its exit code is then 1."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kms_grpc.app import bearer_tokens
from kms_grpc.clock import SystemClock
from kms_grpc.config import ConfigurationError, load
from kms_grpc.crypto.key_wrapping import create_root_key_file
from kms_grpc.registry.sql.library import sqlite3
from tests.certificates import Authority
from tests.cli.conftest import Run
from tests.conftest import StartServer
from tests.served import Served

pytestmark = pytest.mark.xdist_group("check")  # all tests copy the data directory of one server

CHECKED = "description = 'checked'"
"""Selects the key that the fixture creates; the same table holds AWS owned keys."""
UNLOCKABLE = ("sh", "-c", 'ulimit -l 0 && exec setpriv --bounding-set=-ipc_lock "$@"', "sh")
"""Runs a command without the right to lock memory."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a stopped server, with a key and an alias."""
    served = Served(tmp_path_factory.mktemp("check") / "data")
    served.start()
    with served.client() as kms:
        key = kms.create_key("checked").key_metadata
        kms.create_alias("alias/checked", key.key_id)
    assert served.stop() == 0
    yield served.data_dir


@pytest.fixture
def data_dir(filled: Path, tmp_path: Path) -> Path:
    """A copy of the data directory, which a test may damage."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


def execute(statement: str) -> Callable[[Path], None]:
    def damage(data_dir: Path) -> None:
        with closing(sqlite3.connect(data_dir / "regions" / "eu-central-1.sqlite")) as connection:
            assert connection.execute(statement).rowcount == 1
            connection.commit()

    return damage


def swap(data_dir: Path) -> None:
    one, other = (data_dir / "regions" / f"{region}.sqlite" for region in ("eu-central-1", "eu-west-1"))
    one.rename(data_dir / "aside")
    other.rename(one)
    (data_dir / "aside").rename(other)


def other_root_key(data_dir: Path) -> None:
    (data_dir / "root.key").unlink()
    create_root_key_file(data_dir / "root.key")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: (data / "root.key").chmod(0o640), "chmod 600"),
        (lambda data: data.chmod(0o755), "open to other users"),
        (lambda data: (data / "dev.token").chmod(0o644), "dev.token"),
        (lambda data: (data / "root.key").unlink(), "needs the root key"),  # by its fingerprint
        (lambda data: (data / "root.key").write_bytes(b"short"), "32 bytes"),
        (other_root_key, "but the one here is"),  # both fingerprints
        (swap, "rename it to"),
        (lambda data: shutil.rmtree(data / "regions"), "no shard"),
        (lambda data: (data / "regions" / "eu-west-1.sqlite").write_bytes(b"no database" * 100), "eu-west-1"),
        (execute(f"UPDATE keys SET description = 'changed' WHERE {CHECKED}"), "changed on disk"),
        (execute("UPDATE aliases SET name = 'alias/forged' WHERE name = 'alias/checked'"), "alias/checked"),
        (
            execute(
                f"UPDATE materials SET wrapped = zeroblob(105) WHERE key_id = (SELECT key_id FROM keys WHERE {CHECKED})"
            ),
            "changed on disk",
        ),
        (execute("UPDATE shard SET created_ns = created_ns + 1"), "own row was changed on disk"),
        (shutil.rmtree, "no such directory"),
    ],
)
def test_each_fault_is_named(damage: Callable[[Path], object], says: str, data_dir: Path, run: Run) -> None:
    damage(data_dir)
    ran = run("check", "--data-dir", data_dir, "-o", "json")
    assert (ran.code, ran.json["Well"]) == (1, False)
    bad = [finding["Text"] for finding in ran.json["Findings"] if finding["Verdict"] == "bad"]
    assert any(says in text for text in bad), bad


def test_an_undamaged_data_directory_has_no_findings(filled: Path, run: Run) -> None:
    ran = run("check", "--data-dir", filled)
    assert ran.code == 0, ran.text
    assert ran.text.endswith("all is well\n")
    assert "fingerprint" in ran.text
    assert "OpenSSL" in ran.text
    assert "no server is running" in ran.text


def test_a_data_directory_of_another_user_is_left_alone(data_dir: Path, run: Run) -> None:
    """A check by root would leave files that the service's user cannot open."""
    for path in (data_dir, *data_dir.rglob("*")):
        os.chown(path, 65534, 65534)
    before = sorted(data_dir.rglob("*"))
    says = f"{data_dir} is the data directory of user nobody, and this is root. Way out: run it as nobody: "
    ran = run("check", "--data-dir", data_dir, "-o", "json")
    assert (ran.code, ran.json["Well"]) == (1, False)
    assert f"{says}runuser -u nobody -- kms-grpc check --data-dir {data_dir}" in ran.text
    ran = run("principals", "access-key", "list", "--dev", "--data-dir", data_dir)
    assert (ran.code, "chown" in ran.err) == (2, False)
    assert f"{says}runuser -u nobody -- kms-grpc principals access-key list --data-dir {data_dir}" in " ".join(
        ran.err.split()
    )
    served = Served(data_dir)
    assert served.launch().wait(60) == 1
    assert f"{says}runuser -u nobody -- kms-grpc serve --data-dir {data_dir}" in served.log_text()
    assert sorted(data_dir.rglob("*")) == before


def test_room_on_each_file_system(data_dir: Path, run: Run) -> None:
    assert "MiB free where" in run("check", "--data-dir", data_dir).text
    disk = data_dir / "audit"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    try:
        ran = run("check", "--data-dir", data_dir, "-o", "json")
        bad = [finding["Text"] for finding in ran.json["Findings"] if finding["Verdict"] == "bad"]
        assert (ran.code, bad) == (
            1, [f"1 MiB free where {disk} is: make room, or writes and audited calls are refused"],
        )  # fmt: skip
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


CONFIGURATION = """
data_dir = "{data}"
regions = ["eu-central-1", "eu-west-1"]
[[principals]]
name = "orders"
arn = "arn:aws:iam::123456789012:role/orders"
account = "123456789012"
token_file = "{token}"
policies = ["full-access"]
"""


@pytest.mark.parametrize(
    ("mode", "change", "says"),
    [
        (0o600, ("", ""), None),
        (0o640, ("", ""), "orders.token: it holds a token and is open to others (mode 0640). Way out: chmod go= "),
        (0o600, ("workers", "workers"), None),
        (0o600, ("eu-west-1", "eu-central-1"), "the same region is given twice"),
        (0o600, ("orders.token", "other.token"), "No such file"),
        (0o600, ("account =", "acount ="), "acount"),
        (0o600, ('policies = ["full-access"]', ""), "principals without policies: orders. Give each of them policies"),
        (0o600, ("full-access", "root"), "policy 'root' is none of administrator, user, reader, auditor, full-access"),
        (0o600, ("full-access", "nowhere.json"), "principal orders: policy nowhere.json: No such file or directory"),
        (0o600, ('"full-access"', "'{\"Statement\":{}}'"), "policies[0]: Missing required field Effect (at Statement)"),
        (0o600, ('"full-access"', ""), None),
        (0o600, ("token_file", "token"), "kms.toml: it holds tokens and is open to others (mode 0644)"),
    ],
)
def test_a_configuration_is_checked_without_serving(
    data_dir: Path, tmp_path: Path, run: Run, mode: int, change: tuple[str, str], says: str | None
) -> None:
    token = tmp_path / "orders.token"
    token.write_text("a-token-of-orders-0001")
    token.chmod(mode)
    text = CONFIGURATION.format(data=data_dir, token=token)
    (tmp_path / "kms.toml").write_text(text.replace(*change) if change[0] else text)
    (tmp_path / "kms.toml").chmod(0o644)
    ran = run("check", "--config", tmp_path / "kms.toml", "-o", "json")
    bad = [finding["Text"] for finding in ran.json["Findings"] if finding["Verdict"] == "bad"]
    assert (ran.code, ran.json["Well"], len(bad)) == ((0, True, 0) if says is None else (1, False, 1)), bad
    assert says is None or says in bad[0]
    if says is None:
        assert "all rows are as they were written" in ran.text
    elif "open to others" in says:
        with pytest.raises(ConfigurationError, match="open to others"):
            bearer_tokens(load(tmp_path / "kms.toml", {}), SystemClock())


def test_keys_and_bundles_of_a_configuration_are_checked(data_dir: Path, tmp_path: Path, run: Run) -> None:
    """A key set that is none, and two CAs of one name, of which TLS finds only the first."""
    (tmp_path / "keys.json").write_text("<html>")
    (tmp_path / "cas.pem").write_bytes(Authority().pem + Authority().pem)
    (tmp_path / "kms.toml").write_text(
        f"""data_dir = "{data_dir}"
regions = ["eu-central-1"]
[tls]
certificate_file = "/nowhere"
key_file = "/nowhere"
client_certificates = "required"
[[client_bundles]]
name = "ours"
file = "{tmp_path}/cas.pem"
[[issuers]]
name = "cluster"
issuer = "i"
audience = "a"
jwks_file = "{tmp_path}/keys.json"
[[mappings]]
name = "m"
issuer = "cluster"
claims = {{ sub = "x" }}
arn = "arn:aws:iam::123456789012:role/x"
account = "123456789012"
policies = []
"""
    )
    ran = run("check", "--config", tmp_path / "kms.toml", "-o", "json")
    texts = [finding["Text"] for finding in ran.json["Findings"]]
    assert f"issuer cluster: jwks_file {tmp_path}/keys.json: it is no JSON Web Key Set" in texts
    assert any("client bundle ours: several CAs are named CN=CA of the tests" in text for text in texts)
    ran = run("principals", "check", "--config", tmp_path / "kms.toml")
    assert (ran.code, "it is no JSON Web Key Set" in ran.err) == (2, True)


def test_a_check_beside_a_running_server(server: Served, run: Run) -> None:
    ran = run("check", "--data-dir", server.data_dir)
    assert ran.code == 0, ran.text
    assert f"{server.address} is SERVING" in ran.text
    assert "worker-1" in ran.text
    assert run("check", "--endpoint", server.address).code == 0


def test_an_unreachable_server_is_a_fault(run: Run) -> None:
    ran = run("check", "--endpoint", "127.0.0.1:1")
    assert ran.code == 1
    assert "no answer" in ran.text


def test_memory_that_cannot_be_locked_is_logged_once_and_reported(start_server: StartServer, run: Run) -> None:
    served = start_server(regions=["eu-central-1"], prefix=UNLOCKABLE)
    ran = run("check", "--data-dir", served.data_dir)
    assert ran.code == 1
    assert ran.text.count("its keys may be swapped to disk") == 2, "once for each worker"
    with served.client() as kms:
        key = kms.create_key().key_metadata.key_id
        assert kms.decrypt(kms.encrypt(key, b"served all the same").ciphertext_blob).plaintext
    warnings = [line for line in served.log_text().splitlines() if '"warning"' in line and "lock memory" in line]
    assert len(warnings) == 1, served.log_text()


def test_each_worker_is_checked_on_its_unix_socket(start_server: StartServer, tmp_path: Path, run: Run) -> None:
    served = start_server(regions=["eu-central-1"], listen=f"unix:{tmp_path}/kms")
    ran = run("check", "--data-dir", served.data_dir)
    for worker in range(2):
        assert f"unix:{tmp_path}/kms.{worker} is SERVING" in ran.text
        variables = served.variables() | {"KMS_GRPC_ENDPOINT": f"unix:{tmp_path}/kms.{worker}"}
        assert run("keys", "list", variables=variables).code == 0
