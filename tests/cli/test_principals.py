"""`kms-grpc principals list`: the configured callers with their policies."""

from __future__ import annotations

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
