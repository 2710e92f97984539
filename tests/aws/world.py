"""Creates what a case needs through the door under test: keys in a state, aliases, key material, ciphertexts."""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Callable
from typing import Any

from tests import examples
from tests.aws.doors import REGION, DoorClient, Members, members_sent
from tests.examples import EXAMPLES, Thing, filled, request_class
from tests.operations.external_keys import wrap

OTHER_REGION = "eu-west-1"
ACCOUNT = "123456789012"
FOREIGN = f"arn:aws:kms:{REGION}:999988887777:key/12345678-1234-4234-8234-123456789012"
UNKNOWN = "12345678-1234-4234-8234-123456789012"
CONTEXT = {"app": "shop", "naïve": "ключ"}
OAEP = "RSAES_OAEP_SHA_256"
WRAPPING: Members = {"WrappingAlgorithm": OAEP, "WrappingKeySpec": "RSA_2048"}
NEVER: Members = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
_numbers = itertools.count()


class World:
    """Creates the objects of one case. `facts` fill the expected texts: {id} and {arn} of the last key, {alias} …"""

    def __init__(self, door: DoorClient) -> None:
        self.door = door
        self.facts: dict[str, str] = {"region": REGION, "account": ACCOUNT}
        self._packages: dict[str, Members] = {}

    def call(self, operation: str, **members: Any) -> Members:
        return self.door.call(operation, members)

    def example(self, operation: str, without: str | None = None) -> Members:
        """Makes what the operation's example (tests/examples.py) needs, and returns its members, without one field."""
        keys: dict[str, str] = {}
        example = EXAMPLES[operation]
        fields = {name: value for name, value in example.fields.items() if name != without}
        sent = filled(fields, lambda thing: self._value_of(thing, keys, example.origin))
        for key_id in keys.values():
            if example.state == "Disabled":
                self.call("DisableKey", KeyId=key_id)
            elif example.state == "PendingDeletion":
                self.call("ScheduleKeyDeletion", KeyId=key_id)
        return members_sent(request_class(operation)(**sent))

    def _value_of(self, thing: Thing, keys: dict[str, str], origin: str) -> str | bytes:
        if thing.key not in keys:
            keys[thing.key] = self.key("PendingImport" if origin == "EXTERNAL" else "Enabled")
        key_id = keys[thing.key]
        if thing.kind in ("import_token", "wrapped_material"):
            if key_id not in self._packages:
                self._packages[key_id] = self.package(key_id)
            package = self._packages[key_id]
            return bytes(package["ImportToken" if thing.kind == "import_token" else "EncryptedKeyMaterial"])
        made: dict[str, Callable[[], str | bytes]] = {
            "key_id": lambda: key_id,
            "alias": lambda: self.alias(key_id),
            "new_alias": self.name,
            "grant": lambda: self.grant(key_id),
            "blob": lambda: self.blob(key_id, EncryptionContext=examples.CONTEXT),
        }
        return made[thing.kind]()

    # --- keys ---------------------------------------------------------------------------------------------------

    def key(self, state: str = "Enabled", **members: Any) -> str:
        """Create a key in a state and return its id. PendingImport implies the origin EXTERNAL."""
        if state == "PendingImport":
            members["Origin"] = "EXTERNAL"
        made = self.call("CreateKey", **members)["KeyMetadata"]
        self.facts |= {"id": made["KeyId"], "arn": made["Arn"], "origin": made["Origin"]}
        if state == "Disabled":
            self.call("DisableKey", KeyId=made["KeyId"])
        if state == "PendingDeletion":
            self.call("ScheduleKeyDeletion", KeyId=made["KeyId"], PendingWindowInDays=7)
        return str(made["KeyId"])

    def imported(self, material: bytes | None = None) -> str:
        """Create an external key with imported material and return its id."""
        key_id = self.key("PendingImport")
        self.call("ImportKeyMaterial", **self.package(key_id, material), **NEVER)
        return key_id

    def package(self, key_id: str, material: bytes | None = None, **other: Any) -> Members:
        """Returns the members of an import: token and wrapped material."""
        got = self.call("GetParametersForImport", KeyId=key_id, **WRAPPING)
        wrapped = wrap(got["PublicKey"], OAEP, os.urandom(32) if material is None else material)
        return {"KeyId": key_id, "ImportToken": got["ImportToken"], "EncryptedKeyMaterial": wrapped} | other

    def rotated(self, times: int = 1) -> str:
        key_id = self.key()
        for _ in range(times):
            self.call("RotateKeyOnDemand", KeyId=key_id)
        return key_id

    def tagged(self, *tag_keys: str) -> str:
        return self.key(Tags=[{"TagKey": name, "TagValue": "v"} for name in tag_keys])

    def grant(self, key_id: str, **members: Any) -> str:
        """Create a grant and return its id."""
        made = self.call(
            "CreateGrant", **{"KeyId": key_id, "GranteePrincipal": examples.ORDERS, "Operations": ["Decrypt"]} | members
        )
        self.facts |= {"grant": made["GrantId"], "token": made["GrantToken"]}
        return str(made["GrantId"])

    # --- names --------------------------------------------------------------------------------------------------

    def name(self) -> str:
        """Returns an unused alias name."""
        self.facts["alias"] = f"alias/case-{os.getpid()}-{next(_numbers)}"
        return self.facts["alias"]

    def alias(self, key_id: str) -> str:
        name = self.name()
        self.call("CreateAlias", AliasName=name, TargetKeyId=key_id)
        return name

    # --- ciphertexts --------------------------------------------------------------------------------------------

    def blob(self, key_id: str, plaintext: bytes = b"plaintext", **members: Any) -> bytes:
        made: bytes = self.call("Encrypt", KeyId=key_id, Plaintext=plaintext, **members)["CiphertextBlob"]
        return made

    def blob_in_state(self, state: str, **more: Any) -> Members:
        """Returns the members of Decrypt for a ciphertext whose key has entered the state afterwards."""
        key_id = self.imported() if state == "PendingImport" else self.key()
        blob = self.blob(key_id)
        if state == "Disabled":
            self.call("DisableKey", KeyId=key_id)
        elif state == "PendingDeletion":
            self.call("ScheduleKeyDeletion", KeyId=key_id)
        elif state == "PendingImport":
            self.call("DeleteImportedKeyMaterial", KeyId=key_id)
        return {"CiphertextBlob": blob, **more}


def arn_of(key_id: str, region: str = REGION, account: str = ACCOUNT) -> str:
    return f"arn:aws:kms:{region}:{account}:key/{key_id}"


def flipped(blob: bytes, at: int = -1) -> bytes:
    changed = bytearray(blob)
    changed[at] ^= 1
    return bytes(changed)


def in_days(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
