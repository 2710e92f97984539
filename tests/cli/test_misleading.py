"""Errors that name the way out: the right command, the right option, the right setting."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from kms_grpc.config import ConfigurationError, load
from tests.cli.conftest import Run
from tests.served import Served

# --- files of the other format --------------------------------------------------------------------------------------


@pytest.fixture
def files(kms: Run, key: str, tmp_path: Path) -> dict[str, Path]:
    """A text as a blob, as a message of the AWS Encryption SDK, and both in base64."""
    made = {name: tmp_path / f"{name}.kms" for name in ("blob", "message", "blob64", "message64")}
    text = tmp_path / "text"
    text.write_bytes(b"correct horse")
    assert kms("encrypt", "--key", key, text, "--to", made["blob"]).code == 0
    assert kms("encrypt-file", "--key", key, text, "--to", made["message"]).code == 0
    for name in ("blob", "message"):
        made[f"{name}64"].write_bytes(base64.encodebytes(made[name].read_bytes()))
    return made


@pytest.mark.parametrize(
    ("command", "name", "way_out"),
    [
        ("decrypt", "message", "kms-grpc decrypt-file {}"),
        ("decrypt", "message64", "base64 --decode {} | kms-grpc decrypt-file"),
        ("decrypt-file", "blob", "kms-grpc decrypt {}"),
        ("decrypt-file", "blob64", "base64 --decode {} | kms-grpc decrypt"),
        ("decrypt-file", "message64", "base64 --decode {} | kms-grpc decrypt-file"),
    ],
)
def test_a_file_of_another_command_names_it(
    kms: Run, files: dict[str, Path], command: str, name: str, way_out: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = kms(command, files[name], "--to", out)
    assert (ran.code, ran.out, out.exists()) == (2, b"", False)
    assert f"Decrypt it by: {way_out.format(files[name])}." in ran.err
    ran = kms(command, stdin=files[name].read_bytes())
    assert (ran.code, ran.out) == (2, b"")
    assert f"Decrypt it by: {way_out.format('').replace('  ', ' ').strip()}." in ran.err


def test_base64_is_decrypted_without_an_option(kms: Run, files: dict[str, Path], key: str) -> None:
    for options in ((), ("--base64",)):
        assert kms("decrypt", files["blob64"], *options).out == b"correct horse"
    moved = kms("re-encrypt", files["blob64"], "--key", key)
    assert kms("decrypt", stdin=moved.out).out == b"correct horse"


@pytest.mark.parametrize("content", [b"", b"AQ", b"no ciphertext", b"\x01\x02 another format", b"AQEB\xff"])
def test_input_that_is_neither_format_goes_to_the_service(kms: Run, content: bytes) -> None:
    assert kms("decrypt", stdin=content).code in (1, 7)
    if content != b"AQEB\xff":
        assert kms("decrypt-file", stdin=content).code in (1, 7)


# --- ways out of the service's errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "enable"), ("keys", "disable"), ("policy", "get"), ("keys", "cancel-deletion"),
        ("rotation", "now"), ("tags", "list"), ("alias", "list", "--key"), ("alias", "create", "alias/other"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_takes_no_alias_says_so(kms: Run, command: tuple[str, ...]) -> None:
    ran = kms(*command, "alias/x")
    assert ran.code in (1, 5)
    assert re.search(r"takes a key's id or ARN, which kms-grpc keys describe (alias/x|ALIAS) shows", ran.err), ran.err


def test_too_large_or_empty_inputs_have_a_way_out(kms: Run, key: str) -> None:
    assert "through kms-grpc encrypt-file" in kms("encrypt", "--key", key, stdin=bytes(5000)).err
    assert "give at least one byte" in kms("encrypt", "--key", key).err


def test_an_unknown_access_key_points_to_the_list(run: Run, server: Served) -> None:
    ran = run("principals", "access-key", "delete", "AKIAIOSFODNN7EXAMPLE", "--data-dir", server.data_dir, "--dev")
    assert (ran.code, "Way out: see those that there are: kms-grpc principals access-key list" in ran.err) == (5, True)


def test_options_are_named_as_on_the_command_line(run: Run) -> None:
    for arguments in (["--endpoint", "kms.example.com:1"], ["--tls-name", "x"], ["--tls-ca", "/nowhere"]):
        ran = run("keys", "list", *arguments)
        assert (ran.code, "--tls-ca" in ran.err, "tls_" in ran.err) == (2, True, False), ran.err


# --- configuration ---------------------------------------------------------------------------------------------------

WITHOUT_POLICIES = '[[principals]]\nname = "orders"\narn = "{}"\naccount = "123456789012"\ntoken = "0123456789abcdef"\n'
PRINCIPAL = f"{WITHOUT_POLICIES}policies = []\n"
ORDERS = "arn:aws:iam::123456789012:role/orders"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('workers = "4"', "workers: must be int, not str"),
        ("workers = 4.5", "workers: must be int, not float"),
        ("wrokers = 4", "wrokers: no such setting; did you mean workers?"),
        ("metrics-listen = '127.0.0.1:1'", "metrics-listen: no such setting; did you mean metrics_listen?"),
        ("keys_per_account = 4", "keys_per_account: no such setting here; it belongs in [quotas]"),
        ("[limits]\nworkers = 4", "limits.workers: no such setting here; it belongs above all sections"),
        ("[quotas]\nkeys_per_acount = 1", "quotas.keys_per_acount: no such setting; did you mean keys_per_account?"),
        ("[quotas]\nx = 1", "quotas.x: no such setting; there are keys_per_account, aliases_per_key"),
        ("[tls]\ncertificate_file = 'c'", "tls.key_file: is missing"),
        ("[tls]\ncertificate_file = 5", "tls.certificate_file: a path is needed"),
        ('regions = "eu-west-1"', "regions: must be array, not str"),
        ("regions = ['nowhere']", "region 'nowhere': must have the form eu-central-1"),
        ("[[principals]]\nname = 'a'", "principals[0].arn: is missing"),
        (
            PRINCIPAL.format("arn:aws:iam::123456789013:role/orders"),
            "principal orders: arn is of account '123456789013', but account is 123456789012",
        ),
        (
            WITHOUT_POLICIES.format(ORDERS) + WITHOUT_POLICIES.format(ORDERS).replace('"orders"', '"billing"'),
            'principals without policies: orders, billing. Give each of them policies = ["full-access"], to let it do'
            " everything in its account, as before, or policies = [], to let it do only what key policies and grants",
        ),
        (
            f"{WITHOUT_POLICIES}policies = 'user'\n".format(ORDERS),
            "principals[0].policies: must be array | null, not str",
        ),
        (f"{WITHOUT_POLICIES}policies = [5]\n".format(ORDERS), "principals[0].policies[0]: must be str, not int"),
        (PRINCIPAL.format("arn:aws:iam"), "must have the form arn:aws:iam::123456789012:role/NAME"),
    ],
)
def test_errors_of_a_configuration_name_file_and_setting(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "kms.toml"
    path.write_text(text if text.startswith("regions") else f'regions = ["eu-west-1"]\n{text}\n')
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as refused:
        load(path, {})
    assert str(refused.value).startswith(f"{path}: ")
    assert says in str(refused.value)


def test_an_error_names_the_file_only_if_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "kms.toml"
    path.write_text('regions = ["eu-west-1"]\nworkers = 300\n')
    with pytest.raises(ConfigurationError, match=rf"^{re.escape(str(path))}: workers: "):
        load(path, {})
    path.write_text('regions = ["eu-west-1"]\n')
    with pytest.raises(ConfigurationError, match=r"^listen '0.0.0.0:1': only loopback"):
        load(path, {"listen": "0.0.0.0:1"})
