"""Bearer tokens: each names its principal, and no token stays in memory."""

from __future__ import annotations

import gc
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.errors import (
    ExpiredTokenException,
    KMSError,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from kms_grpc.model.principal import Principal
from kms_grpc.principal_settings import Credential, CredentialSettings
from kms_grpc.processes import logs

BILLING = Principal("billing", "arn:aws:iam::123456789012:role/billing", "123456789012")
TOKEN = CredentialSettings(token="t" * 32).read()


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
    tokens = BearerTokens([(CredentialSettings(token=token).read(), BILLING)], time.time_ns)
    for _ in range(2):
        assert tokens.principal(sent(token)) is BILLING
        assert tokens.warm_principal(sent(token)) is BILLING
    kept = list(texts(tokens))
    assert BILLING.arn in kept, "the search no longer finds what is kept"
    assert not [text for text in kept if token in str(text)]


@pytest.mark.parametrize("token", ["", "unknown", "x" * 9000, "\ud800", "\udcff", "\xff"])
def test_an_unknown_token_names_nobody(token: str) -> None:
    tokens = BearerTokens([(TOKEN, BILLING)], time.time_ns)
    assert tokens.warm_principal(sent(token)) is None
    with pytest.raises(UnrecognizedClientException):
        tokens.principal(sent(token))


def test_no_token_is_missing() -> None:
    tokens = BearerTokens([(TOKEN, BILLING)], time.time_ns)
    assert tokens.warm_principal(sent(None)) is None
    with pytest.raises(MissingAuthenticationTokenException):
        tokens.principal(sent(None))


NOW_NS = 1_796_000_000 * 10**9
SECOND_NS = 10**9
IS_NOW = "the server's time is 2026-11-30T00:53:20Z."


@pytest.mark.parametrize(
    ("begins", "ends", "error", "text"),
    [
        (None, None, None, ""),
        (None, 1, None, ""),  # one second to live
        (None, 0, ExpiredTokenException, f"is expired: {IS_NOW}"),  # the end itself is over
        (0, None, None, ""),  # the beginning itself has come
        (1, None, UnrecognizedClientException, f"is not yet valid: {IS_NOW}"),
    ],
)
def test_a_credential_is_taken_between_its_dates(
    begins: int | None, ends: int | None, error: type[KMSError] | None, text: str
) -> None:
    """The warm look-up, which comes first, says the same as the full one."""
    dates = [None if seconds is None else NOW_NS + seconds * SECOND_NS for seconds in (begins, ends)]
    tokens = BearerTokens([(Credential(TOKEN.digest, None, *dates), BILLING)], lambda: NOW_NS)
    if error is None:
        assert tokens.warm_principal(sent("t" * 32)) is tokens.principal(sent("t" * 32)) is BILLING
        return
    assert tokens.warm_principal(sent("t" * 32)) is None
    with pytest.raises(error, match=re.escape(text)):
        tokens.principal(sent("t" * 32))


def test_a_token_that_was_used_expires_all_the_same() -> None:
    """A look-up that remembers must not prolong anything."""
    now = [NOW_NS]
    tokens = BearerTokens([(Credential(TOKEN.digest, None, None, NOW_NS + 3 * SECOND_NS), BILLING)], lambda: now[0])
    for step in range(6):
        now[0] = NOW_NS + step * SECOND_NS // 2
        assert tokens.warm_principal(sent("t" * 32)) is BILLING
    now[0] = NOW_NS + 3 * SECOND_NS
    assert tokens.warm_principal(sent("t" * 32)) is None
    with pytest.raises(ExpiredTokenException):
        tokens.principal(sent("t" * 32))


def test_logs_hide_tokens_that_they_do_not_know() -> None:
    """Two tokens of different lengths, one in the middle of a word, one twice in a line."""
    one, other = secrets.token_hex(32), secrets.token_urlsafe(40)
    logs.hide([one, other, ""])
    line = f'{{"message":"{one}","other":"x{other}{other}y"}} {one[:-1]} {one}'
    assert logs.without_secrets(line) == f'{{"message":"[hidden]","other":"x[hidden][hidden]y"}} {one[:-1]} [hidden]'
    assert not [text for text in texts(vars(logs)["_digests"]) if one in str(text) or other in str(text)]
