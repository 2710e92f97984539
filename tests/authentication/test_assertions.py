"""Signed assertions: which are taken, whom they mean, and when a remembered one ends."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from kms_grpc.authentication.assertions import Assertions, Issuer
from kms_grpc.authentication.bearer_tokens import BearerTokens
from kms_grpc.authentication.credentials import Credentials
from kms_grpc.authentication.key_sets import Unusable, parse
from kms_grpc.authentication.key_sources import FileKeys
from kms_grpc.authentication.mappings import Mappings
from kms_grpc.errors import ExpiredTokenException, KMSError, UnrecognizedClientException
from kms_grpc.issuer_settings import IssuerSettings, MappingSettings, check_mappings
from kms_grpc.misfits import ConfigurationError
from tests.authentication.signed import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    NOW,
    OTHER_ED,
    RSA,
    SMALL_RSA,
    claims,
    jwk,
    key_set,
    signed_text,
    token,
)

ACCOUNT = "111122223333"
ARN = f"arn:aws:iam::{ACCOUNT}:role/orders.api"
RULE = MappingSettings(
    name="accounts", issuer="cluster", claims={"sub": "system:serviceaccount:*:*"}, account=ACCOUNT, policies=[],
    arn=f"arn:aws:iam::{ACCOUNT}:role/{{sub.1}}.{{sub.2}}",
)  # fmt: skip
KEYS = key_set(jwk(ED, "one"), jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(SMALL_RSA, "small"))
OTHER_ISSUER, OTHER_AUDIENCE = "https://ci.example.com", "ci"
UNKNOWN = "The security token included in the request is invalid."
DOUBLED = json.dumps(claims())[:-1] + ', "sub": "system:serviceaccount:orders:admin"}'
HEADER = '{"alg":"EdDSA","kid":"one"}'


class Service:
    """Two issuers, whose keys, audiences and rules differ, and a clock."""

    def __init__(self, *rules: MappingSettings) -> None:
        self.now = NOW
        self.source = FileKeys(parse(KEYS))
        first = IssuerSettings("cluster", ISSUER, AUDIENCE, longest_life_seconds=86_400)
        second = IssuerSettings("ci", OTHER_ISSUER, OTHER_AUDIENCE)
        self.assertions = Assertions(
            [
                Issuer(first, self.source, Mappings(rules or [RULE])),
                Issuer(second, FileKeys(parse(key_set(jwk(OTHER_ED, "one")))), Mappings(rules or [RULE])),
            ],
            lambda: self.now * 10**9,
        )
        self.tokens = BearerTokens([], lambda: self.now * 10**9, self.assertions.holder)

    def arn(self, sent: str) -> str:
        return self.tokens.principal(self.credentials(sent)).arn

    def warm_arn(self, sent: str) -> str | None:
        found = self.tokens.warm_principal(self.credentials(sent))
        return None if found is None else found.arn

    @staticmethod
    def credentials(sent: str) -> Credentials:
        return Credentials(sent, None, "id", False, "192.0.2.1", "tests/1.0")


@pytest.mark.parametrize(
    ("key", "algorithm", "header", "changes"),
    [
        (ED, "EdDSA", {}, {}),
        (RSA, "RS256", {"kid": "rsa"}, {}),
        (RSA, "PS256", {"kid": "rsa"}, {}),
        (EC, "ES256", {"kid": "ec"}, {}),
        (EC, "ES256", {"kid": None}, {}),  # the set's only key for that algorithm
        (ED, "EdDSA", {"typ": "at+jwt"}, {}),  # RFC 9068
        (ED, "EdDSA", {"typ": "application/at+JWT"}, {}),
        (ED, "EdDSA", {}, {"aud": ["x", AUDIENCE]}),
        (ED, "EdDSA", {}, {"iat": NOW + 5}),  # an issuer's clock that is ahead
        (ED, "EdDSA", {}, {"nbf": NOW + 5, "iat": None}),
        (ED, "EdDSA", {}, {"exp": NOW + 1}),
        (ED, "EdDSA", {}, {"exp": NOW + 0.5}),  # a NumericDate may have a fraction
    ],
)
def test_a_good_assertion_means_its_principal(
    key: Any, algorithm: str, header: dict[str, Any], changes: dict[str, Any]
) -> None:
    service = Service()
    sent = token(key, algorithm, header, **changes)
    assert service.arn(sent) == service.warm_arn(sent) == ARN
    with pytest.raises(KMSError):
        service.arn(sent[:-6] + ("AAAAAA" if sent[-6:] != "AAAAAA" else "BBBBBB"))


LATER, EARLIER = "is not yet valid: the server's time is 2026-11-30T00:53:20Z.", "is expired: the server's time is"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        # claims
        (token(aud=OTHER_AUDIENCE), "is for another audience"),  # one issuer with the other's audience
        (token(aud=[]), "is for another audience"),
        (token(aud=["kms", 1]), "is for another audience"),
        (token(aud="kmsx"), "is for another audience"),
        (token(aud=None), UNKNOWN),
        (token(OTHER_ED), UNKNOWN),  # one issuer, signed by the other's key
        (token(OTHER_ED, iss=OTHER_ISSUER), "is for another audience"),
        (token(iss=ISSUER + "/"), UNKNOWN),
        (token(iss="https"), UNKNOWN),  # a part of an issuer (CVE-2024-53861)
        (token(iss=None), UNKNOWN),
        (token(exp=None), UNKNOWN),
        (signed_text(HEADER, json.dumps(claims() | {"exp": str(NOW + 600)})), UNKNOWN),
        (signed_text(HEADER, json.dumps(claims() | {"exp": True})), UNKNOWN),
        (signed_text(HEADER, json.dumps(claims() | {"exp": float("inf")})), UNKNOWN),
        (token(exp=NOW + 30_000 * 365 * 86_400), "lives longer than"),
        (token(exp=NOW + 86_401, iat=None), "lives longer than"),
        (token(exp=NOW + 86_300, iat=NOW - 200), "lives longer than"),
        (token(exp=NOW), EARLIER),
        (token(exp=NOW - 1), EARLIER),
        (token(nbf=NOW + 61), LATER),
        (token(iat=NOW + 61), LATER),
        (token(sub=""), UNKNOWN),
        (token(sub="system:serviceaccount:orders:a\0"), UNKNOWN),
        (signed_text(HEADER, json.dumps(claims() | {"sub": 7})), UNKNOWN),
        (signed_text(HEADER, DOUBLED), UNKNOWN),
        # headers
        (token(header={"typ": "logout+jwt"}), UNKNOWN),
        (token(header={"crit": ["b64"], "b64": True}), UNKNOWN),
        (token(header={"kid": "two"}), UNKNOWN),
        (token(header={"kid": None}, iss=OTHER_ISSUER), UNKNOWN),
        (signed_text('{"alg":"EdDSA","kid":["one"]}', json.dumps(claims())), UNKNOWN),
        (signed_text('{"alg":"EdDSA","kid":"one","kid":"one"}', json.dumps(claims())), UNKNOWN),
        (signed_text('{"alg":"Ed25519","kid":"one"}', json.dumps(claims())), "use EdDSA"),  # RFC 9864
        (signed_text('{"alg":"none"}', json.dumps(claims())), UNKNOWN),
        (token(SMALL_RSA, "RS256", {"kid": "small"}), UNKNOWN),  # RFC 7518 §3.3
        (token("k" * 40, "HS256"), UNKNOWN),
        (token(RSA, "RS512", {"kid": "rsa"}), UNKNOWN),
        # forms
        (token() + "=", UNKNOWN),
        (token().partition(".")[2], UNKNOWN),
        (signed_text("[]", "[]"), UNKNOWN),
        (signed_text('{"alg":"EdDSA","kid":"one"}', "[" * 5000), UNKNOWN),
        ("a.b.c", UNKNOWN),
        ("..", UNKNOWN),
        (".".join(["x" * 9000] * 3), UNKNOWN),
        ("\udcff.b.c", UNKNOWN),
    ],
    ids=map(str, count()),  # tokens are different in each process
)
def test_other_assertions_are_refused_with_a_reason_that_reveals_nothing(sent: str, says: str) -> None:
    service = Service()
    assert service.warm_arn(sent) is None
    with pytest.raises((UnrecognizedClientException, ExpiredTokenException)) as refused:
        service.arn(sent)
    assert says in refused.value.text
    for secret in (ISSUER, AUDIENCE + ".", "serviceaccount", ACCOUNT):
        assert secret not in refused.value.text


def test_a_remembered_assertion_expires_however_often_it_is_used() -> None:
    service = Service()
    sent = token(exp=NOW + 3)
    assert service.arn(sent) == ARN
    for _ in range(6):
        assert service.warm_arn(sent) == ARN
    service.now += 3
    assert service.warm_arn(sent) is None
    with pytest.raises(ExpiredTokenException):
        service.arn(sent)


def test_a_remembered_assertion_ends_with_its_key() -> None:
    """Also where a key of the same name takes its place."""
    service, sent = Service(), token()
    assert service.arn(sent) == service.warm_arn(sent) == ARN
    service.source.keys = parse(key_set(jwk(OTHER_ED, "one")))
    assert service.warm_arn(sent) is None
    with pytest.raises(UnrecognizedClientException):
        service.arn(sent)
    service.source.keys = parse(KEYS)
    assert service.arn(sent) == ARN


def test_the_table_of_remembered_assertions_is_bounded() -> None:
    service = Service()
    several = [token(jti=str(number)) for number in range(4200)]
    assert {service.arn(sent) for sent in several} == {ARN}
    assert len(service.tokens._met) <= 4096
    assert service.warm_arn(several[0]) == ARN, "one that is not remembered is verified"


# --- rules ---------------------------------------------------------------------------------------------------------


def rule(arn: str = f"arn:aws:iam::{ACCOUNT}:user/{{name}}", **claims: str) -> MappingSettings:
    return MappingSettings(
        name="ci", issuer="cluster", claims={"sub": "*"} | claims, arn=arn, account=ACCOUNT, policies=[]
    )


MAIN = rule(f"arn:aws:iam::{ACCOUNT}:role/ci/{{sub.1}}", sub="repo:acme/*:ref:refs/heads/main")
ORDERS = rule(f"arn:aws:iam::{ACCOUNT}:role/{{sub.1}}", sub="spiffe://td/ns/*/sa/orders")


@pytest.mark.parametrize(
    ("rules", "sent", "resource"),
    [
        (MAIN, {"sub": "repo:acme/app:ref:refs/heads/main"}, "role/ci/app"),
        (MAIN, {"sub": "repo:acme/x:environment:y:ref:refs/heads/main"}, None),  # `*` across a separator
        (MAIN, {"sub": "xrepo:acme/app:ref:refs/heads/main"}, None),  # unanchored
        (MAIN, {"sub": "repo:acme/app:ref:refs/heads/main\n"}, None),  # `$` before a newline
        (MAIN, {"sub": "repo:acme/a/b:ref:refs/heads/main"}, None),
        (MAIN, {"sub": "repo:acme/:ref:refs/heads/main"}, None),  # nothing is no repository
        (ORDERS, {"sub": "spiffe://td/ns/x/sa/orders"}, "role/x"),
        (ORDERS, {"sub": "spiffe://td/ns/x/sa/y/sa/orders"}, None),
        (ORDERS, {"sub": "spiffe://td/ns/x?sa/orders"}, None),
        (rule(), {"sub": "s", "name": "alice"}, "user/alice"),
        (rule(), {"sub": "s", "name": "a.b+c=d,e@f_g-h"}, "user/a.b+c=d,e@f_g-h"),
        *((rule(), {"sub": "s", "name": name}, None) for name in (
            "*", "a?", "team/alice", "../x", "..", "alice:root", "", ["alice"], 7, "x" * 5000, "Älice", "alice\n",
            "{name}", "${aws:username}", None,
        )),
        (rule(sub="repo:*"), {"sub": "repo:x", "name": "alice"}, "user/alice"),
        (rule(sub="repo.*"), {"sub": "repoxx", "name": "alice"}, None),  # a dot is a dot
        (rule(ok="yes"), {"sub": "s", "name": "alice", "ok": ["yes"]}, None),
    ],
)  # fmt: skip
def test_a_rule_means_whole_values_and_nobody_else(
    rules: MappingSettings, sent: dict[str, Any], resource: str | None
) -> None:
    found = Mappings([rules]).principal(sent)
    assert (found and found.arn) == (resource and f"arn:aws:iam::{ACCOUNT}:{resource}")


def test_the_log_names_rule_and_claim_once_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    mappings = Mappings([rule()])
    for name in ("a*", "b*"):
        assert mappings.principal({"sub": "s", "name": name}) is None
    assert [record.message for record in caplog.records] == [
        "mapping ci: a caller's claim name is absent or no name, so that it means nobody"
    ]


ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/orders/{{sub.1}}"}, None),
        ({"claims": {"sub": "*"}, "arn": f"arn:aws:iam::{ACCOUNT}:user/{{sub}}"}, None),  # each is somebody else
        ({"claims": {"sub": "*"}}, "claims must have a condition on sub"),  # anybody's repository
        ({"claims": {"sub": ""}}, "claims must have a condition on sub"),
        ({"claims": {"repository": "acme/app"}}, "claims must have a condition on sub"),
        ({"arn": ROOT}, "arn must name a user, a role or a session"),
        ({"arn": f"arn:aws:iam::{ACCOUNT}:{{sub}}"}, "arn must name a user, a role or a session"),
        ({"arn": "arn:aws:iam::{sub}:role/x"}, "arn must name a user, a role or a session"),
        ({"arn": "arn:aws:iam::444455556666:role/x"}, "arn is of account 444455556666, but account is 111122223333"),
        ({"account": "444455556666"}, "arn is of account 111122223333, but account is 444455556666"),
        ({"account": "000000000000", "arn": "arn:aws:iam::000000000000:role/x"}, "it is service_account"),
        ({"arn": f"arn:aws:iam::{ACCOUNT}:role/{{sub.2}}"}, "the pattern of sub has no 2. `*`"),
        ({"arn": f"arn:aws:iam::{ACCOUNT}:role/{{}}"}, "must be {claim} or {claim.1}"),
        ({"issuer": "nobody"}, "there is no issuer nobody"),
        ({"policies": None}, "give policies"),
        ({"name": "alice"}, "a mapping and a principal, have the same name"),
    ],
)
def test_a_rule_that_could_mean_too_much_is_refused(changed: dict[str, Any], says: str | None) -> None:
    good = {"name": "r", "issuer": "cluster", "claims": {"sub": "repo:*"}, "arn": f"arn:aws:iam::{ACCOUNT}:role/x"}
    made = MappingSettings(**{**good, "account": ACCOUNT, "policies": [], **changed})
    if says is None:
        check_mappings([made], ["cluster"], ["alice"], "000000000000")
        return
    with pytest.raises(ConfigurationError) as refused:
        check_mappings([made], ["cluster"], ["alice"], "000000000000")
    assert says in str(refused.value)


# --- key sets --------------------------------------------------------------------------------------------------------

ODD = [
    {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"},
    {"kty": "EC", "crv": "P-999", "x": "AAAA", "y": "AAAA"},
    {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
    {"kty": "oct", "k": "AAAA"},
    {"kty": ["RSA"]},
    {"kty": "RSA"},
    {"kty": "RSA", "n": "!!", "e": "AQAB"},
    jwk(OTHER_ED, "private", private=True),  # whose verification once raised AttributeError
    jwk(RSA, "private", private=True),
    jwk(ED, "encrypting", use="enc"),
    jwk(ED, "signing", key_ops=["sign"]),
    jwk(ED, "named", alg="RS256"),
    jwk(SMALL_RSA, "small"),
    "no key", 7, None, [],
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=map(str, count()))
def test_an_entry_that_cannot_be_used_is_skipped(odd: Any) -> None:
    keys = parse(json.dumps({"keys": [odd, jwk(ED, "one"), jwk(RSA, "rsa")]}))
    assert set(keys.keys) == {("one", "EdDSA"), ("rsa", "RS256"), ("rsa", "PS256")}


SMALL = key_set(jwk(SMALL_RSA))


@pytest.mark.parametrize(
    "text",
    ["<html>", "", "[]", "{}", '{"keys":[]}', '{"keys":{}}', '{"keys":7}', "[" * 100_000, SMALL],
    ids=map(str, count()),
)
def test_an_answer_without_a_usable_key_is_no_key_set(text: str) -> None:
    with pytest.raises(Unusable):
        parse(text)
