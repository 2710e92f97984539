"""How the command line fails: one line with the way out, and an exit code that scripts can rely on."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from typing import Any, Final

import click

from kms_grpc import errors
from kms_grpc.cli.output import text_of


class ExitCode(IntEnum):
    """Documented in `kms-grpc --help`: a code never changes its meaning."""

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
    ExitCode.NOT_ALLOWED: "not known (token) or not allowed",
    ExitCode.NOT_FOUND: "no such key or alias",
    ExitCode.KEY_STATE: "the key's state forbids it",
    ExitCode.CIPHERTEXT: "the ciphertext is not accepted",
    ExitCode.TRY_LATER: "over a rate or a quota, or something below the service is away",
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
    "UnrecognizedClientException": f"take this server's token: {TOKEN_HINT}",
    "ExpiredTokenException": f"take a new token: {TOKEN_HINT}",
    "AccessDeniedException": "is --region the key's own, and is the key your account's? kms-grpc keys list",
    "NotAuthorizedException": "alias/aws/ is reserved: choose another name",
    "NotFoundException": "see what there is, in the same --region: kms-grpc keys list, kms-grpc alias list",
    "DisabledException": "kms-grpc keys enable {key}{region}",
    "KMSInvalidStateException": "see its state: kms-grpc keys describe {key}{region}",
    "KeyUnavailableException": "see what is damaged: kms-grpc check --data-dir DIR; then restore it from a backup",
    "InvalidCiphertextException": "give the whole, undamaged ciphertext and every --context pair it was made with",
    "IncorrectKeyMaterialException": "import the bytes that the key had before, or other bytes beside them with --new",
    "ExpiredImportTokenException": "get new parameters: kms-grpc import {key} --plan{region}",
    "InvalidImportTokenException": "a token is for one key and one import: kms-grpc import {key} --plan{region}",
    "ConflictException": "see when it is rotated by itself: kms-grpc rotation status {key}{region}",
    "IncorrectKeyException": "leave --key out: the ciphertext names its key itself",
    "AlreadyExistsException": "choose another name, or move the alias: kms-grpc alias update",
    "InvalidAliasNameException": "write alias/NAME with A-Z a-z 0-9 / _ -",
    "InvalidMarkerException": "take NextMarker as it came, with the same command and region",
    "LimitExceededException": "delete what is not needed, or raise [quotas] in the server's configuration; "
    "rotations beyond 25: a new key, and kms-grpc alias update",
    "ThrottlingException": "try again in a moment",
    "DependencyTimeoutException": "the server's log says what is away (a full disk?); try again then",
    "KMSInternalException": "the server's log says more, under this request id: {request_id}",
    "ServiceUnreachable": "start it (kms-grpc serve --help), or say where it is: KMS_GRPC_ENDPOINT or --endpoint; "
    "under TLS: KMS_GRPC_TLS_CA or --tls-ca",
    "DeadlineExceeded": "ask whether it was done before repeating a write; more time: --timeout",
}

_WAYS_OUT_OF_STATES: Final[dict[str, str]] = {
    "PendingDeletion": "kms-grpc keys cancel-deletion {key}{region}, then kms-grpc keys enable {key}{region}",
    "PendingImport": "import its key material: kms-grpc import {key} --file FILE{region}",
}
"""Of KMSInvalidStateException, by the key's state."""


def code_of(error: Exception) -> ExitCode:
    return _CODES.get(name_of(error), ExitCode.REFUSED)


def name_of(error: Exception) -> str:
    """AWS's name of the error, or the class of what went wrong on the way."""
    return error.code if isinstance(error, errors.KMSError) else type(error).__name__


def way_out(error: Exception) -> str:
    """What to do about it; empty where the text of the error says all."""
    key, request_id = getattr(error, "key", None), getattr(error, "request_id", None)
    advice = _WAYS_OUT.get(name_of(error), "")
    if isinstance(error, errors.KMSInvalidStateException):
        advice = _WAYS_OUT_OF_STATES.get(error.state or "", advice)
    return advice.format(key=key or "KEY", region=_region_option(error), request_id=request_id or "unknown")


def _region_option(error: Exception) -> str:
    """The region where the key is, if the environment does not say so already."""
    region = getattr(error, "region", None)
    return f" --region {region}" if region and region != os.environ.get("KMS_GRPC_REGION") else ""


def print_failure(error: Exception, as_json: bool) -> None:
    """One line on standard error."""
    if as_json:
        click.echo(json.dumps(_members(error), ensure_ascii=False), err=True)
        return
    what = ": ".join(part for part in (click.style(name_of(error), fg="red"), _one_line(str(error))) if part)
    advice = way_out(error)
    click.echo(f"kms-grpc: {what}{f'. Way out: {advice}' if advice else ''}", err=True)


def _one_line(text: str) -> str:
    return text_of(text).strip().rstrip(".")


def _members(error: Exception) -> dict[str, Any]:
    facts = {name: getattr(error, name.lower(), None) for name in ("Key", "State", "Region")}
    known = {name: value for name, value in facts.items() if value}
    request_id = getattr(error, "request_id", None)
    if request_id:
        known["RequestId"] = request_id
    return {"Error": name_of(error), "Message": str(error), "WayOut": way_out(error), **known}
