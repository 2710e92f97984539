"""`kms-grpc policy`: what it shows, asks and warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.test_principals import configuration

ACCOUNT = "123456789012"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ORDERS = f"arn:aws:iam::{ACCOUNT}:role/orders"
BILLING = f"arn:aws:iam::{ACCOUNT}:role/billing"


def document(*statements: dict[str, Any]) -> str:
    whole = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [whole | statement for statement in statements]})


ACCOUNTS = {"Principal": {"AWS": ROOT}}


def allow(arn: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {"Principal": {"AWS": arn}, "Action": list(actions), **more}


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    return tmp_path / "policy.json"


def test_a_policy_is_put_and_read_back_byte_for_byte(kms: Run, key: str, policy_file: Path) -> None:
    text = document(ACCOUNTS, allow(ORDERS, "kms:Encrypt")) + "\n \t"
    policy_file.write_text(text)
    ran = kms("policy", "put", key, policy_file)
    assert ran.code == 0, ran.err
    assert [line.split() for line in ran.text.splitlines()] == [
        ["Principal", "Actions", "Before", "After"],
        [ORDERS, "Encrypt", "by", "own", "policies", "allowed"],
        [key, "has", "the", "new", "policy"],
    ]
    assert kms("policy", "get", key).out == text.encode()
    assert (
        kms(
            "policy",
            "put",
            key,
            "-",
            stdin=document(ACCOUNTS).encode(),
        ).code
        == 2
    ), "orders would lose something"


def test_it_asks_before_somebody_loses_access(kms: Run, key: str, policy_file: Path) -> None:
    policy_file.write_text(document(ACCOUNTS, allow(ORDERS, "kms:Encrypt", "kms:Decrypt")))
    assert kms("policy", "put", key, policy_file).code == 0
    policy_file.write_text(
        document(ACCOUNTS, allow(ORDERS, "kms:Encrypt"), allow(ORDERS, "kms:Decrypt", Effect="Deny"))
    )
    ran = kms("policy", "put", key, policy_file)
    assert ran.code == 2
    assert "somebody would lose access" in ran.err
    assert ran.text.splitlines()[1].split() == [ORDERS, "Decrypt", "allowed", "denied"]
    assert "Deny" not in kms("policy", "get", key).text, "nothing was replaced"
    assert kms("policy", "put", key, policy_file, "--yes").code == 0
    assert "Deny" in kms("policy", "get", key).text


def test_the_principals_of_a_configuration_are_judged_with_their_own_policies(
    kms: Run, key: str, policy_file: Path, tmp_path: Path
) -> None:
    config = configuration(tmp_path, orders='["user"]', billing="[]")
    policy_file.write_text(document(ACCOUNTS, {"Effect": "Deny", **allow(ORDERS, "kms:Decrypt")}))
    ran = kms("policy", "put", key, policy_file, "--config", config)
    assert ran.code == 2
    assert [line.split() for line in ran.text.splitlines()[1:]] == [["orders", "Decrypt", "allowed", "denied"]]
    policy_file.write_text(
        document(
            ACCOUNTS, allow(BILLING, "kms:Encrypt", Condition={"StringEquals": {"kms:EncryptionContext:app": "x"}})
        )
    )
    ran = kms("policy", "put", key, policy_file, "--config", config)
    assert ran.code == 0
    assert ran.text.splitlines()[1].split() == ["billing", "Encrypt", "denied", "in", "some", "calls"]


def test_the_lock_out_check_is_the_servers(kms: Run, key: str, policy_file: Path) -> None:
    policy_file.write_text(document(allow(ORDERS, "kms:Encrypt")))
    ran = kms("policy", "put", key, policy_file, "--yes")
    assert ran.code != 0
    assert "will not allow you to update the key policy in the future" in ran.err


def test_a_malformed_policy_is_refused_with_its_place(kms: Run, key: str, policy_file: Path) -> None:
    policy_file.write_text(document({"Principal": "alice"}))
    for command in (("put", key), ("check",)):
        ran = kms("policy", *command, policy_file)
        assert ran.code not in (0, 1) or "Statement[0].Principal" in ran.err, ran.err
        assert "Statement[0].Principal" in ran.err


WARNINGS: list[tuple[str, dict[str, Any], str]] = [
    ("nothing", ACCOUNTS, ""),
    ("an absent key in a Deny, positive",
     {"Principal": "*", "Effect": "Deny", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
     "the statement denies nothing"),
    ("an absent key in a Deny, negated",
     {"Principal": "*", "Effect": "Deny", "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}},
     "the statement denies every call that it is about"),
    ("an absent key in a Deny, with IfExists",
     {"Principal": "*", "Effect": "Deny", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}},
     "denies every call"),
    ("an absent key in an Allow", {**ACCOUNTS, "Condition": {"StringEquals": {"aws:SourceVpc": "v"}}}, "never holds"),
    ("a restriction that restricts nothing",
     {**ACCOUNTS, "Condition": {"StringNotEquals": {"aws:SourceVpc": "v"}}}, "restricts nothing"),
    ("no action", allow(ROOT, "kms:ReEncrypt"), "kms:reencrypt is no action of this service"),
    ("another service's action", allow(ROOT, "s3:GetObject"), "s3:getobject is no action"),
    ("a wildcard that fits", allow(ROOT, "KMS:reencrypt*"), ""),
    ("a grant's operation with its prefix",
     {**ACCOUNTS, "Condition": {"ForAllValues:StringEquals": {"kms:GrantOperations": "kms:Decrypt"}}},
     "kms:Decrypt is no value of kms:GrantOperations"),
    ("a value that can be",
     {**ACCOUNTS, "Condition": {"StringLike": {"kms:KeyOrigin": "EXT*"}}}, ""),
    ("a statement without an action", {"Principal": "*", "Action": None}, "without Action it has no effect"),
    ("a resource that is no key",
     {**ACCOUNTS, "Resource": f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/a"}, "is not a key, so it never matches"),
    ("RetireGrant", allow(ROOT, "kms:RetireGrant"), "cannot be allowed by a key policy"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "statement", "said"), WARNINGS, ids=[row[0] for row in WARNINGS])
def test_check_warns_of_what_never_matches(
    run: Run, policy_file: Path, why: str, statement: dict[str, Any], said: str
) -> None:
    text = document(statement).replace('"Action": null, ', "")
    policy_file.write_text(text)
    ran = run("policy", "check", policy_file)
    assert ran.code == (1 if said else 0), (why, ran.text, ran.err)
    assert said in ran.text, why
    warnings = run("policy", "check", policy_file, "-o", "json").json["Warnings"]
    assert len([warning for warning in warnings if warning.startswith("Statement[0]")]) == len(warnings)
    assert bool(warnings) is bool(said)


def test_a_template_is_a_policy_that_passes_the_check(run: Run, policy_file: Path) -> None:
    made = run("policy", "template", "--account", ACCOUNT, "--administrator", BILLING, "--user", ORDERS)
    policy_file.write_bytes(made.out)
    assert run("policy", "check", policy_file).code == 0
    assert [statement["Principal"]["AWS"] for statement in made.json["Statement"]] == [ROOT, BILLING, ORDERS]
    assert len(run("policy", "template", "--account", ACCOUNT).json["Statement"]) == 1
