"""`kms-grpc principals list|check|token`: the configured callers, their credentials and policies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.cli.conftest import Run

CALLER = """
[[principals]]
name = "{name}"
arn = "arn:aws:iam::123456789012:role/{name}"
account = "123456789012"
token = "a-token-of-{name}-0001"
policies = {policies}
"""
INLINE = '{"Statement":{"Effect":"Allow","Action":"kms:Sign","Resource":"*"}}'


def configuration(folder: Path, **policies: str) -> Path:
    path = folder / "kms.toml"
    path.write_text("".join(CALLER.format(name=name, policies=each) for name, each in policies.items()))
    path.chmod(0o600)
    return path


def test_callers_are_listed_with_their_policies(tmp_path: Path, run: Run) -> None:
    path = configuration(tmp_path, orders=f"[\"user\", '{INLINE}']", billing="[]")
    ran = run("principals", "list", "--config", path)
    assert ran.code == 0, ran.err
    rows = [line.split(maxsplit=2) for line in ran.text.splitlines()[1:]]
    assert rows == [
        ["orders", "arn:aws:iam::123456789012:role/orders", "user, policies[1]"],
        ["billing", "arn:aws:iam::123456789012:role/billing", "none: key policies alone"],
    ]
    assert run("principals", "list", "--config", path, "-o", "json").json["Principals"][0] == {
        "Name": "orders",
        "Arn": "arn:aws:iam::123456789012:role/orders",
        "Policies": ["user", "policies[1]"],
    }


def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path, run: Run) -> None:
    path = configuration(tmp_path, orders='["user", "' + INLINE.replace('"', '\\"').replace("Effect", "effect") + '"]')
    ran = run("principals", "list", "--config", path)
    assert ran.code == 2
    assert "principal orders: policy policies[1]: Unknown field effect (at Statement.effect)" in ran.err


def test_a_token_is_made_with_its_digest(tmp_path: Path, run: Run) -> None:
    made = run("principals", "token", "-o", "json").json
    assert made["TokenSha256"] == hashlib.sha256(made["Token"].encode()).hexdigest()
    assert len(made["Token"]) == 64
    assert made["Token"] != run("principals", "token", "-o", "json").json["Token"]
    shown = run("principals", "token")
    assert f'token_sha256 = "{shown.text.split()[3]}"' in shown.text


def test_the_state_of_each_credential_is_shown(tmp_path: Path, run: Run) -> None:
    path = configuration(tmp_path, orders="[]")
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(2)]
    path.write_text(
        path.read_text()
        + f"""[[principals.credentials]]
token_sha256 = "{digests[0]}"
expires = 2999-01-01T00:00:00Z
[[principals.credentials]]
token_sha256 = "{digests[1]}"
not_before = 2998-01-01T01:00:00+01:00
[[principals]]
name = "aws"
arn = "arn:aws:iam::123456789012:role/aws"
account = "123456789012"
policies = []
credentials = []
"""
    )
    first = hashlib.sha256(b"a-token-of-orders-0001").hexdigest()
    ran = run("principals", "check", "--config", path, "-o", "json")
    assert (ran.code, [tuple(each.values()) for each in ran.json["Credentials"]]) == (
        0,
        [
            ("orders", f"token {first[:12]}", "valid"),
            ("orders", f"token {digests[0][:12]}", "valid until 2999-01-01T00:00:00Z"),
            ("orders", f"token {digests[1][:12]}", "valid from 2998-01-01T00:00:00Z"),
            ("aws", "none", "access keys alone"),
        ],
    )
    path.write_text(path.read_text().replace("2999", "1999"))
    ran = run("principals", "check", "--config", path)
    assert (ran.code, "expired on 1999-01-01T00:00:00Z" in ran.text) == (1, True)
    path.write_text(path.read_text().replace(digests[1], digests[0]))
    ran = run("principals", "check", "--config", path)
    assert (ran.code, "principal orders: two of its credentials are the same token" in ran.err) == (2, True)
