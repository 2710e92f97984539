"""`kms-grpc wait`: returns when a server answers."""

from __future__ import annotations

from typing import Any

import click

from kms_grpc.cli.options import failing_cleanly, output_option, tls_options
from kms_grpc.cli.output import JSON, print_json


@click.command(short_help="Wait until a server serves.")
@click.option("--endpoint", metavar="ADDRESS", help="HOST:PORT or unix:/path.  [KMS_GRPC_ENDPOINT]")
@tls_options
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)
@output_option
def wait(endpoint: str | None, timeout: float, output: str, **tls: Any) -> None:
    """Wait until a server is ready to serve. Exit code 0 as soon as it is, 3 if it is not in time. Needs no token.

    \b
    kms-grpc serve --config kms.toml & kms-grpc wait && kms-grpc keys list
    kms-grpc wait --endpoint unix:/run/kms.sock --timeout 10
    """
    with failing_cleanly(output):
        from kms_grpc.client import Connection
        from kms_grpc.client.health import SERVING, wait_until_serving

        connection = Connection.from_environment(endpoint, **tls)
        wait_until_serving(connection, timeout)
    if output == JSON:
        print_json({"Endpoint": connection.endpoint, "Status": SERVING})
    else:
        click.echo(f"{connection.endpoint} is {SERVING}")
