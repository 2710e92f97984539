"""Failures of the command line: one line that says what to do, and an exit code that scripts can rely on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import click

from kms_grpc import errors
from kms_grpc.cli.output import text_of


class ExitCode(IntEnum):
    """The exit codes, as `kms-grpc --help` documents them. A code never changes its meaning."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    KEY_STATE = 6
    CIPHERTEXT = 7
    TRY_LATER = 8
    BUG = 70
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.REFUSED: "the service refused the request; a check or a start failed",
    ExitCode.USAGE: "wrong usage: options, files, configuration",
    ExitCode.UNREACHABLE: "the service cannot be reached, or did not answer in time",
    ExitCode.NOT_ALLOWED: "the token is not accepted, or the caller is not allowed",
    ExitCode.NOT_FOUND: "no such key or alias",
    ExitCode.KEY_STATE: "the key cannot be used in its state",
    ExitCode.CIPHERTEXT: "the ciphertext is not accepted",
    ExitCode.TRY_LATER: "a rate limit or a quota is reached, or the disk of the service is not available",
    ExitCode.BUG: "a bug: please report it",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}

TOKEN_HINT: Final = 'export KMS_GRPC_TOKEN="$(cat DIR/dev.token)" (serve --dev), or --token-file FILE'  # noqa: S105

_CODES: Final[dict[str, ExitCode]] = {
    "MissingAuthenticationTokenException": ExitCode.NOT_ALLOWED,
    "UnrecognizedClientException": ExitCode.NOT_ALLOWED,
    "ExpiredTokenException": ExitCode.NOT_ALLOWED,
    "AccessDeniedException": ExitCode.NOT_ALLOWED,
    "NotAuthorizedException": ExitCode.NOT_ALLOWED,
    "NotFoundException": ExitCode.NOT_FOUND,
    "DisabledException": ExitCode.KEY_STATE,
    "KMSInvalidStateException": ExitCode.KEY_STATE,
    "KeyUnavailableException": ExitCode.KEY_STATE,
    "ConflictException": ExitCode.TRY_LATER,
    "InvalidCiphertextException": ExitCode.CIPHERTEXT,
    "IncorrectKeyException": ExitCode.CIPHERTEXT,
    "LimitExceededException": ExitCode.TRY_LATER,
    "ThrottlingException": ExitCode.TRY_LATER,
    "DependencyTimeoutException": ExitCode.TRY_LATER,
    "DryRunOperationException": ExitCode.OK,
    "InvalidConnection": ExitCode.USAGE,
    "ServiceUnreachable": ExitCode.UNREACHABLE,
    "DeadlineExceeded": ExitCode.UNREACHABLE,
}

_WAYS_OUT: Final[dict[str, str]] = {
    "MissingAuthenticationTokenException": TOKEN_HINT,
    "UnrecognizedClientException": f"use a token of this server: {TOKEN_HINT}",
    "ExpiredTokenException": f"use a new token: {TOKEN_HINT}",
    "AccessDeniedException": "check that --region is the key's region and that the key is in your account: "
    "kms-grpc keys list; an administrator can see why: kms-grpc explain",
    "NotAuthorizedException": "alias/aws/ is reserved: choose another name",
    "NotFoundException": "list the keys and aliases of the same --region: kms-grpc keys list, kms-grpc alias list",
    "DisabledException": "kms-grpc keys enable {key}{region}",
    "KMSInvalidStateException": "see the key's state: kms-grpc keys describe {key}{region}",
    "KeyUnavailableException": "see what is damaged: kms-grpc check --data-dir DIR; then restore it from a backup",
    "InvalidCiphertextException": "give the whole, undamaged ciphertext and every --context pair of its encryption",
    "IncorrectKeyMaterialException": "import the same bytes as before, or add other key material with --new",
    "ExpiredImportTokenException": "get new parameters: kms-grpc import {key} --plan{region}",
    "InvalidImportTokenException": "a token is valid for one key and one import: kms-grpc import {key} --plan{region}",
    "ConflictException": "see the next automatic rotation: kms-grpc rotation status {key}{region}",
    "IncorrectKeyException": "leave --key out: the ciphertext names its key",
    "AlreadyExistsException": "choose another name, or move the alias: kms-grpc alias update",
    "InvalidAliasNameException": "use alias/NAME with the characters A-Z a-z 0-9 / _ -",
    "InvalidMarkerException": "use NextMarker unchanged, with the same command and region",
    "LimitExceededException": "delete what is not needed, or raise [quotas] in the server's configuration; "
    "after 25 rotations create a new key and use kms-grpc alias update",
    "ThrottlingException": "try again in a moment",
    "DependencyTimeoutException": "find the cause in the server's log (a full disk?), then try again",
    "KMSInternalException": "find request id {request_id} in the server's log",
    "ServiceUnreachable": "start the server (kms-grpc serve --help), or give its address: KMS_GRPC_ENDPOINT or "
    "--endpoint; for TLS also KMS_GRPC_TLS_CA or --tls-ca",
    "DeadlineExceeded": "the call may have been done: check before you repeat it; wait longer with --timeout",
}

