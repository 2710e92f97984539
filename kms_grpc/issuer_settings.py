"""The settings of callers that are not listed: who vouches for them (issuers of assertions, CAs), whom they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from kms_grpc.misfits import ConfigurationError
from kms_grpc.principal_settings import ACCOUNT

PLACE: Final = re.compile(r"\{([^{}]*)\}")
"""A place in a template that a claim fills."""
CERTIFICATE_NAMES: Final = frozenset({"spiffe", "dns", "subject"})
PLACE_NAME: Final = re.compile(r"([A-Za-z0-9_/-]+)(?:\.([1-9]))?")
"""`claim`, or `claim.N`: the text of the N-th `*` of the claim's pattern."""
_RESOURCE: Final = r"(?:user|role)/(?:[A-Za-z0-9+=,.@_{}-]+/)*[A-Za-z0-9+=,.@_{}-]+"
_SESSION: Final = r"assumed-role/[A-Za-z0-9+=,.@_{}-]+/[A-Za-z0-9+=,.@_{}-]+"
_TEMPLATE: Final = re.compile(rf"arn:[a-z-]+:(?:iam::([0-9]{{12}}):{_RESOURCE}|sts::([0-9]{{12}}):{_SESSION})")


class IssuerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer of signed assertions (JWT, RFC 7519), such as a Kubernetes cluster or a CI service. A caller sends one
    as its bearer token. Signatures are RS256, PS256, ES256 or EdDSA."""

    name: str
    """Name of the issuer, by which `mappings` refer to it."""
    issuer: str
    """The claim `iss`, exactly as the issuer writes it, slash at the end included."""
    audience: str
    """The claim `aud` must be, or contain, this."""
    jwks_file: Path | None = None
    """File with the issuer's public keys, a JSON Web Key Set (RFC 7517). Give either this or jwks_url."""
    jwks_url: str | None = None
    """https URL of the key set. It is fetched in the background, and kept for stale_seconds while it fails."""
    ca_file: Path | None = None
    """PEM file of the CA that certifies the host of jwks_url. None: the system's CAs."""
    refresh_seconds: float = 300.0
    """Seconds between two fetches of jwks_url. A withdrawn key is refused after at most so long."""
    stale_seconds: float = 24 * 3600.0
    """Seconds since the last successful fetch after which the keys are no longer used."""
    longest_life_seconds: int = 24 * 3600
    """Longest life of an assertion, from `iat`, or from now where that is absent, to `exp`."""


class BundleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CAs that vouch for client certificates. A mapping names the bundle whose certificates it is about."""

    name: str
    """Name of the bundle, by which `mappings` refer to it."""
    file: Path
    """PEM file with the CAs that sign client certificates, and those that lead to their roots. It is read again when it
    changes."""


class MappingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule that makes a principal from the claims of an assertion, or from the names of a client certificate. The
    first rule whose patterns all match counts. Give either `issuer` or `bundle`."""

    name: str
    """Name of the rule, in logs. No principal has the same name."""
    issuer: str | None = None
    """Name of the issuer ([[issuers]]) whose assertions the rule is about."""
    bundle: str | None = None
    """Name of the bundle ([[client_bundles]]) that must have signed the client certificates that the rule is about."""
    claims: dict[str, str]
    """Patterns of claims. Each must match the whole value; `*` matches characters other than `:` and `/`, one at
    least. With `issuer`, a condition on `sub` is required. With `bundle`, give one of `spiffe` (the certificate's only
    URI, a SPIFFE id), `dns` (its only DNS name) and `subject` (`CN=orders,O=Acme`, without `*`)."""
    arn: str
    """ARN of the principal, in which `{claim}` stands for the value of a claim and `{claim.1}` for the text of the
    first `*` of its pattern: `arn:aws:iam::123456789012:role/{sub.2}`. Such a text must have only letters, digits and
    `+=,.@_-`."""
    account: str
    """Account of the principal: 12 digits, the same as in `arn`."""
    policies: list[str] | None = None
    """Required. Identity policies, as those of [[principals]]."""
    tags: dict[str, str] = {}
    """Tags of the principal, which policies know as aws:PrincipalTag."""


def check_issuers(issuers: Sequence[IssuerSettings]) -> None:
    """Raises ConfigurationError."""
    _require_distinct([one.name for one in issuers], "two issuers have the same name")
    _require_distinct([one.issuer for one in issuers], "two issuers have the same `issuer`")
    for one in issuers:
        place = f"issuer {one.name}"
        _require((one.jwks_file is None) != (one.jwks_url is None), f"{place}: give either jwks_file or jwks_url")
        is_https = one.jwks_url is None or re.fullmatch(r"https://[^/?#@\s]+[^#\s]*", one.jwks_url)
        _require(is_https, f"{place}: jwks_url must begin with https:// and a host")
        _require(one.issuer and one.audience, f"{place}: issuer and audience must not be empty")
        positive = min(one.refresh_seconds, one.stale_seconds, one.longest_life_seconds) > 0
        _require(positive, f"{place}: refresh_seconds, stale_seconds and longest_life_seconds must be more than 0")


