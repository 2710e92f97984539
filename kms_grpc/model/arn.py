"""Identifiers of keys and aliases.

| form | shape |
|---|---|
| key id | UUID with dashes (36 characters), or `mrk-` and 32 hex digits |
| key ARN | `arn:<partition>:kms:<region>:<12-digit account>:key/<key id>` |
| alias name | `alias/<name>`, 1-256 characters in all, of `A-Z a-z 0-9 / _ -` |
| alias ARN | `arn:<partition>:kms:<region>:<account>:alias/<name>` |

Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ARN = re.compile(r"arn:([a-z0-9-]+):kms:([a-z0-9-]+):([0-9]{12}):(key/.+|alias/.+)")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+")

ALIAS_PREFIX = "alias/"
RESERVED_ALIAS_PREFIX = "alias/aws/"
ALIAS_LENGTH_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Arn:
    """A parsed ARN; `resource` is `key/<key id>` or `alias/<name>`."""

    partition: str
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Arn | None:
        """Returns the ARN, or None if `text` is not the ARN of a key or an alias."""
        match = _ARN.fullmatch(text)
        return cls(*match.groups()) if match else None

    def __str__(self) -> str:
        return f"arn:{self.partition}:kms:{self.region}:{self.account}:{self.resource}"

    @property
    def is_alias(self) -> bool:
        return self.resource.startswith(ALIAS_PREFIX)

    @property
    def name(self) -> str:
        """Returns `alias/<name>` of an alias, the bare key id of a key."""
        return self.resource if self.is_alias else self.resource.removeprefix("key/")


def is_key_id(text: str) -> bool:
    """Returns whether `text` has the shape of a key id."""
    return _KEY_ID.fullmatch(text) is not None


def is_alias_name(text: str) -> bool:
    """Returns whether `text` has the shape of an alias name, prefix included."""
    return len(text) <= ALIAS_LENGTH_LIMIT and _ALIAS.fullmatch(text) is not None


def key_arn(partition: str, region: str, account: str, key_id: str) -> str:
    """Returns `arn:<partition>:kms:<region>:<account>:key/<key id>`."""
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


def alias_arn(partition: str, region: str, account: str, alias_name: str) -> str:
    """Returns `arn:<partition>:kms:<region>:<account>:alias/<name>`; `alias_name` includes the prefix `alias/`."""
    return f"arn:{partition}:kms:{region}:{account}:{alias_name}"
