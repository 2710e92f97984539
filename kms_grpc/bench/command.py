"""`kms-grpc bench`: measures the project's performance rows, and any load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import click

from kms_grpc.bench import (
    aws_rows,
    batch_rows,
    client_rows,
    connection_rows,
    core_rows,
    executor_row,
    grpc_rows,
    message_rows,
    policy_row,
    registry_rows,
    rotation_row,
    start_row,
    stream_rows,
)
from kms_grpc.bench.bench_data import BenchData, temporary_data
from kms_grpc.bench.children import BenchFailed
from kms_grpc.bench.effort import FULL, GLIMPSE
from kms_grpc.bench.facts import facts
from kms_grpc.bench.load import GENERATOR, LoadReport
from kms_grpc.bench.load_command import load
from kms_grpc.bench.printing import as_json, print_facts_below, print_loads, print_rows
from kms_grpc.bench.statistics import BenchRow
from kms_grpc.cli.options import output_option
from kms_grpc.cli.output import JSON, print_json

Outcome = tuple[list[BenchRow], list[LoadReport]]
Measure = Callable[[str, BenchData], Outcome]


def _without_load(measure: Callable[[str, BenchData], list[BenchRow]]) -> Measure:
    return lambda name, bench_data: (measure(name, bench_data), [])


FAMILIES: Final[Mapping[str, tuple[Sequence[str], Measure]]] = {
    "core": (core_rows.NAMES, _without_load(core_rows.measure)),
    "executor": (executor_row.NAMES, _without_load(executor_row.measure)),
    "grpc": (grpc_rows.NAMES, grpc_rows.measure),
    "batch": (batch_rows.NAMES, batch_rows.measure),
    "registry": (registry_rows.NAMES, _without_load(registry_rows.measure)),
    "policy": (policy_row.NAMES, _without_load(policy_row.measure)),
    "rotation": (rotation_row.NAMES, _without_load(rotation_row.measure)),
    "start": (start_row.NAMES, _without_load(start_row.measure)),
    "stream": (stream_rows.NAMES, _without_load(stream_rows.measure)),
    "esdk": (message_rows.NAMES, _without_load(message_rows.measure)),
    "aws": (aws_rows.NAMES, _without_load(aws_rows.measure)),
    "client": (client_rows.NAMES, _without_load(client_rows.measure)),
    "connections": (connection_rows.NAMES, _without_load(connection_rows.measure)),
}
ROWS: Final[Mapping[str, Measure]] = {name: measure for names, measure in FAMILIES.values() for name in names}


@click.group(invoke_without_command=True)
@click.option(
    "--only", multiple=True, type=click.Choice(list(ROWS)), metavar="NAME", help="Only this row; repeat for more."
)
@click.option("--glimpse", is_flag=True, help="Only check that every row runs; its figures mean nothing.")
@output_option
@click.pass_context
def bench(context: click.Context, only: tuple[str, ...], glimpse: bool, output: str) -> None:
    """Measure speed, beside references, on this machine.

    Without a command all rows are measured, which takes some minutes. Each figure is the median of five. A measurement
    and its reference take turns, so that load on the machine slows both. Compare ratios between machines: goals are
    ratios too.

    \b
    core.seal.1k, core.open.1k   ns per item in C, 1,000 to a batch; beside bare EVP AES-256-GCM
    core.seal.1k.single          the same, one item per call; beside EVP with a new random nonce
    executor.encrypt.1k          CPU of a warm Encrypt without transport; beside upb and cryptography's AESGCM
    grpc.encrypt.1k, grpc.decrypt.1k, grpc.encrypt.1k.workers2
                                 CPU of the workers per call; beside an echo of the same sizes in the same server
    batch.core.64k               GB/s of a batch of 64 KiB items in C; beside what `openssl speed -aead` does
    batch.core.64k.threads2      the same by two threads; beside one
    batch.core.envelope.1k       envelopes per second (data key and item encrypted); beside AESGCM.encrypt twice
    batch.grpc.1k                GB/s of EncryptBatch, 1,000 items of 1 KiB; beside an echo of the same sizes
    client.records.1k, client.records.1k.many
                                 CPU per record of EnvelopeClient; beside cryptography's AESGCM under one fixed key
    client.records.1k.decrypt, client.records.1k.decrypt.asyncio
                                 the same for decryption
    connections.1, .2, .8, .64   share of calls that the busiest worker gets, by connections; beside an even share
    registry.100k                cold Encrypt (and DescribeKey, and memory) with 100,000 keys; beside 100
    rotation.10k                 warm Encrypt (and cold Decrypt) with 10,000 materials on the key; beside one
    start                        exec to SERVING with 100,000 keys; beside 100
    stream.grpc.1m, stream.grpc.1m.decrypt
                                 GB/s of a stream of 1 GiB in messages of 1 MiB; beside an echo of the stream
    stream.grpc.1m.tls, stream.grpc.1m.decrypt.tls
                                 the same under TLS 1.3, as is the echo
    memory.stream                MiB of the worker per stream that no client reads; beside 8
    client.esdk.64m, client.esdk.64m.64k
                                 GB/s of MessageClient in frames of 4 and 64 KiB; beside the AWS Encryption SDK
    aws.encrypt.1k               CPU of the worker per signed call of AWS's protocol; beside a bare ASGI echo
    aws.sigv4                    verification of a signed body of 2 KiB; beside its signing by botocore

    \b
    kms-grpc bench core
    kms-grpc bench --only grpc.encrypt.1k --output json
    kms-grpc bench load --operation encrypt --size 1024 --in-flight 64 --workers 2 --seconds 5
    """
    if context.invoked_subcommand is None:
        run(only or tuple(ROWS), glimpse, output)
    elif only:
        raise click.UsageError("--only goes without a command")


def _family(name: str, names: Sequence[str]) -> click.Command:
    @click.command(name, short_help=", ".join(names))
    @click.option("--glimpse", is_flag=True, help="Only check that it runs; the figures mean nothing.")
    @output_option
    def family(glimpse: bool, output: str) -> None:
        run(names, glimpse, output)

    family.help = f"The rows {', '.join(names)}." if len(names) > 1 else f"The row {names[0]}."
    return family


for _name, (_names, _) in FAMILIES.items():
    bench.add_command(_family(_name, _names))
bench.add_command(load)


def run(names: Sequence[str], glimpse: bool, output: str) -> None:
    """Measures and prints the rows. If a measurement cannot be made, prints one line and exits with code 1."""
    rows: list[BenchRow] = []
    loads: list[LoadReport] = []
    with temporary_data(GLIMPSE if glimpse else FULL, _show_progress) as bench_data:
        for name in names:
            bench_data.progress(name)
            try:
                measured, loaded = ROWS[name](name, bench_data)
            except BenchFailed as problem:
                click.echo(f"kms-grpc bench: {name}: {problem}", err=True)
                raise click.exceptions.Exit(1) from None
            rows += measured
            loads += loaded
    _show_progress("")
    _print(rows, loads, output)


def _print(rows: Sequence[BenchRow], loads: Sequence[LoadReport], output: str) -> None:
    if output == JSON:
        measured = [row.as_json() for row in rows]
        print_json({**facts(), "load_generator": GENERATOR, "rows": measured, "loads": as_json(loads)})
        return
    print_rows(rows)
    if loads:
        click.echo()
        print_loads(loads)
    print_facts_below(GENERATOR if loads else None)


def _show_progress(text: str) -> None:
    """Shows a text on standard error if that is a terminal. Each text overwrites the one before."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text and f'{text} …'}", nl=False, err=True)
