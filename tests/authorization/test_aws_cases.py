"""Cases from AWS's documentation, each with its page: the authorizer and the second evaluator answer as AWS does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from kms_grpc.authorization.condition_keys import KeyReference, key_of, reference_to
from tests.authorization.cases import (
    ACCOUNT,
    ALICE,
    DELEGATING,
    FOREIGN,
    FOREIGN_ROOT,
    IAM,
    KEY,
    KEY_ARN,
    KMS,
    OTHER,
    REGION,
    ROLE,
    ROOT,
    SESSION,
    Case,
    allow,
    deny,
    policy,
    when,
)  # fmt: skip
from tests.authorization.second_evaluator import allowed as second_answer

EVALUATION = KMS + "policy-evaluation.html"
KEY_POLICIES = KMS + "key-policy-overview.html"
DEFAULT = KMS + "key-policy-default.html"
CROSS = KMS + "key-policy-modifying-external-accounts.html"
CONDITIONS = KMS + "conditions-kms.html"
GLOBAL = IAM + "reference_policies_condition-keys.html"
IAM_IN_KMS = KMS + "iam-policies.html"
LOGIC = IAM + "reference_policies_evaluation-logic_policy-eval-denyallow.html"
OPERATORS = IAM + "reference_policies_elements_condition_operators.html"
MANY = IAM + "reference_policies_condition-single-vs-multi-valued-context-keys.html"
VARIABLES = IAM + "reference_policies_variables.html"
PRINCIPAL = IAM + "reference_policies_elements_principal.html"
NOT_PRINCIPAL = IAM + "reference_policies_elements_notprincipal.html"
ACTION = IAM + "reference_policies_elements_action.html"
NOT_ACTION = IAM + "reference_policies_elements_notaction.html"
RESOURCE = IAM + "reference_policies_elements_resource.html"
NOT_RESOURCE = IAM + "reference_policies_elements_notresource.html"

ANY_KEY = f"arn:aws:kms:*:{ACCOUNT}:key/*"
LARGE = dataclasses.replace(KEY, spec="RSA_4096", multi_region=True)
USE = {"Principal": {"AWS": ALICE}}
BY_ROLE = {"Principal": {"AWS": ROLE}}
FROM_ABROAD = {"Principal": {"AWS": FOREIGN}}
CREATE = {"action": "kms:CreateKey", "key": None}


def principal(*names: str, **more: object) -> dict[str, object]:
    return {**allow(), "Principal": {"AWS": list(names)}, **more}


def tagged(operator: str, key: str, *values: object) -> list[dict[str, object]]:
    """Returns an identity policy that allows all under one condition."""
    return [allow(**when(operator, key, *values))]


def denied_if(operator: str, key: str, *values: object) -> list[dict[str, object]]:
    """Returns an identity policy that allows all, but under one condition nothing."""
    return [allow(), deny(**when(operator, key, *values))]


DELEGATION = [
    Case(DEFAULT, "the default key policy allows nothing by itself", False),
    Case(DEFAULT, "it delegates to identity policies", True, [allow()]),
    Case(DEFAULT, "the account's root is the principal that it names", True, by=ROOT),
    Case(DEFAULT, "key administrators may not use the key", False,
         key_policy=[principal(ALICE, Action=["kms:Create*", "kms:Put*", "kms:Get*", "kms:Delete*"])]),
    Case(DEFAULT, "key users may", True, key_policy=[principal(ALICE, Action=["kms:Encrypt", "kms:Decrypt"])]),
    Case(DEFAULT, "kms:Delete* does not include the deletion of a key", False,
         key_policy=[principal(ALICE, Action="kms:Delete*")], action="kms:ScheduleKeyDeletion"),
    Case(EVALUATION, "without a delegating statement, identity policies have no effect", False, [allow()],
         [principal(ROLE)]),
    Case(EVALUATION, "a key policy that names the caller is enough there", True, key_policy=[principal(ALICE)]),
    Case(EVALUATION, "a deny of an identity policy counts, whatever the key policy allows", False, [deny()],
         [principal(ALICE)]),
    Case(EVALUATION, "a deny of the key policy counts, whatever identity policies allow", False, [allow()],
         [DELEGATING, {**deny("kms:Decrypt"), **USE}]),
    Case(EVALUATION, "a deny of another caller does not", True, [allow()], [DELEGATING, {**deny(), **BY_ROLE}]),
    Case(EVALUATION, "a deny for the account means everybody in it", False, key_policy=[
        principal(ALICE), {**deny(), "Principal": {"AWS": ROOT}}]),
    Case(EVALUATION, "and the root too", False, by=ROOT, key_policy=[
        DELEGATING, {**deny(), "Principal": {"AWS": ROOT}}]),
    Case(LOGIC, "nothing is allowed by default", False, [allow("kms:Encrypt")]),
    Case(LOGIC, "a deny wins over an allow in the same policy", False, [allow(), deny("kms:Decrypt")]),
    Case(LOGIC, "in either order", False, [deny("kms:Decrypt"), allow()]),
    Case(LOGIC, "a deny of another action does not", True, [allow(), deny("kms:Encrypt")]),
    Case(KEY_POLICIES, "a statement without an action has no effect", False,
         key_policy=[{"Effect": "Allow", "Principal": {"AWS": ALICE}, "Resource": "*"}]),
    Case(KEY_POLICIES, "a statement without a resource has no effect", False,
         key_policy=[{"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "kms:*"}]),
    Case(IAM_IN_KMS, "an action without a key needs an identity policy", False, **CREATE),
    Case(IAM_IN_KMS, "which allows it on *", True, [allow("kms:CreateKey")], **CREATE),
    Case(IAM_IN_KMS, "on ARNs of keys it is not allowed", False, [allow("kms:CreateKey", ANY_KEY)], **CREATE),
    Case(IAM_IN_KMS, "the root may call it", True, by=ROOT, **CREATE),
    Case(IAM_IN_KMS, "unless it is denied", False, [deny("kms:CreateKey")], by=ROOT, **CREATE),
]  # fmt: skip

PRINCIPALS = [
    Case(PRINCIPAL, "a bare account number means its root", True, [allow()], [principal(ACCOUNT)]),
    Case(PRINCIPAL, "and no more than delegates", False, key_policy=[principal(ACCOUNT)]),
    Case(PRINCIPAL, "* is everybody", True, key_policy=[principal("*")]),
    Case(PRINCIPAL, "so is a Principal of *", True, key_policy=[{**allow(), "Principal": "*"}]),
    Case(PRINCIPAL, "one of a list is enough", True, key_policy=[principal(ROLE, ALICE)]),
    Case(PRINCIPAL, "names are compared with regard to case", False,
         key_policy=[principal(f"arn:aws:iam::{ACCOUNT}:user/Alice")]),
    Case(PRINCIPAL, "another partition is another principal", False,
         key_policy=[principal(ALICE.replace("arn:aws:", "arn:aws-cn:"))]),
    Case(PRINCIPAL, "a role means its sessions", True, by=SESSION, key_policy=[principal(ROLE)]),
    Case(PRINCIPAL, "a session means itself", True, by=SESSION, key_policy=[principal(SESSION)]),
    Case(PRINCIPAL, "and no other session", False, by=SESSION, key_policy=[principal(SESSION[:-1] + "2")]),
    Case(PRINCIPAL, "a role of the same name under a path is another one", False, by=SESSION,
         key_policy=[principal(f"arn:aws:iam::{ACCOUNT}:role/ci/ExampleRole")]),
    Case(PRINCIPAL, "a service principal", True, service="s3.amazonaws.com",
         key_policy=[{**allow(), "Principal": {"Service": "s3.amazonaws.com"}}]),
    Case(PRINCIPAL, "means that service alone", False, service="sns.amazonaws.com",
         key_policy=[{**allow(), "Principal": {"Service": "s3.amazonaws.com"}}]),
    Case(PRINCIPAL, "and nobody who is none", False,
         key_policy=[{**allow(), "Principal": {"Service": "s3.amazonaws.com"}}]),
    Case(PRINCIPAL, "a federated principal is no user", False,
         key_policy=[{**allow(), "Principal": {"Federated": "cognito-identity.amazonaws.com"}}]),
    Case(NOT_PRINCIPAL, "a deny of everybody but one user denies others", False, by=ROLE, key_policy=[
        principal("*"), {**deny(), "NotPrincipal": {"AWS": [ALICE, ROOT]}}]),
    Case(NOT_PRINCIPAL, "and not that user", True, key_policy=[
        principal("*"), {**deny(), "NotPrincipal": {"AWS": [ALICE, ROOT]}}]),
    Case(NOT_PRINCIPAL, "the account must be named with its user", False, key_policy=[
        principal("*"), {**deny(), "NotPrincipal": {"AWS": [ALICE]}}]),
    Case(NOT_PRINCIPAL, "a role alone does not except its sessions", False, by=SESSION, key_policy=[
        principal("*"), {**deny(), "NotPrincipal": {"AWS": [ROLE, ROOT]}}]),
    Case(NOT_PRINCIPAL, "session, role and account together do", True, by=SESSION, key_policy=[
        principal("*"), {**deny(), "NotPrincipal": {"AWS": [ROLE, SESSION, ROOT]}}]),
]  # fmt: skip

ABROAD = [
    Case(CROSS, "a foreign role needs both accounts' permission", True, [allow()], [principal(FOREIGN)], FOREIGN),
    Case(CROSS, "the key policy alone is not enough", False, (), [principal(FOREIGN)], FOREIGN),
    Case(CROSS, "the identity policy alone is not enough", False, [allow()], by=FOREIGN),
    Case(CROSS, "the foreign account may be named", True, [allow()], [principal(FOREIGN_ROOT)], FOREIGN),
    Case(CROSS, "and its policies must name the key", False, [allow(resource=ANY_KEY.replace(ACCOUNT, OTHER))],
         [principal(FOREIGN_ROOT)], FOREIGN),
    Case(CROSS, "by its ARN", True, [allow(resource=KEY_ARN)], [principal(FOREIGN_ROOT)], FOREIGN),
    Case(CROSS, "* is everybody, of other accounts as well", True, [allow()], [principal("*")], FOREIGN),
    Case(CROSS, "who need their own account's permission", False, (), [principal("*")], FOREIGN),
    Case(CROSS, "DisableKey has no effect across accounts", False, [allow()], [principal(FOREIGN)], FOREIGN,
         "kms:DisableKey"),
    Case(CROSS, "neither has GetKeyPolicy", False, [allow()], [principal(FOREIGN)], FOREIGN, "kms:GetKeyPolicy"),
    Case(CROSS, "DescribeKey has", True, [allow()], [principal(FOREIGN)], FOREIGN, "kms:DescribeKey"),
    Case(CROSS, "CreateGrant has", True, [allow()], [principal(FOREIGN)], FOREIGN, "kms:CreateGrant"),
    Case(CROSS, "ReEncryptFrom has", True, [allow()], [principal(FOREIGN)], FOREIGN, "kms:ReEncryptFrom"),
    Case(CROSS, "a deny of the caller's account counts", False, [allow(), deny("kms:Decrypt", KEY_ARN)],
         [principal(FOREIGN)], FOREIGN),
]  # fmt: skip

ELEMENTS = [
    Case(ACTION, "case of actions makes no difference", True, [allow("KMS:decrypt")]),
    Case(ACTION, "nor in a deny", False, [allow(), deny("KMS:DECRYPT")]),
    Case(ACTION, "* is any text", True, [allow("kms:De*")]),
    Case(ACTION, "also in the middle", True, [allow("kms:D*t")]),
    Case(ACTION, "? is one character", True, [allow("kms:Decryp?")]),
    Case(ACTION, "and not none", False, [allow("kms:Decrypt?")]),
    Case(ACTION, "* alone is every action", True, [allow("*")]),
    Case(ACTION, "kms:ReEncrypt is the name of no permission", False, [allow("kms:ReEncrypt")],
         action="kms:ReEncryptFrom"),
    Case(ACTION, "kms:ReEncrypt* is both", True, [allow("kms:ReEncrypt*")], action="kms:ReEncryptTo"),
    Case(ACTION, "other services' actions are allowed to stand there", False, [allow(["s3:GetObject", "ec2:*"])]),
    Case(NOT_ACTION, "allows all actions but those", True, [{**allow(None), "NotAction": "kms:Encrypt"}]),
    Case(NOT_ACTION, "and not those", False, [{**allow(None), "NotAction": "kms:de*"}]),
    Case(NOT_ACTION, "denies all actions but those", False, [allow(), {**deny(None), "NotAction": "kms:Describe*"}]),
    Case(NOT_ACTION, "which it leaves alone", True, [allow(), {**deny(None), "NotAction": "kms:Describe*"}],
         action="kms:DescribeKey"),
    Case(RESOURCE, "one key", True, [allow(resource=KEY_ARN)]),
    Case(RESOURCE, "and no other one", False, [allow(resource=KEY_ARN[:-1] + "c")]),
    Case(RESOURCE, "all keys of an account", True, [allow(resource=ANY_KEY)]),
    Case(RESOURCE, "of a region", False, [allow(resource=ANY_KEY.replace("*", "us-west-2", 1))]),
    Case(RESOURCE, "a star at the end of a part goes beyond colons", True, [allow(resource="arn:aws:kms:*")]),
    Case(RESOURCE, "? is one character", True, [allow(resource=KEY_ARN[:-1] + "?")]),
    Case(KMS + "alias-authorization.html", "an alias ARN is an alias, never its key", False,
         [allow(resource=f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/*")]),
    Case(NOT_RESOURCE, "denies all keys but one", True, [allow(), {**deny(resource=None), "NotResource": KEY_ARN}]),
    Case(NOT_RESOURCE, "and the others", False, [allow(), {**deny(resource=None), "NotResource": KEY_ARN[:-1] + "c"}]),
]  # fmt: skip

CONTEXT = "kms:EncryptionContext:AppName"
KEYS = "kms:EncryptionContextKeys"
OURS = {"AppName": "ExampleApp"}
KMS_KEYS = [
    Case(CONDITIONS, "a pair of the encryption context", True, tagged("StringEquals", CONTEXT, "ExampleApp"),
         context=OURS),
    Case(CONDITIONS, "another value", False, tagged("StringEquals", CONTEXT, "ExampleApp"), context={"AppName": "x"}),
    Case(CONDITIONS, "values are compared with regard to case", False,
         tagged("StringEquals", CONTEXT, "ExampleApp"), context={"AppName": "exampleapp"}),
    Case(CONDITIONS, "keys are not", True, tagged("StringEquals", CONTEXT, "ExampleApp"),
         context={"APPNAME": "ExampleApp"}),
    Case(CONDITIONS, "an absent pair", False, tagged("StringEquals", CONTEXT, "ExampleApp")),
    Case(CONDITIONS, "pairs beside it are allowed", True, tagged("StringLike", CONTEXT, "Example*"),
         context={**OURS, "Id": "1"}),
    Case(CONDITIONS, "two pairs of a name: an Allow needs both", False,
         tagged("StringEquals", CONTEXT, "ExampleApp"), context={**OURS, "APPNAME": "x"}),
    Case(CONDITIONS, "a Deny one", False, denied_if("StringEquals", CONTEXT, "x"), context={**OURS, "APPNAME": "x"}),
    Case(CONDITIONS, "all keys of the context are listed", True, tagged("ForAllValues:StringEquals", KEYS, "AppName"),
         context=OURS),
    Case(CONDITIONS, "one is not", False, tagged("ForAllValues:StringEquals", KEYS, "AppName"),
         context={**OURS, "Id": "1"}),
    Case(CONDITIONS, "one of the keys must be there", True, tagged("ForAnyValue:StringEquals", KEYS, "AppName"),
         context={**OURS, "Id": "1"}),
    Case(CONDITIONS, "in this case", False, tagged("ForAnyValue:StringEquals", KEYS, "AppName"),
         context={"appname": "x"}),
    Case(CONDITIONS, "there must be a context", False, tagged("Null", KEYS, "false")),
    Case(CONDITIONS, "there is one", True, tagged("Null", KEYS, False), context=OURS),
    Case(CONDITIONS, "kms:CallerAccount", True, tagged("StringEquals", "KMS:calleraccount", ACCOUNT)),
    Case(CONDITIONS, "of another account", False, tagged("StringEquals", "kms:CallerAccount", OTHER)),
    Case(CONDITIONS, "everybody of an account, without identity policies", True,
         key_policy=[principal("*", **when("StringEquals", "kms:CallerAccount", ACCOUNT))]),
    Case(CONDITIONS, "kms:ViaService is of service calls alone", False,
         tagged("StringEquals", "kms:ViaService", f"s3.{REGION}.amazonaws.com")),
    Case(CONDITIONS, "a deny of other services denies direct calls", False,
         denied_if("StringNotEquals", "kms:ViaService", f"s3.{REGION}.amazonaws.com")),
    Case(CONDITIONS, "kms:ViaService", True, tagged("StringLike", "kms:ViaService", "s3.*.amazonaws.com"),
         facts={"kms:ViaService": f"s3.{REGION}.amazonaws.com"}),
    Case(CONDITIONS, "kms:KeySpec", True, tagged("StringLike", "kms:KeySpec", "RSA_*"), key=LARGE),
    Case(CONDITIONS, "another spec", False, tagged("StringLike", "kms:KeySpec", "RSA_*")),
    Case(CONDITIONS, "kms:KeySpec of CreateKey", True, tagged("StringEquals", "kms:KeySpec", "RSA_4096"),
         facts={"kms:KeySpec": "RSA_4096"}, **CREATE),
    Case(CONDITIONS, "kms:KeyUsage", True, tagged("StringEquals", "kms:KeyUsage", "ENCRYPT_DECRYPT")),
    Case(CONDITIONS, "kms:KeyOrigin", False, tagged("StringEquals", "kms:KeyOrigin", "EXTERNAL")),
    Case(CONDITIONS, "kms:MultiRegion", True, tagged("Bool", "kms:MultiRegion", "true"), key=LARGE),
    Case(CONDITIONS, "of single-Region keys", False, tagged("Bool", "kms:MultiRegion", True)),
    Case(CONDITIONS, "kms:RequestAlias", True, tagged("StringLike", "kms:RequestAlias", "alias/app*"),
         facts={"kms:RequestAlias": "alias/app1"}),
    Case(CONDITIONS, "a call that names the key id has none", False,
         tagged("StringLike", "kms:RequestAlias", "alias/app*")),
    Case(CONDITIONS, "kms:ResourceAliases", True,
         tagged("ForAnyValue:StringLike", "kms:ResourceAliases", "alias/app*"),
         facts={"kms:ResourceAliases": ["alias/x", "alias/app1"]}),
    Case(CONDITIONS, "kms:ReEncryptOnSameKey", False, tagged("Bool", "kms:ReEncryptOnSameKey", "true"),
         facts={"kms:ReEncryptOnSameKey": "false"}, action="kms:ReEncryptTo"),
    Case(CONDITIONS, "a waiting period that is too short", False,
         denied_if("NumericLessThan", "kms:ScheduleKeyDeletionPendingWindowInDays", 21),
         facts={"kms:ScheduleKeyDeletionPendingWindowInDays": "7"}, action="kms:ScheduleKeyDeletion"),
    Case(CONDITIONS, "one that is long enough", True,
         denied_if("NumericLessThan", "kms:ScheduleKeyDeletionPendingWindowInDays", "21"),
         facts={"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}, action="kms:ScheduleKeyDeletion"),
    Case(CONDITIONS, "kms:ValidTo", True, tagged("DateLessThan", "kms:ValidTo", "2026-12-31T23:59:59Z"),
         facts={"kms:ValidTo": "1767225600"}, action="kms:ImportKeyMaterial"),
]  # fmt: skip

SOURCE = "aws:SourceIp"
NOW = "aws:CurrentTime"
TEAM = "aws:PrincipalTag/team"
GLOBAL_KEYS = [
    Case(OPERATORS, "IpAddress with a range", True, tagged("IpAddress", SOURCE, "203.0.113.0/24"),
         facts={SOURCE: "203.0.113.9"}),
    Case(OPERATORS, "an address outside", False, tagged("IpAddress", SOURCE, "203.0.113.0/24"),
         facts={SOURCE: "203.0.114.9"}),
    Case(OPERATORS, "a bare address is /32", False, tagged("IpAddress", SOURCE, "203.0.113.1"),
         facts={SOURCE: "203.0.113.9"}),
    Case(OPERATORS, "an IPv6 range", True, tagged("IpAddress", SOURCE, "2001:DB8:1234:5678::/64"),
         facts={SOURCE: "2001:db8:1234:5678::1"}),
    Case(OPERATORS, "an IPv4 address in IPv6's notation", True, tagged("IpAddress", SOURCE, "127.0.0.0/8"),
         facts={SOURCE: "::ffff:127.0.0.1"}),
    Case(OPERATORS, "bits beyond the prefix count for nothing", True, tagged("IpAddress", SOURCE, "10.1.2.3/8"),
         facts={SOURCE: "10.9.9.9"}),
    Case(OPERATORS, "NotIpAddress", False, denied_if("NotIpAddress", SOURCE, "10.0.0.0/8"),
         facts={SOURCE: "192.0.2.1"}),
    Case(OPERATORS, "without an address, NotIpAddress denies", False, denied_if("NotIpAddress", SOURCE, "10.0.0.0/8")),
    Case(OPERATORS, "with IfExists as well", False,
         denied_if("NotIpAddressIfExists", SOURCE, "10.0.0.0/8")),
    Case(OPERATORS, "DateGreaterThan", True, tagged("DateGreaterThan", NOW, "2026-01-01T00:00:00Z"),
         facts={NOW: "2026-11-30T12:00:00Z"}),
    Case(OPERATORS, "DateLessThan", False, tagged("DateLessThan", NOW, "2026-01-01T00:00:00Z"),
         facts={NOW: "2026-11-30T12:00:00Z"}),
    Case(OPERATORS, "dates may be numbers", True, tagged("DateLessThanEquals", "aws:EpochTime", 1796040000),
         facts={"aws:EpochTime": "1796040000"}),
    Case(OPERATORS, "DateNotEquals", False, tagged("DateNotEquals", NOW, "2026-11-30"),
         facts={NOW: "2026-11-30T00:00:00Z"}),
    Case(OPERATORS, "Bool", False, denied_if("Bool", "aws:SecureTransport", "false"),
         facts={"aws:SecureTransport": "false"}),
    Case(OPERATORS, "a call under TLS", True, denied_if("Bool", "aws:SecureTransport", "false"),
         facts={"aws:SecureTransport": "true"}),
    Case(OPERATORS, "StringEqualsIgnoreCase", True, tagged("StringEqualsIgnoreCase", TEAM, "BLUE"),
         tags={"team": "Blue"}),
    Case(OPERATORS, "StringNotEqualsIgnoreCase", False, tagged("StringNotEqualsIgnoreCase", TEAM, "BLUE"),
         tags={"team": "Blue"}),
    Case(OPERATORS, "StringNotLike", False, tagged("StringNotLike", TEAM, "Bl*"), tags={"team": "Blue"}),
    Case(OPERATORS, "StringEquals takes no wildcards", False, tagged("StringEquals", TEAM, "Bl*"),
         tags={"team": "Blue"}),
    Case(OPERATORS, "StringLike: a star may be empty", True, tagged("StringLike", TEAM, "Blue*"),
         tags={"team": "Blue"}),
    Case(OPERATORS, "BinaryEquals", True, tagged("BinaryEquals", "kms:EncryptionContext:b", "QmluYXJ5"),
         context={"b": "QmluYXJ5"}),
    Case(OPERATORS, "NumericGreaterThanEquals", True,
         tagged("NumericGreaterThanEquals", "kms:RotationPeriodInDays", 90), facts={"kms:RotationPeriodInDays": "90"}),
    Case(OPERATORS, "NumericNotEquals", False, tagged("NumericNotEquals", "kms:RotationPeriodInDays", "9e1"),
         facts={"kms:RotationPeriodInDays": "90"}),
    Case(OPERATORS, "what is no number equals none, so a Deny with a negated operator matches", False,
         denied_if("NumericNotEquals", "kms:EncryptionContext:n", 1), context={"n": "one"}),
    Case(OPERATORS, "and is less than none", False, tagged("NumericLessThan", "kms:EncryptionContext:n", 1),
         context={"n": "one"}),
    Case(OPERATORS, "what is no address is outside of every range", False,
         denied_if("NotIpAddress", "kms:EncryptionContext:a", "10.0.0.0/8"), context={"a": "10.0.0"}),
    Case(OPERATORS, "ArnLike compares part by part", False,
         tagged("ArnLike", "aws:PrincipalArn", f"arn:*:{ACCOUNT}:user/alice")),
    Case(OPERATORS, "with wildcards in each", True, tagged("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::*:user/*")),
    Case(OPERATORS, "ArnNotLike", False, denied_if("ArnNotLike", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/*")),
    Case(OPERATORS, "several values are alternatives", True, tagged("StringEquals", TEAM, "Red", "Blue"),
         tags={"team": "Blue"}),
    Case(OPERATORS, "several keys must all hold", False,
         [allow(Condition={"StringEquals": {TEAM: "Blue", "aws:PrincipalTag/a": "1"}})], tags={"team": "Blue"}),
    Case(OPERATORS, "several operators too", False,
         [allow(Condition={"StringEquals": {TEAM: "Blue"}, "Bool": {"kms:MultiRegion": "true"}})],
         tags={"team": "Blue"}),
    Case(OPERATORS, "a negated operator holds where no value is equal", False,
         tagged("StringNotEquals", TEAM, "Red", "Blue"), tags={"team": "Blue"}),
    Case(OPERATORS, "Deny StringNotEquals of an absent key matches", False,
         denied_if("StringNotEquals", "aws:PrincipalOrgID", "o-1")),
    Case(OPERATORS, "Deny StringNotEqualsIfExists matches", False,
         denied_if("StringNotEqualsIfExists", "aws:PrincipalOrgID", "o-1")),
    Case(OPERATORS, "Deny StringEquals does not match", True, denied_if("StringEquals", "aws:PrincipalOrgID", "o-1")),
    Case(OPERATORS, "Deny StringEqualsIfExists matches", False,
         denied_if("StringEqualsIfExists", "aws:PrincipalOrgID", "o-1")),
    Case(OPERATORS, "Deny Bool of the absent aws:MultiFactorAuthPresent does not match", True,
         denied_if("Bool", "aws:MultiFactorAuthPresent", "false")),
    Case(OPERATORS, "Deny BoolIfExists matches", False,
         denied_if("BoolIfExists", "aws:MultiFactorAuthPresent", "false")),
    Case(OPERATORS, "Deny Null true of an absent key matches", False, denied_if("Null", "aws:SourceVpce", "true")),
    Case(OPERATORS, "revoked sessions: there is no token, so it does not match", True,
         denied_if("DateLessThan", "aws:TokenIssueTime", "2026-11-30T00:00:00Z")),
    Case(GLOBAL, "aws:PrincipalArn of a session is its role", True, tagged("ArnEquals", "aws:PrincipalArn", ROLE),
         by=SESSION),
    Case(GLOBAL, "and not the session", False, tagged("ArnEquals", "aws:PrincipalArn", SESSION), by=SESSION),
    Case(GLOBAL, "aws:PrincipalAccount", True, tagged("StringEquals", "aws:PrincipalAccount", ACCOUNT)),
    Case(GLOBAL, "aws:PrincipalType of a user", True, tagged("StringEquals", "aws:PrincipalType", "User")),
    Case(GLOBAL, "aws:PrincipalType of a session", True, tagged("StringEquals", "aws:PrincipalType", "AssumedRole"),
         by=SESSION),
    Case(GLOBAL, "aws:PrincipalType of the root", False, by=ROOT,
         key_policy=[DELEGATING, {**deny(**when("StringEquals", "aws:PrincipalType", "Account")), "Principal": "*"}]),
    Case(GLOBAL, "aws:username", True, tagged("StringEquals", "aws:username", "alice")),
    Case(GLOBAL, "roles have none", False, tagged("StringEquals", "aws:username", "ExampleRole"), by=ROLE),
    Case(GLOBAL, "aws:PrincipalIsAWSService", False, denied_if("Bool", "aws:PrincipalIsAWSService", "false")),
    Case(GLOBAL, "aws:PrincipalServiceName", True,
         tagged("StringEquals", "aws:PrincipalServiceName", "s3.amazonaws.com"), service="s3.amazonaws.com"),
    Case(GLOBAL, "aws:RequestedRegion", False, denied_if("StringNotEquals", "aws:RequestedRegion", "eu-west-1"),
         facts={"aws:RequestedRegion": REGION}),
    Case(GLOBAL, "aws:ResourceTag", True, tagged("StringEquals", "aws:ResourceTag/Project", "Alpha"),
         facts={"aws:ResourceTag/project": "Alpha"}),
    Case(GLOBAL, "aws:ResourceAccount", True, tagged("StringEquals", "aws:ResourceAccount", ACCOUNT)),
    Case(MANY, "ForAllValues of an absent key is true", True, tagged("ForAllValues:StringEquals", "aws:TagKeys", "a")),
    Case(MANY, "ForAnyValue is false", False, tagged("ForAnyValue:StringEquals", "aws:TagKeys", "a")),
    Case(MANY, "ForAnyValue of a negated operator is false too", False,
         tagged("ForAnyValue:StringNotEquals", "aws:TagKeys", "a")),
    Case(MANY, "all tag keys are listed", True, tagged("ForAllValues:StringEquals", "aws:TagKeys", "a", "b"),
         facts={"aws:TagKeys": ["a", "b"]}),
    Case(MANY, "one is none of the listed", True, tagged("ForAnyValue:StringNotEquals", "aws:TagKeys", "a"),
         facts={"aws:TagKeys": ["a", "b"]}),
    Case(MANY, "each is none of the listed", False, tagged("ForAllValues:StringNotEquals", "aws:TagKeys", "a"),
         facts={"aws:TagKeys": ["a", "b"]}),
]  # fmt: skip

BY_TAG = f"arn:aws:kms:*:{ACCOUNT}:key/${{aws:PrincipalTag/key}}"
SAME_TEAM = tagged("StringLike", "aws:ResourceTag/team", "${aws:PrincipalTag/team}")
OF_KEY = {"key": KEY_ARN.rpartition("/")[2]}
WITH_VARIABLES = [
    Case(VARIABLES, "a variable in a resource", True, [allow(resource=BY_TAG)], tags=OF_KEY),
    Case(VARIABLES, "stays as it is without the version", False, [allow(resource=BY_TAG)], tags=OF_KEY, version=None),
    Case(VARIABLES, "and under the older one", False, [allow(resource=BY_TAG)], tags=OF_KEY, version="2008-10-17"),
    Case(VARIABLES, "and before the fifth colon", False,
         [allow(resource=KEY_ARN.replace(ACCOUNT, "${aws:PrincipalAccount}"))]),
    Case(VARIABLES, "a variable in a string", True,
         tagged("StringEquals", "kms:EncryptionContext:user", "${aws:username}"), context={"user": "alice"}),
    Case(VARIABLES, "its name ignores case", True,
         tagged("StringEquals", "kms:EncryptionContext:user", "u-${AWS:UserName}"), context={"user": "u-alice"}),
    Case(VARIABLES, "a variable in an ARN", True,
         tagged("ArnLike", "aws:PrincipalArn", "arn:aws:iam::${aws:PrincipalAccount}:user/*")),
    Case(VARIABLES, "a variable without a value: the Allow does not match", False,
         tagged("StringNotEquals", "kms:EncryptionContext:user", "${aws:username}"), by=ROLE),
    Case(VARIABLES, "the Deny neither", True,
         denied_if("StringNotEquals", "kms:EncryptionContext:user", "${aws:username}"), by=ROLE),
    Case(VARIABLES, "its default stands in", True,
         tagged("StringEquals", "kms:EncryptionContext:user", "${aws:username, 'nobody'}"), by=ROLE,
         context={"user": "nobody"}),
    Case(VARIABLES, "a value goes before the default", False,
         tagged("StringEquals", "kms:EncryptionContext:user", "${aws:username, 'nobody'}"),
         context={"user": "nobody"}),
    Case(VARIABLES, "${*} is the character", True, tagged("StringLike", TEAM, "a${*}?"), tags={"team": "a*b"}),
    Case(VARIABLES, "and nothing else", False, tagged("StringLike", TEAM, "a${*}?"), tags={"team": "axb"}),
    Case(VARIABLES, "the tag of caller and key", True, SAME_TEAM, tags={"team": "blue"},
         facts={"aws:ResourceTag/team": "blue"}),
    Case(VARIABLES, "a tag * is no wildcard", False, SAME_TEAM, tags={"team": "*"},
         facts={"aws:ResourceTag/team": "blue"}),
    Case(VARIABLES, "it matches itself", True, SAME_TEAM, tags={"team": "*"}, facts={"aws:ResourceTag/team": "*"}),
]  # fmt: skip

CASES = [*DELEGATION, *PRINCIPALS, *ABROAD, *ELEMENTS, *KMS_KEYS, *GLOBAL_KEYS, *WITH_VARIABLES]


def test_there_are_a_hundred_cases() -> None:
    assert len(CASES) >= 100
    assert len({(case.page, case.why) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.page.rpartition('/')[2]}: {case.why}")
def test_answer(case: Case) -> None:
    decision = case.decision()
    assert decision.allowed == case.allowed, (case.page, decision)
    of_key = None if case.key is None else policy(*case.key_policy, version=case.version)
    own = [policy(*case.identity, version=case.version)] if case.identity else []
    assert second_answer(own, of_key, request_of(case)) == case.allowed, f"the second evaluator errs: {case.page}"


def request_of(case: Case) -> dict[str, object]:
    """Returns the request as the second evaluator takes it."""
    question = case.question()
    role = ROLE if case.by == SESSION else None
    return {
        "action": case.action,
        "resource": case.key and case.key.arn,
        "arn": case.by,
        "role": role,
        "account": question.principal.account,
        "service": case.service,
        "key_account": case.key and case.key.account,
        "context": dict(context_of(case, role)),
    }


def context_of(case: Case, role: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yields the values of condition keys, by AWS's descriptions of them."""
    name = case.by.split(":", 5)[5]
    kind = "Account" if name == "root" else "User" if name.startswith("user/") else "AssumedRole"
    yield from {
        "aws:principalarn": [role or case.by],
        "aws:principalaccount": [case.by.split(":")[4]],
        "kms:calleraccount": [case.by.split(":")[4]],
        "aws:principaltype": [kind],
        "aws:principalisawsservice": ["true" if case.service else "false"],
    }.items()
    if name.startswith("user/"):
        yield "aws:username", [name.split("/")[-1]]
    if case.service:
        yield "aws:principalservicename", [case.service]
    if case.key:
        yield from {
            "kms:keyspec": [case.key.spec],
            "kms:keyusage": [case.key.usage.value],
            "kms:keyorigin": [case.key.origin.value],
            "kms:multiregion": [str(case.key.multi_region).lower()],
            "aws:resourceaccount": [case.key.account],
        }.items()
    for pair in {each.lower() for each in case.context}:
        yield f"kms:encryptioncontext:{pair}", [value for key, value in case.context.items() if key.lower() == pair]
    yield KEYS.lower(), list(case.context)
    for tag, value in case.tags.items():
        yield f"aws:principaltag/{tag.lower()}", [value]
    for key, values in case.facts.items():
        yield key.lower(), [values] if isinstance(values, str) else list(values)


def test_what_this_service_cannot_know_is_absent() -> None:
    found = [name for name in ("aws:PrincipalOrgID", "aws:SourceVpce") if key_of(reference(name)).find is None]
    assert found == ["aws:PrincipalOrgID", "aws:SourceVpce"]


def reference(name: str) -> KeyReference:
    found = reference_to(name)
    assert found is not None
    return found
