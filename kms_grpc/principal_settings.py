"""The settings of principals: who they are, their credentials, and their policies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from kms_grpc.configured_files import DISK, NamedFiles
from kms_grpc.misfits import ConfigurationError
from kms_grpc.token_files import TokenDigest, digest_of_token

ACCOUNT: Final = re.compile(r"[0-9]{12}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Credential(NamedTuple):
    """A bearer token as the server keeps it."""

    digest: bytes
    """SHA-256 of the token."""
    length: int | None
    """Length of the token, by which logs hide it; None where only its SHA-256 is known."""
    begins_ns: int | None
    """The first moment at which it is taken, ns since 1970; None for no such bound."""
    ends_ns: int | None
    """The first moment at which it is refused as expired, ns since 1970; None for never."""


class CredentialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bearer token of a principal, which may have several: a new one beside the old one, until all callers have it.
    Give exactly one of `token`, `token_file` and `token_sha256`."""

    token: str | None = None
    """The bearer token: at least 16 printable ASCII characters, no spaces."""
    token_file: Path | None = None
    """File with the bearer token."""
    token_sha256: str | None = None
    """SHA-256 of the token, 64 hexadecimal digits, so that the file holds no secret. `kms-grpc principals token` makes
    a token and prints both."""
    not_before: datetime | None = None
    """Date and time with offset, such as 2027-01-31T12:00:00Z, from which the token is taken."""
    expires: datetime | None = None
    """Date and time with offset from which the token is refused. None: it does not expire."""

    def read(self, files: NamedFiles = DISK) -> Credential:
        """Returns the credential. Raises ConfigurationError that says what is wrong, without the principal's name."""
        if [self.token, self.token_file, self.token_sha256].count(None) != 2:
            raise ConfigurationError("give exactly one of token, token_file and token_sha256")
        begins_ns, ends_ns = _moment("not_before", self.not_before), _moment("expires", self.expires)
        if begins_ns is not None and ends_ns is not None and begins_ns >= ends_ns:
            raise ConfigurationError("expires must be later than not_before")
        if self.token_sha256 is not None:
            return Credential(_digest_of(self.token_sha256), None, begins_ns, ends_ns)
        found = digest_of_token(self.token) if self.token is not None else _from_file(files, self.token_file)
        return Credential(found.digest, found.length, begins_ns, ends_ns)


class PrincipalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A principal that may call the service. It authenticates with a bearer token, here or in `credentials`, or with an
    access key (`kms-grpc principals access-key create`)."""

    name: str
    """Unique name of the principal, in logs and in `kms-grpc principals`."""
    arn: str
    """IAM ARN of the principal, as key policies and the audit log show it."""
    account: str
    """Account of the principal: 12 digits."""
    token: str | None = None
    """The bearer token: at least 16 printable ASCII characters, no spaces. Give either this, `token_file` or
    `token_sha256`."""
    token_file: Path | None = None
    """File with the bearer token."""
    token_sha256: str | None = None
    """SHA-256 of the bearer token, 64 hexadecimal digits: `kms-grpc principals token` makes both."""
    credentials: list[CredentialSettings] | None = None
    """More bearer tokens, each with dates of its own. `[]`: none; the principal calls with access keys alone."""
    service: str | None = None
    """Name of an AWS service (`s3.amazonaws.com`), if the principal is a service that acts for the account."""
    policies: list[str] | None = None
    """Required. Identity policies, each a name (`administrator`, `user`, `reader`, `auditor`, `full-access`), the path
    of a JSON file or a JSON document. `[]`: the principal may do only what key policies allow it by name."""
    tags: dict[str, str] = {}
    """Tags of the principal, which policies know as aws:PrincipalTag."""

    @property
    def tokens(self) -> tuple[CredentialSettings, ...]:
        """All settings of bearer tokens of the principal."""
        own = CredentialSettings(self.token, self.token_file, self.token_sha256)
        has_own = own != CredentialSettings()
        return (*((own,) if has_own or self.credentials is None else ()), *(self.credentials or ()))

    def read_credentials(self, files: NamedFiles = DISK) -> list[Credential]:
        """Returns the bearer tokens. Raises ConfigurationError that names the principal and the credential."""
        own = len(self.tokens) - len(self.credentials or ())
        found = []
        for index, one in enumerate(self.tokens):
            try:
                found.append(one.read(files))
            except ConfigurationError as error:
                place = "" if index < own else f"credentials[{index - own}]: "
                raise ConfigurationError(f"principal {self.name}: {place}{error}") from None
        return found


def same_tokens(principals: Sequence[PrincipalSettings], files: NamedFiles = DISK) -> list[tuple[str, Credential]]:
    """Returns all credentials with the names of their principals. Raises ConfigurationError where two are the same."""
    known: dict[bytes, str] = {}
    found = [(principal.name, one) for principal in principals for one in principal.read_credentials(files)]
    for name, one in found:
        other = known.setdefault(one.digest, name)
        if other != name:
            raise ConfigurationError(f"principals {other} and {name} have the same token")
    if len(known) < len(found):
        digests = [one.digest for _, one in found]
        name = next(name for name, one in found if digests.count(one.digest) > 1)
        raise ConfigurationError(f"principal {name}: two of its credentials are the same token")
    return found


def digest_of(principal: PrincipalSettings, files: NamedFiles = DISK) -> bytes:
    """Returns a digest of what makes a principal: name, ARN, policies and tags. A session ends when it changes, so that
    it is never that of a namesake. Credentials are no part of it. Raises OSError for a policy's file."""
    policies = [each if (path := policy_file(each)) is None else files.text(path) for each in principal.policies or ()]
    parts = [principal.name, principal.arn, principal.account, principal.service, sorted(principal.tags.items())]
    return hashlib.sha256(msgspec.json.encode([*parts, policies])).digest()