def check_mappings(
    mappings: Sequence[MappingSettings],
    issuers: Iterable[str],
    principals: Iterable[str],
    service_account: str,
    bundles: Sequence[str] = (),
) -> None:
    """Raises ConfigurationError for a rule that could mean anybody, a root, or a principal of another account."""
    names = [rule.name for rule in mappings]
    _require_distinct([*names, *principals], "two mappings, or a mapping and a principal, have the same name")
    _require_distinct(bundles, "two client_bundles have the same name")
    known = set(issuers)
    for rule in mappings:
        place = f"mapping {rule.name}"
        _require((rule.issuer is None) != (rule.bundle is None), f"{place}: give either issuer or bundle")
        _require(rule.issuer is None or rule.issuer in known, f"{place}: there is no issuer {rule.issuer}")
        _require(rule.bundle is None or rule.bundle in bundles, f"{place}: there is no client bundle {rule.bundle}")
        _require(ACCOUNT.fullmatch(rule.account), f"{place}: account must be 12 digits")
        _require(rule.account != service_account, f"{place}: account {rule.account} is reserved: it is service_account")
        _require(rule.policies is not None, f'{place}: give policies, such as ["user"], or [] for none')
        _check_template(place, rule)
        _check_subject(place, rule)


def check_client_certificates(wanted: str, listen: str, has_bundles: bool) -> None:
    """Raises ConfigurationError if the setting tls.client_certificates does not fit the gRPC door's address, or bundles
    are missing or needless."""
    _require(
        wanted != "optional" or listen.startswith("unix:"),
        'tls.client_certificates: "optional" is not possible for gRPC, which cannot ask for a certificate without'
        ' requiring one: use "required", or serve gRPC at a Unix socket (listen = "unix:/path")',
    )
    _require(
        wanted == "off" or has_bundles,
        "tls.client_certificates: give [[client_bundles]], whose CAs vouch for client certificates",
    )
    _require(
        wanted != "off" or not has_bundles,
        'client_bundles: they need [tls] client_certificates = "required" (or "optional")',
    )


def _check_template(place: str, rule: MappingSettings) -> None:
    shape = _TEMPLATE.fullmatch(PLACE.sub("{}", rule.arn))
    example = f"arn:aws:iam::{rule.account}:role/{{sub.1}}"
    _require(shape, f"{place}: arn must name a user, a role or a session of a role, such as {example}")
    assert shape is not None
    account = shape[1] or shape[2]
    _require(account == rule.account, f"{place}: arn is of account {account}, but account is {rule.account}")
    for claim, star in places_of(rule.arn, place):
        stars = rule.claims.get(claim, "").count("*")
        _require(
            star is None or star <= stars, f"{place}: the pattern of {claim} has no {star}. `*`, which arn asks for"
        )


def _check_subject(place: str, rule: MappingSettings) -> None:
    """A pattern of `*` alone is a condition only where each subject is a principal of its own."""
    if rule.bundle is not None:
        one_kind = len(rule.claims) == 1 and rule.claims.keys() <= CERTIFICATE_NAMES
        _require(one_kind, f"{place}: claims must be one of spiffe, dns and subject")
        _require("*" not in rule.claims.get("subject", ""), f"{place}: the pattern of subject can have no `*`")
        _require(next(iter(rule.claims.values())).strip("*:/"), f"{place}: claims must have a condition on the name")
        return
    pattern = rule.claims.get("sub", "")
    says_something = pattern.strip("*:/") or "{sub" in rule.arn
    _require(
        pattern and says_something, f"{place}: claims must have a condition on sub, else it means all of the issuer's"
    )


def places_of(template: str, place: str = "") -> Iterator[tuple[str, int | None]]:
    """Yields claim and number of `*` for each place of a template. Raises ConfigurationError."""
    for found in PLACE.finditer(template):
        name = PLACE_NAME.fullmatch(found[1])
        _require(name, f"{place}: {found[0]} must be {{claim}} or {{claim.1}}")
        assert name is not None
        yield name[1], int(name[2]) if name[2] else None


def _require_distinct(names: Sequence[str], text: str) -> None:
    _require(len(set(names)) == len(names), text)


def _require(condition: object, text: str) -> None:
    if not condition:
        raise ConfigurationError(text)
