"""The credentials of a configuration: what is taken, and what is refused with its place."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from kms_grpc import config
from kms_grpc.principal_settings import same_tokens

TOKEN = "a-token-of-orders-0001"
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
NEW_YEAR = "2027-01-01T00:00:00Z"
OTHER = "a-token-of-billing-0001"


def principal(name: str = "orders", **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:iam::123456789012:role/{name}"
    return {"name": name, "arn": arn, "account": "123456789012", "policies": [], **more}


def read(*principals: dict[str, Any]) -> list[tuple[str, bytes]]:
    settings = config.from_values({"regions": ["eu-central-1"], "principals": list(principals)})
    return [(name, one.digest) for name, one in same_tokens(settings.principals)]


@pytest.mark.parametrize(
    ("given", "digests"),
    [
        ({"token": TOKEN}, [TOKEN]),
        ({"token_sha256": SHA256}, [TOKEN]),  # the file holds no secret
        ({"token_sha256": SHA256, "credentials": [{"token": OTHER}]}, [TOKEN, OTHER]),  # an exchange of tokens
        ({"credentials": [{"token_sha256": SHA256, "expires": "2027-01-01T00:00:00Z"}]}, [TOKEN]),
        ({"credentials": []}, []),  # access keys alone
    ],
)
def test_a_principal_may_have_several_credentials(given: dict[str, Any], digests: list[str]) -> None:
    assert read(principal(**given)) == [("orders", hashlib.sha256(each.encode()).digest()) for each in digests]


@pytest.mark.parametrize(
    ("principals", "says"),
    [
        ([principal()], "principal orders: give exactly one of token, token_file and token_sha256"),
        ([principal(token=TOKEN, token_sha256=SHA256)], "principal orders: give exactly one of"),
        ([principal(credentials=[{"token": TOKEN}, {}])], "principal orders: credentials[1]: give exactly one of"),
        ([principal(token_sha256=SHA256.upper())], "64 hexadecimal digits in lower case"),
        ([principal(token_sha256=SHA256[:-2])], "64 hexadecimal digits in lower case"),
        ([principal(token="short")], "principal orders: its token must have at least 16 characters"),
        (
            [principal(credentials=[{"token": TOKEN, "expires": "2027-01-01T00:00:00"}])],
            "principal orders: credentials[0]: expires must have an offset",  # whose midnight?
        ),
        (
            [principal(credentials=[{"token": TOKEN, "not_before": NEW_YEAR, "expires": NEW_YEAR}])],
            "expires must be later than not_before",
        ),
        (
            [principal(token=TOKEN), principal("billing", token_sha256=SHA256)],
            "principals orders and billing have the same token",  # once as text, once as digest
        ),
        ([principal(token=TOKEN, credentials=[{"token": TOKEN}])], "principal orders: two of its credentials"),
        (
            [principal(credentials=[{"tokn": TOKEN}])],
            "principals[0].credentials[0].tokn: no such setting; did you mean token?",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(principals: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(config.ConfigurationError) as refused:
        read(*principals)
    assert says in str(refused.value).replace("...", "0")


def test_a_file_with_a_token_among_the_credentials_must_be_closed(tmp_path: Path) -> None:
    path = tmp_path / "kms.toml"
    path.write_text(
        'regions = ["eu-central-1"]\n[[principals]]\nname = "orders"\narn = "arn:aws:iam::123456789012:role/orders"\n'
        'account = "123456789012"\npolicies = []\n[[principals.credentials]]\n'
        f'token = "{TOKEN}"\nexpires = 2027-01-01T00:00:00Z\n'
    )
    path.chmod(0o644)
    with pytest.raises(config.ConfigurationError, match="it holds tokens and is open to others"):
        config.load(path, {})
    path.write_text(path.read_text().replace(f'token = "{TOKEN}"', f'token_sha256 = "{SHA256}"'))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    (one,) = config.load(path, {}).principals[0].read_credentials()
    assert (one.digest.hex(), one.ends_ns) == (SHA256, 1_798_761_600 * 10**9)