def files_of(principals: Iterable[PrincipalSettings]) -> Iterator[tuple[Path, bool]]:
    """Yields the path of each file that the settings name, and whether it holds a token."""
    for principal in principals:
        yield from ((one.token_file, True) for one in principal.tokens if one.token_file is not None)
        yield from ((path, False) for path in policy_files(principal.policies or ()))


def policy_files(policies: Iterable[str]) -> Iterator[Path]:
    """Yields the paths of those policies that are given as files."""
    yield from (path for each in policies if (path := policy_file(each)) is not None)


def policy_file(policy: str) -> Path | None:
    """Returns the path of a policy that is given as a file, else None."""
    if is_inline(policy) or not ("/" in policy or policy.endswith(".json")):
        return None
    return Path(policy)


def is_inline(policy: str) -> bool:
    """Returns whether a setting is a policy document itself."""
    return policy.lstrip().startswith("{")


def check_principals(principals: Sequence[PrincipalSettings], service_account: str, dev: str | None) -> None:
    """Raises ConfigurationError for principals that cannot be. `dev` is the name of the principal that --dev adds."""
    names = [principal.name for principal in principals]
    _require(len(set(names)) == len(names), "two principals have the same name")
    _check_policies(principals)
    _require(dev not in names, f"principal {dev}: --dev adds a principal of this name; choose another name")
    for principal in principals:
        _require(ACCOUNT.fullmatch(principal.account), f"principal {principal.name}: account must be 12 digits")
        own = principal.account == service_account
        _require(not own, f"principal {principal.name}: account {principal.account} is reserved: it is service_account")
        _check_arn(principal)


def _check_policies(principals: Iterable[PrincipalSettings]) -> None:
    """A principal without policies once had full access, so that leaving them out must not mean none in silence."""
    without = [principal.name for principal in principals if principal.policies is None]
    _require(
        not without,
        f'principals without policies: {", ".join(without)}. Give each of them policies = ["full-access"], to let it do'
        " everything in its account, as before, or policies = [], to let it do only what key policies and grants allow",
    )


def _check_arn(principal: PrincipalSettings) -> None:
    parts = principal.arn.split(":", 5)
    well_formed = len(parts) == 6 and parts[0] == "arn" and all(parts[index] for index in (1, 2, 5))
    example = f"arn:aws:iam::{principal.account}:role/NAME"
    _require(well_formed, f"principal {principal.name}: arn {principal.arn!r} must have the form {example}")
    same = parts[4] == principal.account
    _require(same, f"principal {principal.name}: arn is of account {parts[4]!r}, but account is {principal.account}")


def _moment(name: str, stated: datetime | None) -> int | None:
    """Returns a date and time in ns since 1970."""
    if stated is None:
        return None
    if stated.tzinfo is None:
        raise ConfigurationError(f"{name} must have an offset, such as the Z of 2027-01-31T12:00:00Z")
    return int(stated.timestamp()) * 10**9


def _digest_of(token_sha256: str) -> bytes:
    if not _SHA256.fullmatch(token_sha256):
        raise ConfigurationError(
            "token_sha256 must be the SHA-256 of a token, 64 hexadecimal digits in lower case; `kms-grpc principals"
            " token` makes one"
        )
    return bytes.fromhex(token_sha256)


def _from_file(files: NamedFiles, path: Path | None) -> TokenDigest:
    assert path is not None
    try:
        return files.token(path)
    except ConfigurationError as error:
        raise ConfigurationError(f"token_file {error}") from None


def _require(condition: object, text: str) -> None:
    if not condition:
        raise ConfigurationError(text)
