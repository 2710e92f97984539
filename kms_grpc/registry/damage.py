"""What is said of rows that were changed on disk: to callers, by name, and once to the log."""

from __future__ import annotations

import logging

from kms_grpc.errors import KeyUnavailableException, KMSInternalException
from kms_grpc.model.arn import alias_arn, key_arn
from kms_grpc.model.key import Key
from kms_grpc.registry.rows import (
    ACCESS_KEY,
    ALIAS,
    ANSWER,
    KEY,
    LATEST,
    PAIR,
    SHARD,
    TAG,
    Row,
    RowKind,
    Values,
    digest,
)

_log = logging.getLogger(__name__)
_LOGGED_LIMIT = 10_000


class Place:
    """Names what is damaged in one shard."""

    def __init__(self, partition: str, region: str) -> None:
        self._partition = partition
        self._region = region
        self._logged: set[tuple[str, bytes]] = set()

    def log_once(self, kind: RowKind, row: Row) -> None:
        seen = (kind.table.name, digest(*map(repr, row)))
        if seen in self._logged or len(self._logged) >= _LOGGED_LIMIT:
            return
        self._logged.add(seen)
        _log.error("region %s: %s was changed on disk and is left out", self._region, self.name(kind, kind.values(row)))

    def shard(self) -> KMSInternalException:
        return KMSInternalException(
            f"The registry of region {self._region} cannot be used: its own row was changed on disk. Restore it from a "
            "backup."
        )

    def key(self, key_id: str, row: Row) -> KeyUnavailableException:
        """The refusal of a key whose row is damaged."""
        return self._unavailable(self._key_arn(key_id, KEY.values(row)["account"]))

    def alias(self, account: str, name: str) -> KeyUnavailableException:
        return self._unavailable(alias_arn(self._partition, self._region, account, name))

    def material(self, key_id: str, account: object) -> KeyUnavailableException:
        return self._unavailable(self._key_arn(key_id, account), "key material")

    def answer(self, operation: str, request_id: str) -> KMSInternalException:
        return KMSInternalException(
            f"The answer that was given to request {request_id} of {operation} was changed on disk. See with a list "
            "what the request did, then call again under another request id."
        )

    def pair(self) -> KMSInternalException:
        return KMSInternalException(
            "The wrapping key of this import was changed on disk. Call GetParametersForImport again, and wrap the key "
            "material anew."
        )

    def access_key(self, access_key_id: str) -> KeyUnavailableException:
        return self._unavailable(f"Access key {access_key_id}")

    def name(self, kind: RowKind, values: Values) -> str:
        """A damaged row in words, as good as its columns allow."""
        return self._name(kind, values).encode("utf-8", "backslashreplace").decode()

    def _name(self, kind: RowKind, values: Values) -> str:
        if kind is SHARD:
            return f"own row of region {self._region}"
        if kind is KEY:
            return f"key {values['arn']}"
        if kind is ALIAS:
            return f"alias {values['arn']}"
        if kind is ANSWER:
            return f"answer to {values['operation']} request {values['request_id']}"
        if kind is TAG:
            return f"tag {values['tag_key']} of key {self._key_arn(values['key_id'], values['account'])}"
        if kind is PAIR:
            return f"import wrapping key {_hex(values['pair_id'])}"
        if kind is ACCESS_KEY:
            return f"access key {values['access_key_id']}"
        if kind is LATEST:
            return f"latest time of region {self._region}"
        return f"key material {_hex(values['material_id'])} of key {self._key_arn(values['key_id'], values['account'])}"

    def _unavailable(self, arn: str, what: str = "row") -> KeyUnavailableException:
        return KeyUnavailableException(
            f"{arn} is unavailable: its {what} in the registry was changed on disk. Restore the registry of region "
            f"{self._region} from a backup; `kms-grpc check` lists all that is damaged.",
            key=arn,
        )

    def _key_arn(self, key_id: object, account: object) -> str:
        return key_arn(self._partition, self._region, str(account), str(key_id))


def missing_material(key: Key) -> KeyUnavailableException:
    """The refusal of a key whose material is not in the store, or does not open."""
    return KeyUnavailableException(
        f"{key.arn} is unavailable: its key material is missing from the registry or does not open. Restore the "
        f"registry of region {key.region} from a backup; `kms-grpc check` lists all that is damaged.",
        key=key.arn,
    )


def is_row_of_key(row: Row, key_id: str) -> bool:
    """Whether a damaged row is that key's: two of its three names say so."""
    values = KEY.values(row)
    by_arn = str(values["arn"]).endswith(f":key/{key_id}")
    return int(sum((values["key_id"] == key_id, values["digest"] == digest(key_id), by_arn))) >= 2


def is_row_of_alias(row: Row, account: str, name: str) -> bool:
    """As is_row_of_key."""
    values = ALIAS.values(row)
    by_arn = str(values["arn"]).endswith(f":{account}:{name}")
    by_name = values["account"] == account and values["name"] == name
    return int(sum((by_name, values["digest"] == digest(account, name), by_arn))) >= 2


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