_WAYS_OUT_OF_STATES: Final[dict[str, str]] = {
    "PendingDeletion": "kms-grpc keys cancel-deletion {key}{region}, then kms-grpc keys enable {key}{region}",
    "PendingImport": "import key material: kms-grpc import {key} --file FILE{region}",
}
"""Advice for KMSInvalidStateException, by the key's state."""

_WAYS_OUT_OF_TEXTS: Final = (
    (re.compile(r"'plaintext' failed .* less than"), "larger data goes through kms-grpc encrypt-file"),
    (re.compile(r"'plaintext' failed .* greater than"), "the input is empty: give at least one byte"),
    (
        re.compile(r"^Invalid keyId '(?P<alias>[^']*alias/[^']+)'"),
        "the command takes a key's id or ARN, which kms-grpc keys describe {alias}{region} shows",
    ),
    (
        re.compile(r"^Aliases must refer to keys"),
        "the command takes a key's id or ARN, which kms-grpc keys describe ALIAS{region} shows",
    ),
    (re.compile(r"There is no access key "), "see those that there are: kms-grpc principals access-key list"),
)
"""Advice that goes by the text of an error, which says more than its name."""


def code_of(error: Exception) -> ExitCode:
    return _CODES.get(name_of(error), ExitCode.REFUSED)


def name_of(error: Exception) -> str:
    """Returns AWS's name of a KMSError, or the class name of any other error."""
    return error.code if isinstance(error, errors.KMSError) else type(error).__name__


def way_out(error: Exception) -> str:
    """Returns what to do about an error; empty if the error's text says so already."""
    key, request_id = getattr(error, "key", None), getattr(error, "request_id", None)
    advice, said = _WAYS_OUT.get(name_of(error), ""), {}
    if isinstance(error, errors.KMSInvalidStateException):
        advice = _WAYS_OUT_OF_STATES.get(error.state or "", advice)
    for pattern, special in _WAYS_OUT_OF_TEXTS:
        if match := pattern.search(str(error)):
            advice, said = special, {name: shlex.quote(text) for name, text in match.groupdict().items()}
    return advice.format(key=key or "KEY", region=_region_option(error), request_id=request_id or "unknown", **said)


def _region_option(error: Exception) -> str:
    """Returns the --region option for the key's region; empty if KMS_GRPC_REGION names that region."""
    region = getattr(error, "region", None)
    return f" --region {region}" if region and region != os.environ.get("KMS_GRPC_REGION") else ""


def print_failure(error: Exception, as_json: bool) -> None:
    """Prints an error of the service or of the connection as one line on standard error: text, or a JSON object."""
    what = ": ".join(part for part in (click.style(name_of(error), fg="red"), _one_line(_message(error))) if part)
    report(what, way_out(error), _members(error) if as_json else None)


def report(text: str, way_out: str = "", members: Mapping[str, Any] | None = None) -> None:
    """Prints one line on standard error: the text with its way out, or `members` as a JSON object.

    If standard error cannot be written, the exit code alone has to tell.
    """
    line = f"kms-grpc: {text}{f'. Way out: {way_out}' if way_out else ''}"
    with contextlib.suppress(OSError):
        click.echo(line if members is None else json.dumps(members, ensure_ascii=False), err=True)


def _one_line(text: str) -> str:
    return text_of(text).strip().rstrip(".")


def _members(error: Exception) -> dict[str, Any]:
    facts = {name: getattr(error, name.lower(), None) for name in ("Key", "State", "Region")}
    known = {name: value for name, value in facts.items() if value}
    request_id = getattr(error, "request_id", None)
    if request_id:
        known["RequestId"] = request_id
    return {"Error": name_of(error), "Message": _message(error), "WayOut": way_out(error), **known}


def _message(error: Exception) -> str:
    """Returns an error's text. The client names its arguments, here they are options."""
    if name_of(error) == "InvalidConnection":
        return re.sub(r"\btls_(ca|name)\b", r"--tls-\1", str(error))
    return str(error)
