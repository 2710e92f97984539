"""Sessions: temporary access keys of a configured principal, for AWS's own clients.

Nothing of a session is stored. Its token is a ciphertext blob under the same AWS owned key as access keys' secrets; it
holds the secret, the principal, the times, and a digest of what makes the principal. Its encryption context binds it to
its access key id. So a session works in every worker, ends with its time, and is dead at once when its principal is
removed or changed, for good: a namesake has another digest.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from kms_grpc.audit.record import access_key_event
from kms_grpc.authentication.signature_v4 import Signer
from kms_grpc.authentication.signing_key import SigningKey, SigningKeys, key_of_day, key_of_region
from kms_grpc.clock import Clock
from kms_grpc.crypto import envelope
from kms_grpc.crypto.encryption_context import canonical
from kms_grpc.crypto.errors import StaleHandle
from kms_grpc.errors import KMSError, UnrecognizedClientException
from kms_grpc.model.principal import Principal
from kms_grpc.registry.access_keys import ID_BYTES, SECRET_BYTES
from kms_grpc.registry.loaded_materials import LoadedMaterial
from kms_grpc.registry.owned_keys import ACCESS_KEYS, Reason, owned_key, using
from kms_grpc.registry.rows import OutboxRow
from kms_grpc.registry.shards import Shard

LEAST_SECONDS: Final = 900
MOST_SECONDS: Final = 12 * 3600
"""Bounds of a session's life, as AWS's AssumeRole has them."""
TOKEN_LIMIT: Final = 4096
PREFIX: Final = "ASIA"
SECOND_NS: Final = 10**9
DAY: Final = 86_400
_OPENED: Final = 4096
_LOOKS: Final = 8


class Content(msgspec.Struct, frozen=True):
    """The plaintext of a session token. Times are in seconds since 1970."""

    secret: str
    principal: str
    digest: bytes
    issued: int
    ends: int


class NewSession(msgspec.Struct, frozen=True):
    """A new session. `ends` is in seconds since 1970."""

    access_key_id: str
    secret: str
    token: str
    ends: int


def create_session(shard: Shard, principal: Principal, digest: bytes, seconds: int, now_ns: int) -> NewSession:
    """Makes a session of LEAST_SECONDS to MOST_SECONDS. Nobody can read it again."""
    access_key_id = PREFIX + base64.b32encode(envelope.random_bytes(ID_BYTES)).decode()
    secret = base64.b64encode(envelope.random_bytes(SECRET_BYTES)).decode()
    issued = now_ns // SECOND_NS
    content = Content(secret, principal.name, digest, issued, issued + seconds)
    owned_key(shard, ACCESS_KEYS, now_ns)
    with shard.writing() as transaction:
        with using(shard, ACCESS_KEYS, "Encrypt", Reason(now_ns, transaction.outbox.add)) as sealing:
            bound = _bound(sealing, access_key_id)
            sealed = envelope.seal(sealing.handle, sealing.prefix, bound, msgspec.msgpack.encode(content))
        event_id, line = access_key_event("CreateSession", shard.region, principal, access_key_id, now_ns)
        transaction.outbox.add(OutboxRow(event_id, principal.account, line))
    return NewSession(access_key_id, secret, base64.b64encode(sealed).decode(), content.ends)


class Sessions:
    """Implements authentication.signature_v4.SessionSigners. `digest_of` returns the digest of a configured principal,
    None if there is no such one. `keep` takes the audit records of opened tokens."""

    def __init__(
        self,
        shard: Shard,
        principal_named: Callable[[str], Principal | None],
        digest_of: Callable[[str], bytes | None],
        clock: Clock,
        keep: Callable[[OutboxRow], None],
    ) -> None:
        self._shard, self._clock, self._keep = shard, clock, keep
        self._principal_named, self._digest_of = principal_named, digest_of
        self._opened: dict[bytes, _OpenedSession] = {}

    def find(self, access_key_id: str, token: bytes) -> Signer | None:
        """See SessionSigners."""
        if len(token) > TOKEN_LIMIT:
            return None
        name = _name(access_key_id, token)
        opened = self._opened.get(name)
        if opened is None:
            content = self._open(access_key_id, token)
            if content is None:
                return None
            opened = _OpenedSession(content)
            if len(self._opened) >= _OPENED:
                self._opened.clear()
            self._opened[name] = opened
        return self._signer(opened)

    def find_warm(self, access_key_id: str, token: bytes) -> Signer | None:
        """See SessionSigners."""
        opened = self._opened.get(_name(access_key_id, token)) if len(token) <= TOKEN_LIMIT else None
        return None if opened is None else self._signer(opened)

    def _signer(self, opened: _OpenedSession) -> Signer | None:
        principal = self._principal_named(opened.principal)
        if principal is None or self._digest_of(opened.principal) != opened.digest:
            return None
        principal = principal._replace(issued_ns=opened.issued_ns)
        return Signer(principal, opened.signing_key, opened.keys.keep, opened.ends_ns)

    def _open(self, access_key_id: str, token: bytes) -> Content | None:
        """Returns the content of a token; None if it is none, or belongs to another access key id. Only an opening that
        succeeds is recorded: anybody can send a token that does not open."""
        try:
            blob = base64.b64decode(token, validate=True)
        except binascii.Error:
            return None
        for _ in range(_LOOKS):
            rows: list[OutboxRow] = []
            try:
                with using(self._shard, ACCESS_KEYS, "Decrypt", Reason(self._clock.wall_ns(), rows.append)) as sealing:
                    plain = envelope.open_blob(sealing.handle, _bound(sealing, access_key_id), blob)
            except StaleHandle:
                self._shard.forget_material(sealing)
            except KMSError:
                return None
            else:
                for row in rows:
                    self._keep(row)
                return msgspec.msgpack.decode(plain, type=Content)
        return None


class _OpenedSession:
    """A session whose token was opened, with the keys of its days instead of its secret."""

    def __init__(self, content: Content) -> None:
        self.principal, self.digest = content.principal, content.digest
        self.issued_ns, self.ends_ns = content.issued * SECOND_NS, content.ends * SECOND_NS
        self.keys = SigningKeys()
        dates = {_date(seconds) for seconds in (content.issued - DAY, content.issued, content.ends, content.ends + DAY)}
        self._days = {date: key_of_day(content.secret.encode(), date) for date in dates}

    def signing_key(self, date: bytes, region: bytes) -> SigningKey:
        """Returns the key of a day and region. Raises UnrecognizedClientException for a day on which there is none."""
        found = self.keys.find(date, region)
        if found is not None:
            return found
        day = self._days.get(date)
        if day is None:
            raise UnrecognizedClientException("The security token included in the request is invalid.")
        return SigningKey(key_of_region(day, region))


def _date(seconds: int) -> bytes:
    return time.strftime("%Y%m%d", time.gmtime(seconds)).encode()


def _name(access_key_id: str, token: bytes) -> bytes:
    return sha256(access_key_id.encode() + b"\0" + token).digest()


def _bound(sealing: LoadedMaterial, access_key_id: str) -> bytes:
    return sealing.associated_prefix + canonical({"session": access_key_id})
