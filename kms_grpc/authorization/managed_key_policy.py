"""The key policy of an AWS managed key, which AWS gives it and nobody changes: its service uses the key for its
account, and the account sees it.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-services.html and
https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.default_key_policy import NAME
from kms_grpc.authorization.parsing import parse
from kms_grpc.authorization.policy import Statements
from kms_grpc.model.key import Key

_TEXT: Final = """{
  "Version" : "2012-10-17",
  "Id" : "auto-%(name)s-2",
  "Statement" : [ {
    "Sid" : "Allow access through %(title)s for all principals in the account that are authorized to use %(title)s",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "*"
    },
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", \
"kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {
      "StringEquals" : {
        "kms:CallerAccount" : "%(account)s",
        "kms:ViaService" : "%(via)s"
      }
    }
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:%(partition)s:iam::%(account)s:root"
    },
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}"""


def managed_key_policy(key: Key) -> str:
    """Returns the text of an AWS managed key's policy."""
    return _text(key.arn.split(":", 2)[1], key.region, key.account, _service(key))


def managed_statements(key: Key) -> Statements:
    """Returns the compiled policy of an AWS managed key."""
    return _statements(key.arn.split(":", 2)[1], key.region, key.account, _service(key))


def name_of_service(service: str, region: str) -> str:
    """Returns kms:ViaService of a call that a service principal (`s3.amazonaws.com`) makes in a region:
    `s3.eu-central-1.amazonaws.com`."""
    name, _, domain = service.partition(".")
    return f"{name}.{region}.{domain}"


def _service(key: Key) -> str:
    assert key.service is not None, "an AWS managed key belongs to a service"
    return key.service


def _text(partition: str, region: str, account: str, service: str) -> str:
    name = service.partition(".")[0]
    return _TEXT % {
        "name": name,
        "title": name.upper(),
        "account": account,
        "via": name_of_service(service, region),
        "partition": partition,
    }


@lru_cache(1024)
def _statements(partition: str, region: str, account: str, service: str) -> Statements:
    return Statements(parse(_text(partition, region, account, service), PolicyKind.KEY, NAME))
