"""Bearer tokens: each names its principal, and no token stays in memory."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.errors import MissingAuthenticationTokenException, UnrecognizedClientException
from kms_grpc.model.principal import Principal
from kms_grpc.processes import logs

BILLING = Principal("billing", "arn:aws:iam::123456789012:role/billing", "123456789012")


def sent(token: str | None) -> Credentials:
    return Credentials(token, "eu-central-1", "id", False, "ipv4:127.0.0.1:9", "tests/1.0")


def texts(root: Any) -> Iterator[str | bytes]:
    """Yields all texts that an object keeps alive, except code."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str | bytes):
            yield one
        keys = one if isinstance(one, dict) else ()  # gc leaves out the keys of a dict that are all str
        for other in (*gc.get_referents(one), *keys):
            if id(other) not in seen and not isinstance(other, type):
                seen.add(id(other))
                waiting.append(other)


def test_tokens_are_kept_by_their_digests_alone() -> None:
    token = secrets.token_hex(32)
    tokens = BearerTokens([(token, BILLING)])
    for _ in range(2):
        assert tokens.principal(sent(token)) is BILLING
        assert tokens.warm_principal(sent(token)) is BILLING
    kept = list(texts(tokens))
    assert BILLING.arn in kept, "the search no longer finds what is kept"
    assert not [text for text in kept if token in str(text)]


@pytest.mark.parametrize("token", ["", "unknown", "x" * 9000, "\ud800", "\udcff", "\xff"])
def test_an_unknown_token_names_nobody(token: str) -> None:
    tokens = BearerTokens([("t" * 32, BILLING)])
    assert tokens.warm_principal(sent(token)) is None
    with pytest.raises(UnrecognizedClientException):
        tokens.principal(sent(token))


def test_no_token_is_missing() -> None:
    tokens = BearerTokens([("t" * 32, BILLING)])
    assert tokens.warm_principal(sent(None)) is None
    with pytest.raises(MissingAuthenticationTokenException):
        tokens.principal(sent(None))


def test_two_principals_with_one_token_are_refused() -> None:
    other = Principal("other", BILLING.arn, BILLING.account)
    with pytest.raises(ValueError, match="billing and other have the same token"):
        BearerTokens([("t" * 32, BILLING), ("t" * 32, other)])


def test_logs_hide_tokens_that_they_do_not_know() -> None:
    """Two tokens of different lengths, one in the middle of a word, one twice in a line."""
    one, other = secrets.token_hex(32), secrets.token_urlsafe(40)
    logs.hide([one, other, ""])
    line = f'{{"message":"{one}","other":"x{other}{other}y"}} {one[:-1]} {one}'
    assert logs.without_secrets(line) == f'{{"message":"[hidden]","other":"x[hidden][hidden]y"}} {one[:-1]} [hidden]'
    assert not [text for text in texts(vars(logs)["_digests"]) if one in str(text) or other in str(text)]
