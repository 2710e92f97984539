"""The findings of `kms-grpc check --config`, which reads a configuration as `serve` does, and serves nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from kms_grpc.cli.findings import Finding, Verdict
from kms_grpc.config import ConfigurationError, Settings, load
from kms_grpc.configured_files import DISK
from kms_grpc.principal_settings import same_tokens


def examine_configuration(path: Path) -> tuple[list[Finding], Settings | None]:
    """Returns findings about a configuration file and the files that it names, and its settings if it can be read."""
    try:
        settings = load(path, {})
    except ConfigurationError as error:
        return [Finding("configuration", Verdict.BAD, str(error))], None
    examined = [_trouble(_examine_callers, settings), _trouble(_examine_policies, settings)]
    examined += [_trouble(_examine_vouchers, settings)]
    examined += [_trouble(_examine_certificate, settings)]
    findings = [Finding("configuration", Verdict.BAD, text) for text in examined if text]
    findings += [Finding("configuration", Verdict.NOTE, text) for text in _same_names(settings)]
    if not (settings.principals or settings.mappings or settings.dev):
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


def _same_names(settings: Settings) -> list[str]:
    """Returns warnings of CAs in one bundle that have the same subject."""
    from kms_grpc.authentication.certificates import namesakes, read_bundle

    warnings = []
    for bundle in settings.client_bundles:
        try:
            shared = namesakes(read_bundle(bundle, DISK)[1])
        except ConfigurationError:
            continue  # it is named with the other faults
        warnings += [
            f"client bundle {bundle.name}: several CAs are named {name}; of certificates without"
            " authorityKeyIdentifier, only those of the first one pass"
            for name in shared
        ]
    return warnings


def _examine_callers(settings: Settings) -> None:
    same_tokens(settings.principals)


def _examine_policies(settings: Settings) -> None:
    from kms_grpc.authorization.identity_policies import identities

    identities([*settings.principals, *settings.mappings])


def _examine_vouchers(settings: Settings) -> None:
    """Reads key sets and CA bundles. No URL is fetched."""
    from kms_grpc import app
    from kms_grpc.clock import SystemClock

    app.vouchers(settings, SystemClock(), DISK)


def _examine_certificate(settings: Settings) -> None:
    if settings.tls is not None:
        from kms_grpc.endpoints import certificate

        certificate.read(settings.tls, datetime.now(UTC))
