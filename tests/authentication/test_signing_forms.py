"""Forms of signing that AWS takes from its SDKs: the headers they leave unsigned, their dates, the order of the parts.

Requests are signed here by hand, from the specification, since botocore signs in one form only. Source:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Iterable

import pytest

from kms_grpc.authentication.credentials import SignedRequest
from tests.authentication.test_signature_v4 import KEY_ID, NOW, REGION, SECRET, changed, verdict

BODY = b"{}"
NOW_BASIC, NOW_HTTP = "20270115T080000Z", "Fri, 15 Jan 2027 08:00:00 GMT"
SENT = {
    "host": "127.0.0.1:8080",
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "TrentService.ListKeys",
    "x-amz-date": NOW_BASIC,
    "accept-encoding": "gzip",
    "user-agent": "by hand",
}
LEAST = ("host", "x-amz-date", "x-amz-target")
WRITTEN = "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"


def by_hand(
    names: Iterable[str] = LEAST, written: str = WRITTEN, moment: str = NOW_BASIC, **sent: str | None
) -> SignedRequest:
    """Returns a request that signs the headers `names` and no others. `sent` replaces or removes (None) headers, with
    `_` for `-`."""
    headers = {name: value for name, value in (SENT | _named(sent)).items() if value is not None}
    signed = ";".join(sorted(names))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(names))
    canonical = f"POST\n/\n\n{lines}\n{signed}\n{hashlib.sha256(BODY).hexdigest()}"
    scope = f"{moment[:8]}/{REGION}/kms/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + SECRET.encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    headers["authorization"] = written.format(credential=f"{KEY_ID}/{scope}", headers=signed, signature=key.hex())
    return SignedRequest(b"POST", b"/", b"", {name.encode(): value.encode() for name, value in headers.items()}, BODY)


def _named(sent: dict[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): value for name, value in sent.items()}


# --- the headers that are signed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [LEAST, (*LEAST, "content-type"), (*LEAST, "user-agent", "accept-encoding"), tuple(SENT)],
    ids=lambda names: ";".join(names),
)
def test_the_named_headers_are_verified_and_no_others(names: tuple[str, ...]) -> None:
    request = by_hand(names)
    assert verdict(request) == ("alice", "")
    for name in SENT:
        other = changed(request, **{name: SENT[name] + "x"})
        assert (verdict(other)[0] == "alice") is (name not in names), name


@pytest.mark.parametrize("name", LEAST)
def test_what_protects_a_call_must_be_signed(name: str) -> None:
    """Without host, date and target, a captured request could be sent elsewhere, later, or as another operation."""
    code, text = verdict(by_hand([other for other in LEAST if other != name]))
    assert (code, f"'{name}' must be a 'SignedHeader'" in text) == ("InvalidSignatureException", True)


@pytest.mark.parametrize("name", ["x_amz_content_sha256", "x_amz_user_agent", "x_amz_anything"])
def test_every_amz_header_that_is_sent_must_be_signed(name: str) -> None:
    code, text = verdict(by_hand(**{name: "1"}))
    assert (code, "must be a 'SignedHeader'" in text) == ("InvalidSignatureException", True)
    assert verdict(by_hand([*LEAST, name.replace("_", "-")], **{name: "1"}))[0] == "alice"


# --- the date ----------------------------------------------------------------------------------------------------

DATED = ("host", "date", "x-amz-target")


@pytest.mark.parametrize("date", [NOW_HTTP, NOW_BASIC, "Friday, 15-Jan-27 08:00:00 GMT", "Fri Jan 15 08:00:00 2027"])
def test_a_date_is_taken_in_place_of_x_amz_date(date: str) -> None:
    """HTTP's three forms (RFC 9110 §5.6.7) and that of x-amz-date. The string to sign has that of x-amz-date."""
    request = by_hand(DATED, x_amz_date=None, date=date)
    assert verdict(request) == ("alice", "")
    assert verdict(changed(request, date="Fri, 15 Jan 2027 08:00:01 GMT"))[0] == "InvalidSignatureException"
    assert "Signature expired" in verdict(request, NOW + 301)[1]
    assert "not yet current" in verdict(request, NOW - 301)[1]


def test_x_amz_date_counts_where_both_are_sent() -> None:
    assert verdict(by_hand(date="Thu, 14 Jan 2027 08:00:00 GMT"))[0] == "alice"
    code, text = verdict(by_hand(DATED, date=NOW_HTTP))
    assert (code, "'x-amz-date' must be" in text) == ("InvalidSignatureException", True)


def test_a_date_must_be_signed() -> None:
    code, text = verdict(by_hand(("host", "x-amz-target"), x_amz_date=None, date=NOW_HTTP))
    assert (code, "'date' must be a 'SignedHeader'" in text) == ("InvalidSignatureException", True)


@pytest.mark.parametrize(
    "date",
    ["today", "Fri, 32 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 24:00:00 GMT", "20271315T080000Z", "1", "\xff",
     "Fri, 15 Jan 2027 08:00:00 +0100", "Fri, 15 Jan 99999 08:00:00 GMT", NOW_HTTP + ", " + NOW_HTTP],
)  # fmt: skip
def test_a_malformed_date_is_refused(date: str) -> None:
    code, text = verdict(by_hand(DATED, x_amz_date=None, date=date))
    assert (code, "Date must be in" in text) == ("IncompleteSignatureException", True)


def test_the_refusal_of_a_request_without_a_date_names_both_headers() -> None:
    code, text = verdict(by_hand(("host", "x-amz-target"), x_amz_date=None))
    assert (code, "'X-Amz-Date' or a 'Date' header" in text) == ("IncompleteSignatureException", True)


# --- the parts of Authorization ----------------------------------------------------------------------------------

PARTS = ("Credential={credential}", "SignedHeaders={headers}", "Signature={signature}")


@pytest.mark.parametrize("separator", [", ", ",", " ", " , "])
@pytest.mark.parametrize("parts", list(itertools.permutations(PARTS)), ids=lambda parts: "".join(p[:4] for p in parts))
def test_the_parts_come_in_any_order(parts: tuple[str, ...], separator: str) -> None:
    request = by_hand(written="AWS4-HMAC-SHA256 " + separator.join(parts))
    assert verdict(request) == ("alice", "")
    wrong = by_hand(written="AWS4-HMAC-SHA256 " + separator.join(parts).replace("{signature}", "0" * 64))
    assert verdict(wrong)[0] == "InvalidSignatureException"


@pytest.mark.parametrize(
    "parts", list(itertools.permutations(PARTS, 2)), ids=lambda parts: "".join(p[:4] for p in parts)
)
def test_a_missing_part_is_named_in_any_order(parts: tuple[str, ...]) -> None:
    (missing,) = {part.partition("=")[0] for part in PARTS} - {part.partition("=")[0] for part in parts}
    code, text = verdict(by_hand(written="AWS4-HMAC-SHA256 " + ", ".join(parts)))
    assert (code, text) == ("IncompleteSignatureException", f"Authorization header requires '{missing}' parameter.")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_given_twice_is_refused(part: str) -> None:
    """Two readers of such a header could take different ones."""
    code, text = verdict(by_hand(written=f"AWS4-HMAC-SHA256 {part}, {', '.join(PARTS)}"))
    assert (code, f"'{part.partition('=')[0]}' parameter twice" in text) == ("IncompleteSignatureException", True)
