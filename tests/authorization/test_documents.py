"""Policy documents that are refused, with AWS's text and the place; and odd ones that are taken."""

from __future__ import annotations

import json

import pytest

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.identity_policies import BUILT_IN, document_of
from kms_grpc.authorization.parsing import parse
from kms_grpc.errors import KMSError, LimitExceededException, MalformedPolicyDocumentException
from tests.authorization.cases import ACCOUNT, ALICE, DELEGATING, SESSION, allow, deny, policy, when

INVALID_PRINCIPAL = "Policy contains a statement with one or more invalid principals."
SYNTAX = "Syntax errors in policy."
UNKNOWN_KEY = "Policy has an invalid condition key: "


def one(**elements: object) -> str:
    """Returns a key policy with one statement."""
    return policy({**DELEGATING, **elements})


def named(principal: object) -> str:
    return one(Principal=principal)


REFUSED = [
    ("no JSON", "{", SYNTAX, "(at line 1, column 2)"),
    ("nothing", "", SYNTAX, "(at line 1, column 1)"),
    ("text after the document", policy(DELEGATING) + "x", SYNTAX, "Extra data"),
    ("a list", "[]", SYNTAX, ""),
    ("a number JSON does not have", '{"Version":NaN,"Statement":[]}', SYNTAX, "(at Version)"),
    ("nested deeply", "[" * 20_000, SYNTAX, "nested too deeply"),
    ("a character beyond U+00FF", one(Sid="Ж").encode().decode("unicode_escape"), SYNTAX, "U+00FF"),
    ("an unknown member above", '{"Statement":[],"Condition":{}}', "Unknown field Condition", "(at Condition)"),
    ("an unknown member in a statement", one(condition={}), "Unknown field condition", "(at Statement[0].condition)"),
    ("no statement", '{"Version":"2012-10-17"}', "Missing required field Statement", ""),
    ("an empty list of statements", policy(), "Missing required field Statement", ""),
    ("another version", policy(DELEGATING, version="2012-10-18"), "The policy must contain a valid version string",
     "(at Version)"),
    ("an Id that is no text", '{"Id":{},"Statement":[]}', SYNTAX, "(at Id)"),
    ("a Sid that is no text", one(Sid=[]), SYNTAX, "(at Statement[0].Sid)"),
    ("a second Effect", '{"Statement":{"Effect":"Deny","Effect":"Allow"}}', SYNTAX, "twice. (at Statement.Effect)"),
    ("an operator that stands twice", policy({**DELEGATING, "Condition": 0}).replace(
        "0}", '{"StringEquals":{"kms:CallerAccount":"1"},"StringEquals":{"kms:ViaService":"x"}}}'),
     SYNTAX, "twice. (at Statement[0].Condition.StringEquals)"),
    ("no Effect", '{"Statement":{"Action":"*"}}', "Missing required field Effect", "(at Statement)"),
    ("an Effect in other letters", one(Effect="allow"), "Invalid effect: allow", "(at Statement[0].Effect)"),
    ("no Principal", policy(allow()), "Missing required field Principal", "(at Statement[0])"),
    ("both kinds of principals", one(Effect="Deny", NotPrincipal="*"), SYNTAX, "both Principal and NotPrincipal"),
    ("Allow NotPrincipal", policy({**allow(), "NotPrincipal": {"AWS": ALICE}}),
     "NotPrincipal cannot be used with Allow.", "(at Statement[0].NotPrincipal)"),
    ("a principal that is a bare text", named(ALICE), INVALID_PRINCIPAL, "(at Statement[0].Principal)"),
    ("no principals", named({}), INVALID_PRINCIPAL, "(at Statement[0].Principal)"),
    ("an empty list of principals", named({"AWS": []}), INVALID_PRINCIPAL, "(at Statement[0].Principal.AWS)"),
    ("a group", named({"AWS": [ALICE, f"arn:aws:iam::{ACCOUNT}:group/g"]}), INVALID_PRINCIPAL,
     "(at Statement[0].Principal.AWS[1])"),
    ("a wildcard in a principal", named({"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"}), INVALID_PRINCIPAL, "AWS)"),
    ("a wildcard for sessions", named({"AWS": SESSION[:-2] + "*"}), INVALID_PRINCIPAL, "AWS)"),
    ("a wildcard in a path", named({"AWS": f"arn:aws:iam::{ACCOUNT}:role/a*/b"}), INVALID_PRINCIPAL, "AWS)"),
    ("an id of a principal that is gone", named({"AWS": "AIDACKCEVSQ6C2EXAMPLE"}), INVALID_PRINCIPAL, "AWS)"),
    ("an account of eleven digits", named({"AWS": ACCOUNT[1:]}), INVALID_PRINCIPAL, "AWS)"),
    ("a line end after the name", named({"AWS": ALICE + "\n"}), INVALID_PRINCIPAL, "AWS)"),
    ("a canonical user", named({"CanonicalUser": "79a59df900b949e5"}), INVALID_PRINCIPAL, "CanonicalUser)"),
    ("a service that is no name", named({"Service": "s3"}), INVALID_PRINCIPAL, "Service)"),
    ("an action without a vendor", one(Action="Decrypt"), "Actions/Conditions must be prefaced by a vendor",
     "(at Statement[0].Action)"),
    ("no actions in a list", one(Action=[]), "Policy statement must contain actions.", "(at Statement[0].Action)"),
    ("an action that is a list of lists", one(Action=[["kms:*"]]), SYNTAX, "(at Statement[0].Action[0])"),
    ("Action and NotAction", one(NotAction="kms:*"), SYNTAX, "both Action and NotAction"),
    ("an empty NotAction", policy({**DELEGATING, "Action": None}).replace('"Action": null', '"NotAction": []'),
     "Policy statement must contain actions.", "(at Statement[0].NotAction)"),
    ("an empty NotResource", policy({**DELEGATING, "Resource": None}).replace('"Resource": null', '"NotResource": []'),
     "Policy statement must contain resources.", "(at Statement[0].NotResource)"),
    ("a resource that is no ARN", one(Resource="key/1"), 'Resource key/1 must be in ARN format or "*".', "Resource)"),
    ("an action that is null", one(Action=None), SYNTAX, "(at Statement[0].Action)"),
    ("an unknown operator", one(**when("StringSame", "kms:ViaService", "x")), "Invalid Condition type : StringSame",
     "(at Statement[0].Condition.StringSame)"),
    ("an unknown set operator", one(**when("ForSome:StringEquals", "aws:TagKeys", "x")), "Invalid Condition type",
     "ForSome:StringEquals)"),
    ("Null with IfExists", one(**when("NullIfExists", "aws:TagKeys", True)), "Invalid Condition type", "NullIfExists)"),
    ("a set operator without an operator", one(**when("ForAnyValue:", "aws:TagKeys", "x")), "Invalid Condition type",
     "(at Statement[0].Condition.ForAnyValue:)"),
    ("an unknown key", one(**when("StringEquals", "kms:Account", "x")), UNKNOWN_KEY + "kms:Account",
     "(at Statement[0].Condition.StringEquals.kms:Account)"),
    ("IfExists on the key", one(**when("StringEquals", "kms:CallerAccountIfExists", "1")),
     UNKNOWN_KEY + "kms:CallerAccountIfExists", "kms:CallerAccountIfExists)"),
    ("a key of tags without a tag", one(**when("StringEquals", "aws:PrincipalTag/", "x")), UNKNOWN_KEY, "Tag/)"),
    ("a condition without values", one(**when("StringEquals", "kms:ViaService")), SYNTAX, "kms:ViaService)"),
    ("a value that is an object", one(Condition={"StringEquals": {"kms:ViaService": {}}}), SYNTAX, "kms:ViaService)"),
    ("no number", one(**when("NumericEquals", "kms:RotationPeriodInDays", "many")), "a number is needed", "[0])"),
    ("a number without end", one(**when("NumericEquals", "kms:RotationPeriodInDays", "Infinity")), "a number", "[0])"),
    ("a variable where none is read", one(**when("NumericEquals", "kms:RotationPeriodInDays", "${aws:userid}")),
     "a number is needed", "[0])"),
    ("no date", one(**when("DateLessThan", "aws:CurrentTime", "tomorrow")), "a date is needed", "[0])"),
    ("no truth value", one(**when("Bool", "aws:SecureTransport", "yes")), "true or false is needed", "[0])"),
    ("no address", one(**when("IpAddress", "aws:SourceIp", "203.0.113.0/33")), "an IP address", "[0])"),
    ("no base64", one(**when("BinaryEquals", "kms:EncryptionContext:b", "***")), SYNTAX, "[0])"),
    ("an unknown variable", one(**when("StringEquals", "aws:userid", "${aws:name}")), "no such condition key", "[0])"),
    ("a variable that does not end", one(**when("StringEquals", "aws:userid", "${aws:userid")), "be read", "[0])"),
    ("a variable of several values", one(**when("StringEquals", "aws:userid", "${aws:TagKeys}")), "several", "[0])"),
    ("an unknown variable in a resource", one(Resource=f"arn:aws:kms:*:{ACCOUNT}:key/${{x}}"), "no such", "Resource)"),
    ("a set operator on one pair of the context",
     one(**when("ForAllValues:StringEquals", "kms:EncryptionContext:a", "1")),
     "OverlyPermissiveCondition", "kms:EncryptionContext:a)"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "text", "said", "place"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(why: str, text: str, said: str, place: str) -> None:
    with pytest.raises(MalformedPolicyDocumentException) as refusal:
        parse(text, PolicyKind.KEY, "p")
    assert said in refusal.value.text
    assert place in refusal.value.text


IDENTITY_REFUSED = [
    ("a principal", policy(DELEGATING), "Policy document should not specify a principal."),
    ("NotPrincipal", policy({**deny(), "NotPrincipal": "*"}), "Policy document should not specify a principal."),
    ("no actions", policy({"Effect": "Allow", "Resource": "*"}), "Policy statement must contain actions."),
    ("no resources", policy({"Effect": "Allow", "Action": "*"}), "Policy statement must contain resources."),
    (
        "two equal Sids",
        policy(allow(Sid="A"), allow(Sid="A")),
        "Statement IDs (SID) in a single policy must be unique.",
    ),
]


@pytest.mark.parametrize(("why", "text", "said"), IDENTITY_REFUSED, ids=[row[0] for row in IDENTITY_REFUSED])
def test_refused_in_identity_policies(why: str, text: str, said: str) -> None:
    with pytest.raises(MalformedPolicyDocumentException) as refusal:
        parse(text, PolicyKind.IDENTITY, "p")
    assert refusal.value.text.startswith(said)


def test_the_largest_document() -> None:
    room = 32 * 1024 - len(one(Sid=""))
    assert parse(one(Sid="x" * room), PolicyKind.KEY, "p")
    with pytest.raises(LimitExceededException, match="32768 bytes"):
        parse(one(Sid="x" * (room + 1)), PolicyKind.KEY, "p")
    with pytest.raises(LimitExceededException):
        parse(one(Sid="é").replace("\\u00e9", "é" * room), PolicyKind.KEY, "p")


TAKEN = [
    ("one statement without brackets", '{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Principal":"*"}}'),
    ("numbers and truth values without quotes", one(**when("NumericLessThan", "kms:RotationPeriodInDays", 10, 1.5e3))),
    ("true without quotes", one(**when("Bool", "aws:SecureTransport", True))),
    ("a Sid with spaces", one(Sid="Enable IAM User Permissions")),
    ("an account's number", named({"AWS": ACCOUNT})),
    ("a federated user", named({"AWS": f"arn:aws:sts::{ACCOUNT}:federated-user/f"})),
    ("a provider of identities", named({"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.example.com"})),
    ("a key that cannot be known here", one(**when("StringEquals", "aws:PrincipalOrgID", "o-1"))),
    ("a set operator on one pair, in a Deny",
     one(Effect="Deny", **when("ForAllValues:StringEquals", "kms:EncryptionContext:a", "1"))),
    ("ten thousand stars", one(**when("StringLike", "kms:ViaService", "*" * 10_000))),
    ("conditions without operators", one(Condition={})),
    ("members in escapes", one(Sid="Ж")),
]  # fmt: skip


@pytest.mark.parametrize(("why", "text"), TAKEN, ids=[row[0] for row in TAKEN])
def test_taken(why: str, text: str) -> None:
    assert parse(text, PolicyKind.KEY, "p")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_named_policies_are_well_formed(name: str) -> None:
    assert parse(document_of(name), PolicyKind.IDENTITY, name)


def test_an_error_of_a_long_name_stays_short() -> None:
    """A text has to fit into the trailers of gRPC."""
    for text in (json.dumps({"x" * 9000: 1}), one(**when("y" * 9000, "aws:userid", "1")), one(Resource="z" * 9000)):
        with pytest.raises(KMSError) as refusal:
            parse(text, PolicyKind.KEY, "p")
        assert len(refusal.value.text) < 800
