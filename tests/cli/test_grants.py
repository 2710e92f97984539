"""`kms-grpc grants`: create, list, retire, revoke."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run

ORDERS = "arn:aws:iam::444455556666:role/orders"
OWN = "arn:aws:iam::123456789012:role/own"


def test_a_grant_from_its_creation_to_its_end(kms: Run, key: str) -> None:
    made = kms(
        "grants", "create", key, "--to", ORDERS, "--allow", "Decrypt", "--allow", "Encrypt",
        "--context-has", "app=shop", "--context-is", "app=shop", "--retiring", OWN, "--name", "n", "-o", "json",
    ).json  # fmt: skip
    assert set(made) == {"GrantToken", "GrantId"}
    (entry,) = kms("grants", "list", key, "-o", "json").json["Grants"]
    assert (entry["GrantId"], entry["GranteePrincipal"], entry["Operations"]) == (
        made["GrantId"], ORDERS, ["Decrypt", "Encrypt"],
    )  # fmt: skip
    assert entry["Constraints"] == {
        "EncryptionContextSubset": {"app": "shop"},
        "EncryptionContextEquals": {"app": "shop"},
    }
    assert made["GrantId"] in kms("grants", "list", "--retiring", OWN).text
    shown = kms("grants", "list", key, "--to", ORDERS).text
    assert [word in shown for word in (ORDERS, "Decrypt, Encrypt", "app=shop, app==shop", OWN)] == [True] * 4
    dry = kms("grants", "revoke", key, made["GrantId"], "--dry-run")
    assert dry.text == "dry run: the call would have succeeded\n"
    assert kms("grants", "revoke", key, made["GrantId"]).text == "the grant is revoked\n"
    assert kms("grants", "list", key).text.strip() == "no grants"
    assert kms("grants", "revoke", key, made["GrantId"]).code != 0


def test_a_service_and_a_token(kms: Run, key: str) -> None:
    made = kms(
        "grants", "create", key, "--to", "s3.amazonaws.com", "--allow", "Decrypt", "--retiring", "ec2.amazonaws.com",
        "--source-arn", "arn:aws:s3:eu-central-1:123456789012:bucket", "-o", "json",
    ).json  # fmt: skip
    (entry,) = kms("grants", "list", key, "--to", "s3.amazonaws.com", "-o", "json").json["Grants"]
    assert (entry["GranteeServicePrincipal"], entry["RetiringServicePrincipal"]) == (
        "s3.amazonaws.com", "ec2.amazonaws.com",
    )  # fmt: skip
    assert kms("grants", "retire", "--grant-token", made["GrantToken"], "--dry-run").code == 0
    assert kms("grants", "retire", "--grant-token", made["GrantToken"]).text == "the grant is retired\n"


MISTAKEN = [
    (("create", "KEY", "--to", ORDERS, "--allow", "Rule"), 2, "'Rule' is not one of Decrypt, Encrypt"),
    (("create", "KEY", "--to", "orders", "--allow", "Decrypt"), 1, "ARN does not refer to a valid principal: orders"),
    (("list",), 2, "Give KEY"),
    (("list", "KEY", "--retiring", OWN), 2, "Give KEY"),
    (("retire", "KEY"), 1, "You must specify either GrantToken"),
    (("revoke", "KEY", "x"), 1, "The grant ID is not valid"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), MISTAKEN)
def test_mistakes(kms: Run, key: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = kms("grants", *(key if each == "KEY" else each for each in arguments))
    assert said in ran.err
    assert (ran.code == 2) == (code == 2)


def test_a_dry_run_creates_nothing(kms: Run, key: str) -> None:
    ran = kms("grants", "create", key, "--to", ORDERS, "--allow", "Decrypt", "--dry-run")
    assert ran.text == "dry run: the call would have succeeded\n"
    assert kms("grants", "list", key).text.strip() == "no grants"
