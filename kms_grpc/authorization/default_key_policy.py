"""The key policy of a key that was created without one: the account's root, and whom its identity policies allow.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from kms_grpc.authorization.base import PolicyKind
from kms_grpc.authorization.parsing import parse
from kms_grpc.authorization.policy import Statements
from kms_grpc.model.key import Key

NAME: Final = "default"
_TEXT: Final = """{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:%s:iam::%s:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}"""


def default_key_policy(key: Key) -> str:
    """Returns the text of a key's default policy, with AWS's Id, statement and layout."""
    return _text(_partition(key), key.account)


def default_statements(key: Key) -> Statements:
    """Returns the compiled default policy of a key."""
    return _statements(_partition(key), key.account)


def _partition(key: Key) -> str:
    return key.arn.split(":", 2)[1]


def _text(partition: str, account: str) -> str:
    return _TEXT % (partition, account)


@lru_cache(1024)
def _statements(partition: str, account: str) -> Statements:
    return Statements(parse(_text(partition, account), PolicyKind.KEY, NAME))
