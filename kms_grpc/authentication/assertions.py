"""Authentication by signed assertions (JWT, RFC 7519), whose claims mean a principal.

PyJWT parses and verifies. Beyond what it checks, an assertion is refused whose header or claims have a doubled member,
whose header has `crit` or a foreign `typ` (RFC 8725 §3.11), which has no end, or lives longer than its issuer's setting
allows. Issuer, audience and keys belong together and are never pooled.
"""

from __future__ import annotations

import base64
import json
import math
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import jwt

from kms_grpc.authentication.bearer_tokens import UNKNOWN, Holder, require_time
from kms_grpc.authentication.key_sets import ALGORITHMS, NO_KEYS, Unusable, parse
from kms_grpc.authentication.key_sources import FileKeys, KeySetUrl, KeySource, KeySources
from kms_grpc.authentication.mappings import Mappings
from kms_grpc.configured_files import NamedFiles
from kms_grpc.errors import UnrecognizedClientException
from kms_grpc.issuer_settings import IssuerSettings, MappingSettings
from kms_grpc.misfits import ConfigurationError

LEEWAY_NS: Final = 60 * 10**9
"""How far an issuer's clock may be ahead, for `iat` and `nbf`. `exp` has none."""
TYPES: Final = frozenset({"", "jwt", "at+jwt"})
SECOND_NS: Final = 10**9
_SIGNATURE_ALONE: Final[Any] = {
    "require": ["iss", "sub", "aud", "exp"],
    **{f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "jti")},
}
"""Options for PyJWT: times are judged here by the server's own clock, issuer and audience exactly."""


class Issuer(NamedTuple):
    """An issuer, its keys and the rules about its assertions."""

    settings: IssuerSettings
    keys: KeySource
    mappings: Mappings


def assertions_of(
    issuers: Iterable[IssuerSettings],
    mappings: Sequence[MappingSettings],
    files: NamedFiles,
    sources: KeySources | None,
    wall_ns: Callable[[], int],
) -> Assertions:
    """Returns the assertions that settings describe. Without `sources` no URL is fetched. Raises ConfigurationError."""
    return Assertions(
        (
            Issuer(one, _keys_of(one, files, sources), Mappings(rule for rule in mappings if rule.issuer == one.name))
            for one in issuers
        ),
        wall_ns,
    )


def _keys_of(issuer: IssuerSettings, files: NamedFiles, sources: KeySources | None) -> KeySource:
    try:
        if issuer.jwks_file is not None:
            return FileKeys(parse(files.text(issuer.jwks_file)))
        ca = None if issuer.ca_file is None else files.text(issuer.ca_file)
        if ca is not None:
            ssl.create_default_context(cadata=ca)
    except Unusable as error:
        raise ConfigurationError(f"issuer {issuer.name}: jwks_file {issuer.jwks_file}: {error}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it has no certificates in PEM format"
        place = issuer.jwks_file or issuer.ca_file
        raise ConfigurationError(f"issuer {issuer.name}: {place}: {said}") from None
    assert issuer.jwks_url is not None
    if sources is None:
        return FileKeys(NO_KEYS)
    return sources.at(KeySetUrl(issuer.jwks_url, ca, issuer.refresh_seconds, issuer.stale_seconds))


class Assertions:
    """Verifies assertions of the configured issuers. `wall_ns` gives the time."""

    def __init__(self, issuers: Iterable[Issuer], wall_ns: Callable[[], int]) -> None:
        self._issuers = {one.settings.issuer: one for one in issuers}
        self._wall_ns = wall_ns

    @property
    def sources(self) -> list[KeySource]:
        """The sources of keys of all issuers."""
        return [one.keys for one in self._issuers.values()]

    def holder(self, token: str) -> Holder:
        """Returns the principal that an assertion means, until when it does, and under which keys. Raises
        UnrecognizedClientException and ExpiredTokenException."""
        header, claims = _parts(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            _refuse_algorithm(algorithm)
        issuer = self._issuers.get(claims["iss"]) if isinstance(claims.get("iss"), str) else None
        if issuer is None:
            _refuse()
        keys = issuer.keys.keys
        found = keys.find(header.get("kid"), algorithm)
        if not found:
            issuer.keys.miss()
        if not any(_verifies(token, key, algorithm) for key in found):
            _refuse()
        issued_ns, ends_ns = self._require_claims(claims, issuer.settings)
        principal = issuer.mappings.principal(claims)
        if principal is None:
            _refuse()
        return Holder(principal._replace(issued_ns=issued_ns), None, ends_ns, issuer.keys, keys)

    def _require_claims(self, claims: Mapping[str, Any], settings: IssuerSettings) -> tuple[int | None, int]:
        """Returns when a verified assertion was issued, and its end, in ns since 1970."""
        if not _is_for(claims["aud"], settings.audience):
            _refuse("The security token included in the request is for another audience.")
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject.isprintable() or not subject:
            _refuse()
        now_ns = self._wall_ns()
        ends_ns = _moment(claims["exp"])
        issued_ns, begins_ns = (_moment(claims[name]) if name in claims else None for name in ("iat", "nbf"))
        latest_ns = max(issued_ns or 0, begins_ns or 0) - LEEWAY_NS
        require_time(latest_ns, ends_ns, now_ns)
        if ends_ns - (now_ns if issued_ns is None else issued_ns) > settings.longest_life_seconds * SECOND_NS:
            _refuse("The security token included in the request lives longer than longest_life_seconds of its issuer.")
        return issued_ns, ends_ns


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns header and claims, which are not verified yet."""
    try:
        header, claims = (_members(part) for part in token.split(".")[:2])
    except (ValueError, RecursionError):
        _refuse()
    kind = header.get("typ", "")
    if "crit" in header or not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        _refuse()
    if not isinstance(header.get("kid"), str | None):
        _refuse()
    return header, claims


def _members(part: str) -> dict[str, Any]:
    text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    members = json.loads(text, object_pairs_hook=_without_doubles)
    if not isinstance(members, dict):
        raise ValueError
    return members


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError
    return members


def _verifies(token: str, key: jwt.PyJWK, algorithm: str) -> bool:
    try:
        jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ALONE)
    except Exception:  # besides its own errors PyJWT lets others out, for keys and claims of odd forms
        return False
    return True


def _is_for(audience: object, wanted: str) -> bool:
    several = audience if isinstance(audience, list) else [audience]
    return all(isinstance(one, str) for one in several) and wanted in several


def _moment(stated: object) -> int:
    """Returns a NumericDate in ns since 1970."""
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not math.isfinite(stated) or stated < 0:
        _refuse()
    return int(stated * SECOND_NS) if stated < 1 << 40 else (1 << 40) * SECOND_NS


def _refuse_algorithm(algorithm: object) -> NoReturn:
    if algorithm == "Ed25519":
        _refuse("The algorithm Ed25519 of the security token is not supported by this name: use EdDSA.")
    _refuse()


def _refuse(text: str = UNKNOWN) -> NoReturn:
    raise UnrecognizedClientException(text) from None
