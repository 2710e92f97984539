"""`kms-grpc check`: examines the machine, a data directory and a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kms_grpc.cli.failures import ExitCode
from kms_grpc.cli.options import failing_cleanly, output_option, tls_options
from kms_grpc.cli.output import JSON, print_json, print_table

if TYPE_CHECKING:
    from kms_grpc.cli.findings import Finding

COLOURS: Final = {"ok": "green", "note": "yellow", "BAD": "red"}


@click.command(short_help="Check this machine, a data directory and a server.")
@click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Check this data directory.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Check this configuration file, and the data directory that it names.",
)  # fmt: skip
@click.option(
    "--marks-dir", type=click.Path(path_type=Path), metavar="DIR",
    help="The marks, if the server's marks_dir is set.  [that of --config; those in the data directory]",
)  # fmt: skip
@click.option("--endpoint", metavar="ADDRESS", help="Check this server.  [that of --data-dir; KMS_GRPC_ENDPOINT]")
@tls_options
@output_option
def check(
    data_dir: Path | None, config_file: Path | None, marks_dir: Path | None, endpoint: str | None, output: str,
    **tls: Any,
) -> int:  # fmt: skip
    """Check this machine, a data directory and a running server. Exit code 0 only if nothing is wrong.

    The check reads the root key and every row of the data directory. It changes nothing and can run beside the server.
    The server of the data directory is trusted by its own TLS certificate; --tls-ca is for a server at --endpoint.

    \b
    kms-grpc check --data-dir kms-data
    kms-grpc check --config kms.toml
    kms-grpc check --endpoint 127.0.0.1:50051 --output json
    """
    from kms_grpc.cli.findings import Verdict

    has_directory = data_dir is not None or config_file is not None
    if has_directory and endpoint is None and any(tls.values()):
        raise click.UsageError(
            "--tls-ca and --tls-name need --endpoint: the server of --data-dir is trusted by its own certificate"
        )
    if marks_dir is not None and not has_directory:
        raise click.UsageError("--marks-dir needs --data-dir or --config")
    with failing_cleanly(output):
        findings = list(_examine(data_dir, config_file, marks_dir, endpoint, tls))
    well = all(finding.verdict is not Verdict.BAD for finding in findings)
    if output == JSON:
        rows = [{"Subject": f.subject, "Verdict": f.verdict.value.lower(), "Text": f.text} for f in findings]
        print_json({"Well": well, "Findings": rows})
    else:
        _print_findings(findings)
    return ExitCode.OK if well else ExitCode.REFUSED


def _examine(
    data_dir: Path | None, config_file: Path | None, marks_dir: Path | None, endpoint: str | None, tls: dict[str, Any]
) -> Iterator[Finding]:
    from kms_grpc.cli import findings
    from kms_grpc.client import Connection

    yield from findings.examine_machine()
    nothing_named = data_dir is None and config_file is None
    asked = [Connection.from_environment(endpoint, **tls)] if endpoint or nothing_named else []
    if config_file is not None:
        from kms_grpc.cli.configuration_findings import examine_configuration

        found, settings = examine_configuration(config_file)
        yield from found
        if settings is not None and settings.data_dir.is_dir():
            data_dir, marks_dir = data_dir or settings.data_dir, marks_dir or settings.marks_dir
    if data_dir is not None:
        yield from findings.examine_data_dir(data_dir, marks_dir)
        yield from findings.examine_workers(data_dir)
        asked = asked or [*findings.own_connections(data_dir)]
        if not asked:
            yield findings.Finding(
                "server",
                findings.Verdict.NOTE,
                f"no server is running on {data_dir}: kms-grpc serve --data-dir {data_dir}",
            )
    for connection in asked:
        yield from findings.examine_server(connection)


def _print_findings(findings: list[Finding]) -> None:
    from kms_grpc.cli.findings import Verdict

    rows = [[finding.verdict.value, finding.subject, finding.text] for finding in findings]
    print_table(["", "Subject", ""], rows, styles=COLOURS)
    bad = sum(finding.verdict is Verdict.BAD for finding in findings)
    click.echo(click.style(f"wrong: {bad}" if bad else "all is well", bold=True))
