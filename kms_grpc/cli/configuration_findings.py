"""The findings of `kms-grpc check --config`, which reads a configuration as `serve` does, and serves nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from kms_grpc.cli.findings import Finding, Verdict
from kms_grpc.config import ConfigurationError, Settings, load
from kms_grpc.principal_settings import same_tokens


def examine_configuration(path: Path) -> tuple[list[Finding], Settings | None]:
    """Returns findings about a configuration file and the files that it names, and its settings if it can be read."""
    try:
        settings = load(path, {})
    except ConfigurationError as error:
        return [Finding("configuration", Verdict.BAD, str(error))], None
    examined = [_trouble(_examine_callers, settings), _trouble(_examine_policies, settings)]
    examined += [_trouble(_examine_certificate, settings)]
    findings = [Finding("configuration", Verdict.BAD, text) for text in examined if text]
    if not settings.principals and not settings.dev:
        findings.append(
            Finding("configuration", Verdict.NOTE, "nobody may call: give [[principals]], or serve with --dev")
        )
    regions, callers = ", ".join(settings.regions), len(settings.principals)
    if not any(examined):
        findings.append(Finding("configuration", Verdict.OK, f"{path}: regions {regions}; callers: {callers}"))
    return findings, settings


def _trouble(examine: Callable[[Settings], None], settings: Settings) -> str | None:
    try:
        examine(settings)
    except ConfigurationError as error:
        return str(error)
    return None


def _examine_callers(settings: Settings) -> None:
    same_tokens(settings.principals)


def _examine_policies(settings: Settings) -> None:
    from kms_grpc.authorization.identity_policies import identities

    identities([*settings.principals, *settings.mappings])


def _examine_certificate(settings: Settings) -> None:
    if settings.tls is not None:
        from kms_grpc.endpoints import certificate

        certificate.read(settings.tls, datetime.now(UTC))
