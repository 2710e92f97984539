"""AWS Signature Version 4: requests that botocore signs are accepted, and any change to one is refused."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Signing

from kms_grpc.authentication.credentials import Credentials, SignedRequest
from kms_grpc.authentication.signature_v4 import (
    MISMATCH,
    UNKNOWN,
    FixedSigners,
    SignatureV4,
    called_region,
)
from kms_grpc.authentication.signing_key import derive_signing_key
from kms_grpc.errors import KMSError
from kms_grpc.model.principal import Principal

ALICE = Principal("alice", "arn:aws:iam::111122223333:role/alice", "111122223333")
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = 1_800_000_000
"""2027-01-15T08:00:00Z."""
REGION = "eu-central-1"
ROUNDS = 10_000


def verifier(now: int = NOW) -> SignatureV4:
    return SignatureV4(FixedSigners([(KEY_ID, SECRET, ALICE)]), lambda: now * 10**9)


def signed(
    method: str = "POST",
    target: str = "/",
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
    *,
    key: tuple[str, str] = (KEY_ID, SECRET),
    region: str = REGION,
    service: str = "kms",
    at: int = NOW,
) -> SignedRequest:
    """Returns a request that botocore has signed, as a server receives it."""
    usual = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.ListKeys"}
    request = AWSRequest(method, f"http://127.0.0.1:8080{target}", headers=usual | (headers or {}), data=body)
    request.headers["Host"] = "127.0.0.1:8080"
    with mock.patch("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(at, UTC)):
        SigV4Auth(Signing(*key), service, region).add_auth(request)
    path, _, query = target.partition("?")
    sent = {name.lower().encode(): value.encode("latin-1") for name, value in request.headers.items()}
    return SignedRequest(method.encode(), path.encode(), query.encode(), sent, body)


def verdict(request: SignedRequest, now: int = NOW) -> tuple[str, str]:
    """Returns the principal's name, or the error's name and text. Both methods must agree."""
    credentials = Credentials(None, None, "id", False, "127.0.0.1", "", None, request)
    warm = verifier(now).warm_principal(credentials)
    try:
        principal = verifier(now).principal(credentials)
    except KMSError as error:
        assert warm is None
        return error.code, error.text
    assert warm is principal
    return principal.name, ""


def changed(request: SignedRequest, **headers: str | None) -> SignedRequest:
    """Returns the request with other values of headers (`_` for `-`), or without them."""
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    kept = {name: value for name, value in request.headers.items() if name not in named}
    return request._replace(headers=kept | {name: value.encode() for name, value in named.items() if value is not None})


def authorization(request: SignedRequest, pattern: str, new: str) -> SignedRequest:
    old = request.headers[b"authorization"].decode()
    assert re.search(pattern, old), old
    return changed(request, authorization=re.sub(pattern, new, old, count=1))


# --- botocore is the oracle --------------------------------------------------------------------------------------

PLAIN = "ABCZabcz019-._~"
VALUES = PLAIN + "!#$%&'()*+,/:;<=>?@[]^`{|}\" "


def text(chance: random.Random, alphabet: str, most: int) -> str:
    return "".join(chance.choices(alphabet, k=chance.randint(1, most)))


def some_request(chance: random.Random) -> SignedRequest:
    segments = ["".join(chance.choices(PLAIN + "%", k=chance.randint(0, 6))) for _ in range(chance.randint(0, 4))]
    path = "/" + "/".join(chance.choice(["", ".", "..", segment, segment]) for segment in segments)
    pairs = [f"{text(chance, PLAIN, 5)}={text(chance, PLAIN + '%', 9)}" for _ in range(chance.choice([0, 0, 1, 3]))]
    target = path + ("?" + "&".join(pairs) if pairs else "")
    headers = {f"X-{text(chance, 'abcxyz', 8)}": text(chance, VALUES, 40) for _ in range(chance.randint(0, 4))}
    headers["X-Amz-Target"] = f"TrentService.{text(chance, PLAIN, 12)}"
    return signed(
        chance.choice(["POST", "POST", "GET", "PUT"]),
        target,
        {name: value.strip() or "x" for name, value in headers.items()},
        chance.randbytes(chance.choice([0, 1, 64, 2048])),
        region=chance.choice([REGION, "us-east-1", "ap-southeast-2"]),
        at=NOW + chance.randint(-300, 300),
    )


def altered(chance: random.Random, request: SignedRequest) -> tuple[str, SignedRequest]:
    """Changes one place that the signature covers."""
    names = request.headers[b"authorization"].split(b"SignedHeaders=")[1].split(b",")[0].split(b";")
    where = chance.choice(["method", "path", "query", "body", "signature", "scope", *["header"] * 3, "dropped"])
    if where == "method":
        return where, request._replace(method=b"DELETE")
    if where == "path":
        return where, request._replace(path=request.path + b"/altered")
    if where == "query":
        return where, request._replace(query=request.query + b"&z=1" if request.query else b"z=1")
    if where == "body":
        body = bytearray(request.body or b"\0")
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        return where, request._replace(body=bytes(body))
    if where == "signature":
        head, _, signature = request.headers[b"authorization"].rpartition(b"=")
        at = chance.randrange(64)
        digit = chance.choice([d for d in b"0123456789abcdef" if d != signature[at]])
        put = head + b"=" + signature[:at] + bytes([digit]) + signature[at + 1 :]
        return where, changed(request, authorization=put.decode())
    if where == "scope":
        old, new = chance.choice(
            [(KEY_ID, "AKIDOTHER"), (r"/\d{8}/", "/20270101/"), ("/kms/", "/s3/"), ("kms/aws4", "kms/aws3")]
        )
        return where, authorization(request, old, new)
    name = chance.choice(names).decode()
    if where == "dropped":
        return f"without {name}", changed(request, **{name: None})
    return f"another {name}", changed(request, **{name: request.headers[name.encode()].decode() + "x"})


@pytest.mark.parametrize("part", range(4))
def test_a_request_signed_by_botocore_is_accepted_and_any_change_refused(part: int) -> None:
    chance = random.Random(f"{os.environ['KMS_GRPC_TEST_SEED']} {part}")
    for number in range(ROUNDS // 4):
        request = some_request(chance)
        assert verdict(request)[0] == "alice", request
        what, other = altered(chance, request)
        assert verdict(other)[0] not in ("alice", "AttributeError"), (number, what, request, other)


# --- each failure has its own name -------------------------------------------------------------------------------

GOOD = signed()
INCOMPLETE, INVALID, UNRECOGNIZED = (
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "UnrecognizedClientException",
)

FAILURES: list[tuple[str, Callable[[], SignedRequest], str, str]] = [
    ("no signature at all", lambda: changed(GOOD, authorization=None), "MissingAuthenticationTokenException",
     "Missing Authentication Token"),
    ("a bearer token", lambda: changed(GOOD, authorization="Bearer abc"), INCOMPLETE, "must begin with AWS4-HMAC"),
    ("no parameters", lambda: changed(GOOD, authorization="AWS4-HMAC-SHA256 "), INCOMPLETE,
     "requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header"
     " requires 'SignedHeaders' parameter."),
    ("no signature in it", lambda: authorization(GOOD, "Signature=.*", ""), INCOMPLETE, "requires 'Signature'"),
    ("an empty signature", lambda: authorization(GOOD, "Signature=.*", "Signature="), INCOMPLETE, "'Signature'"),
    ("no headers named", lambda: authorization(GOOD, "SignedHeaders=[^,]*, ", ""), INCOMPLETE, "'SignedHeaders'"),
    ("a scope of four parts", lambda: authorization(GOOD, "/aws4_request", ""), INCOMPLETE, "exactly 5 slash"),
    ("no x-amz-date", lambda: changed(GOOD, x_amz_date=None), INCOMPLETE, "'X-Amz-Date'"),
    ("a date in words", lambda: changed(GOOD, x_amz_date="today"), INCOMPLETE, "ISO-8601"),
    ("a malformed date", lambda: changed(GOOD, x_amz_date="20271315T080000Z"), INCOMPLETE, "ISO-8601"),
    ("an unknown key", lambda: signed(key=("AKIDNOBODY", SECRET)), UNRECOGNIZED, UNKNOWN),
    ("a wrong secret", lambda: signed(key=(KEY_ID, "x")), INVALID, MISMATCH),
    ("another body", lambda: GOOD._replace(body=b"{} "), INVALID, MISMATCH),
    ("an unsigned payload", lambda: signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}), INVALID, MISMATCH),
    ("another service", lambda: signed(service="s3"), INVALID, "scoped to correct service: 'kms'"),
    ("another terminator", lambda: authorization(GOOD, "aws4_request", "aws5_request"), INVALID, "valid terminator"),
    ("another day in the scope", lambda: authorization(GOOD, "/20270115/", "/20270114/"), INVALID, "YYYYMMDD"),
    ("another region in the scope", lambda: authorization(GOOD, REGION, "eu-west-1"), INVALID, MISMATCH),
    ("too old", lambda: signed(at=NOW - 301), INVALID, "Signature expired: 20270115T075459Z is now earlier than"
     " 20270115T075500Z (20270115T080000Z - 5 min.)"),
    ("from the future", lambda: signed(at=NOW + 301), INVALID, "Signature not yet current: 20270115T080501Z is still"
     " later than 20270115T080500Z (20270115T080000Z + 5 min.)"),
    ("a session token that is not signed", lambda: changed(GOOD, x_amz_security_token="t"), INVALID,
     "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization."),
    ("a session token of nobody", lambda: signed(headers={"X-Amz-Security-Token": "t"}), UNRECOGNIZED,
     "The security token included in the request is invalid."),
    ("a presigned URL", lambda: changed(GOOD, authorization=None)._replace(
        query=b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"), INCOMPLETE, "Presigned URLs are not supported"),
    ("Signature Version 4A", lambda: authorization(GOOD, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), INCOMPLETE,
     "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not supported"),
    ("a header that is signed and not sent", lambda: authorization(GOOD, "host;", "host;x-gone;"), INVALID, MISMATCH),
    *((f"{name} not signed", lambda name=name: authorization(GOOD, rf"{name};|;{name}", ""), INVALID,  # type: ignore[misc]
       f"'{name}' must be a 'SignedHeader'") for name in ("host", "x-amz-date", "x-amz-target")),
    ("an x-amz header put in", lambda: changed(GOOD, x_amz_more="1"), INVALID, "'x-amz-more' must be"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code", "text"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_each_failure_has_its_error(make: Callable[[], SignedRequest], code: str, text: str) -> None:
    told = verdict(make())
    assert told[0] == code
    assert text in told[1]


@pytest.mark.parametrize("make", [row[1] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_no_error_reveals_the_right_signature(make: Callable[[], SignedRequest]) -> None:
    """The text holds neither the right signature nor the canonical request."""
    request = make()
    told = verdict(request)[1]
    right = GOOD.headers[b"authorization"].rpartition(b"=")[2].decode()
    assert right not in told
    assert SECRET not in told
    assert "sha256" not in told.lower().replace("aws4-hmac-sha256", "").replace("aws4-ecdsa-p256-sha256", "")


@pytest.mark.parametrize(("at", "accepted"), [(-300, True), (-301, False), (300, True), (301, False)])
def test_a_signature_is_valid_for_five_minutes_before_and_after(at: int, accepted: bool) -> None:
    assert (verdict(signed(at=NOW + at))[0] == "alice") is accepted


def test_headers_of_one_name_are_signed_as_one() -> None:
    """Several spaces count as one, as the specification says."""
    spaced = signed(headers={"X-Amz-Note": "a   b"})
    assert verdict(spaced)[0] == "alice"
    assert verdict(changed(spaced, x_amz_note="a b"))[0] == "alice"
    assert verdict(changed(spaced, x_amz_note="ab"))[0] == "InvalidSignatureException"


def test_a_signing_key_is_derived_step_by_step() -> None:
    """Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    key = b"AWS4" + SECRET.encode()
    for part in (b"20120215", b"us-east-1", b"kms", b"aws4_request"):
        key = hmac.new(key, part, hashlib.sha256).digest()
    assert derive_signing_key(SECRET.encode(), b"20120215", b"us-east-1") == key


@pytest.mark.parametrize(
    ("header", "region"),
    [
        (GOOD.headers[b"authorization"], REGION),
        (b"", None),
        (b"Bearer x", None),
        (b"AWS4-HMAC-SHA256 Credential=a/b/c", None),
        (b"AWS4-HMAC-SHA256 Credential=a/b/\xff/d/e, SignedHeaders=a, Signature=", "\ufffd"),
    ],
)
def test_the_called_region_is_that_of_the_scope(header: bytes, region: str | None) -> None:
    assert called_region(GOOD._replace(headers={b"authorization": header})) == region
