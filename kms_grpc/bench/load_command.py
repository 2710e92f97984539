"""`kms-grpc bench load`: puts a load on a running server, or on one that the bench starts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Final

import click

from kms_grpc.bench import h2load
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.echo import USAGE
from kms_grpc.bench.facts import facts
from kms_grpc.bench.load import GENERATOR, LoadReport, Plan, last_processor, run_plans
from kms_grpc.bench.printing import as_json, print_facts_below, print_loads
from kms_grpc.bench.server import Target, own_server
from kms_grpc.bench.sockets import Trust
from kms_grpc.bench.statistics import BenchRow
from kms_grpc.bench.workload import OPERATIONS, Workload
from kms_grpc.cli.options import connection_arguments, context_option, output_option, tls_options
from kms_grpc.cli.output import JSON, print_json
from kms_grpc.client.connection import Connection
from kms_grpc.client.failures import InvalidConnection

OWN: Final = "own"
H2LOAD: Final = "h2load"
OWN_WORKERS: Final = 2


@click.command()
@click.option(
    "--operation",
    "operations",
    multiple=True,
    type=click.Choice(OPERATIONS),
    help="Repeat for more.  [encrypt]",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1, 4096),
    metavar="BYTES",
    help="Bytes of plaintext; repeat.  [1024]",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1024),
    default=8,
    show_default=True,
    help="Connections to all workers together.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="Calls in flight over all connections.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Spread the connections evenly over N workers.  [2; with --endpoint by chance]",
)
@click.option(
    "--seconds", type=click.FloatRange(0.05, 86_400), default=5.0, show_default=True, help="Duration of each load."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Open loop of N calls per second.",
)
@click.option("--endpoint", metavar="ADDRESS", help="A running server; else one is started.  [token: KMS_GRPC_TOKEN]")
@click.option("--region", metavar="REGION", help="The called region.  [KMS_GRPC_REGION]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the bearer token.  [KMS_GRPC_TOKEN]")
@tls_options
@click.option("--key", "key_id", metavar="KEY", help="Use this key.  [a new key]")
@click.option(
    "--generator", type=click.Choice([OWN, H2LOAD]), default=OWN, show_default=True, help="The load generator."
)
@context_option()
@output_option
def load(
    operations: tuple[str, ...], sizes: tuple[int, ...], key_id: str | None, generator: str, context: dict[str, str],
    output: str, **how: Any,
) -> None:  # fmt: skip
    """Put a server under load and measure rates, latencies and CPU of its workers.

    A closed loop keeps --in-flight calls in flight. With --rate it is an open loop, in which latency counts from the
    time when a call was due. The load comes from a separate process, which counts failed calls by gRPC status. CPU per
    call is known for workers of the bench's own server, which is started without --endpoint.

    The generator h2load, if installed, makes a closed loop on the started server only, since it takes the token as an
    argument. It does not count refused calls.

    \b
    kms-grpc bench load --operation encrypt --operation decrypt --size 32 --size 4096
    kms-grpc bench load --rate 2000 --workers 2 --output json
    kms-grpc bench load --endpoint 127.0.0.1:50051 --token-file kms-data/dev.token --connections 2
    """
    where = connection_arguments(how)
    how["workers"] = how["workers"] or (1 if where["endpoint"] else OWN_WORKERS)
    _check(generator, where["endpoint"], how)
    if where["endpoint"] is None and (where["tls_ca"] or where["tls_name"]):
        raise click.UsageError("--tls-ca and --tls-name are for a running server: give --endpoint as well")
    try:
        with _target(where, how["workers"]) as target:
            plans = _plans(target, Workload(target, key_id, context), operations or ("encrypt",), sizes or (1024,), how)
            reports = [h2load.run(plan) for plan in plans] if generator == H2LOAD else run_plans(plans)
    except BenchFailed as problem:
        click.echo(f"kms-grpc bench load: {problem}", err=True)
        raise click.exceptions.Exit(1) from None
    _print(reports, GENERATOR if generator == OWN else h2load.version(), output)
    if any(report.failed for report in reports):
        raise click.exceptions.Exit(1)


def _check(generator: str, endpoint: str | None, how: dict[str, Any]) -> None:
    if how["workers"] > how["connections"]:
        raise click.UsageError("--connections must be at least --workers: each worker gets the same number")
    if generator == H2LOAD and (endpoint or how["rate"]):
        raise click.UsageError("h2load makes a closed loop on a started server only: leave out --endpoint and --rate")
    if generator == H2LOAD and not h2load.is_installed():
        raise click.UsageError("h2load is not installed: apt-get install nghttp2-client, or leave out --generator")


@contextmanager
def _target(where: dict[str, Any], workers: int) -> Iterator[Target]:
    if where["endpoint"] is None:
        with (
            tempfile.TemporaryDirectory(prefix="kms-grpc-bench-") as folder,
            own_server(Path(folder), workers) as target,
        ):
            yield target
        return
    try:
        known = Connection.from_environment(**where)
    except InvalidConnection as error:
        raise click.UsageError(str(error)) from None
    trust = Trust(str(known.tls_ca), known.tls_name) if known.under_tls else None
    yield Target(known.endpoint, known.token, known.region, trust=trust)


def _plans(
    target: Target, workload: Workload, operations: Sequence[str], sizes: Sequence[int], how: dict[str, Any]
) -> list[Plan]:
    plans = []
    for operation, size in product(operations, sizes):
        call = workload.call(operation, size)
        plans.append(
            Plan(
                name=f"{operation}.{size}",
                endpoint=target.endpoint,
                path=call.path,
                message=call.request,
                usage_path=USAGE,
                metadata=target.metadata,
                trust=target.trust,
                processor=last_processor(),
                **how,
            )
        )
    workload.close()
    return plans


def _print(reports: Sequence[LoadReport], generator: str, output: str) -> None:
    if output == JSON:
        rows = [row.as_json() for report in reports for row in rows_of(report)]
        print_json({**facts(), "load_generator": generator, "rows": rows, "loads": as_json(reports)})
        return
    print_loads(reports)
    print_facts_below(generator)


def rows_of(report: LoadReport) -> list[BenchRow]:
    """Returns a report as rows without reference and goal."""
    found = [
        ("rate", report.rate, "calls/s"),
        ("p50", report.p50, "µs"),
        ("p99", report.p99, "µs"),
        ("p99.9", report.p999, "µs"),
        ("failed", float(report.failed), "calls"),
    ]
    if report.cpu_us is not None:
        found.append(("cpu", report.cpu_us, "µs CPU/call"))
    return [BenchRow(f"load.{report.name}.{what}", value, unit) for what, value, unit in found]
