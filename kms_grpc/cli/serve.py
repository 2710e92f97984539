"""`kms-grpc serve`: starts the server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kms_grpc.cli.exports import announcement
from kms_grpc.config import ConfigurationError, Source, load


@click.command(short_help="Serve keys of one or more regions.")
@click.option(
    "--data-dir", type=click.Path(path_type=str), metavar="DIR", help="Keys, audit log and root key.  [kms-data]"
)
@click.option("--listen", metavar="ADDRESS", help="Loopback HOST:PORT (with TLS any), unix:/path.  [127.0.0.1:50051]")
@click.option("--aws-listen", metavar="ADDRESS", help="Also serve AWS's own clients, at HOST:PORT or unix:/path.")
@click.option("--tls-certificate", metavar="FILE", help="Use TLS with this certificate and its chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="Its private key (PEM). Changed files are read again.")
@click.option(
    "--region", "regions", multiple=True, metavar="REGION", help="A region to serve; repeat. The first is the default."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Number of worker processes.  [one per core, at least 2]")
@click.option("--metrics-listen", metavar="ADDRESS", help="Prometheus metrics of all workers: HOST:PORT/metrics.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with callers, quotas and limits.",
)
@click.option(
    "--dev", is_flag=True, help="Accept one caller, root of account 123456789012, with the token in DIR/dev.token."
)
@click.option(
    "--accept-older",
    is_flag=True,
    help="Once, after a restore on purpose: serve regions that are older than their marks. Audited.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]")
def serve(
    data_dir: str | None, listen: str | None, aws_listen: str | None, regions: tuple[str, ...], workers: int | None,
    metrics_listen: str | None, config_file: Path | None, dev: bool, log_level: str | None,
    tls_certificate: str | None, tls_key: str | None, accept_older: bool,
) -> int:  # fmt: skip
    """Serve keys of one or more regions until SIGTERM or Ctrl-C.

    Options override the configuration file. The root key, DIR/root.key, is created at the first start, and no key can
    be used without it. Back it up, and store that backup apart from the rest of DIR.

    \b
    kms-grpc serve --dev --data-dir kms-data --region eu-central-1
    kms-grpc serve --config kms.toml --metrics-listen 127.0.0.1:9464
    kms-grpc serve --dev --region eu-central-1 --region eu-west-1 --listen unix:/run/kms.sock --workers 1
    kms-grpc serve --config kms.toml --listen 0.0.0.0:50051 --tls-certificate kms.pem --tls-key kms.key

    \b
    A configuration file:
      regions = ["eu-central-1", "eu-west-1"]
      [[principals]]
      name = "orders"
      arn = "arn:aws:iam::123456789012:role/orders"
      account = "123456789012"
      token_file = "/etc/kms/orders.token"
      policies = ["full-access"]
    """
    given = {
        "data_dir": data_dir, "listen": listen, "aws_listen": aws_listen, "regions": list(regions) or None,
        "workers": workers, "metrics_listen": metrics_listen, "dev": dev or None, "log_level": log_level,
        "accept_older": accept_older or None, "tls": _tls(tls_certificate, tls_key),
    }  # fmt: skip
    try:
        settings = load(config_file, given)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if sys.stderr.isatty():
        click.echo(announcement(settings), err=True)
    from kms_grpc import app

    return app.serve(settings, Source(config_file, given))


def _tls(certificate: str | None, key: str | None) -> dict[str, str] | None:
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-certificate and --tls-key need each other")
    return None if certificate is None or key is None else {"certificate_file": certificate, "key_file": key}
