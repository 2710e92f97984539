"""`kms-grpc bench`: every row is measured and printed. No test depends on the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from kms_grpc.bench import h2load
from tests.served import Served, clean

NAMED = [
    "core.seal.1k",
    "core.open.1k",
    "core.seal.1k.single",
    "executor.encrypt.1k",
    "grpc.encrypt.1k",
    "grpc.decrypt.1k",
    "grpc.encrypt.1k.workers2",
    "batch.core.64k",
    "batch.core.64k.threads2",
    "batch.core.envelope.1k",
    "batch.grpc.1k",
    "registry.100k",
    "policy.decide",
    "rotation.10k",
    "start",
    "stream.grpc.1m",
    "stream.grpc.1m.decrypt",
    "stream.grpc.1m.tls",
    "stream.grpc.1m.decrypt.tls",
    "memory.stream",
    "client.esdk.64m",
    "client.esdk.64m.64k",
    "aws.encrypt.1k",
    "aws.sigv4",
    "client.records.1k",
    "client.records.1k.many",
    "client.records.1k.decrypt",
    "client.records.1k.decrypt.asyncio",
]
"""The declared rows."""
WITHOUT_GOAL = ["connections.1", "connections.2", "connections.8", "connections.64"]
BESIDE = ["registry.100k.describe", "registry.100k.memory", "rotation.10k.decrypt"]
SHAPE = {
    "name": str,
    "value": float,
    "unit": str,
    "reference": float,
    "ratio": float,
    "goal": float,
    "at_least": bool,
    "holds": bool,
}


def bench(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kms_grpc", "bench", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=170, env={**clean(), **environment}
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def rows_of(*arguments: str, **environment: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(bench(*arguments, "--output", "json", **environment).stdout)
    assert set(figures) == {
        "versions", "libcrypto", "libcrypto_of_cryptography", "processor", "load_generator", "rows", "loads",
    }  # fmt: skip
    assert {"python", "kms-grpc", "grpcio", "cryptography"} <= set(figures["versions"])
    assert figures["libcrypto"].startswith("OpenSSL 3.")
    return figures


@pytest.mark.parametrize(
    "families",
    [
        ["core", "executor", "registry", "policy", "rotation", "start"],
        ["grpc", "batch"],
        ["stream", "memory", "client"],
        ["aws"],
    ],
    ids=["in-process-and-start", "grpc", "streams", "aws"],
)
def test_every_named_row_is_measured(families: Sequence[str]) -> None:
    wanted = [name for name in NAMED if name.partition(".")[0] in families]
    figures = rows_of("--glimpse", *(argument for name in wanted for argument in ("--only", name)))
    assert [row["name"] for row in figures["rows"] if row["name"] not in BESIDE] == wanted
    assert {row["name"] for row in figures["rows"]} - set(NAMED) == (set(BESIDE) if "registry" in families else set())
    for row in figures["rows"]:
        assert {name: type(value) for name, value in row.items()} == SHAPE
        assert row["ratio"] == pytest.approx(row["value"] / row["reference"])
        assert row["holds"] is (row["ratio"] >= row["goal"] if row["at_least"] else row["ratio"] <= row["goal"])
    loaded = {"echo", *(name for name in wanted if "grpc." in name)} if "grpc" in families else set()
    assert {load["name"] for load in figures["loads"]} == loaded


def test_the_share_of_the_busiest_worker() -> None:
    """One connection reaches one worker, which then answers all calls."""
    one, eight = rows_of("--glimpse", "--only", "connections.1", "--only", "connections.8")["rows"]
    assert (one["value"], one["reference"], one["goal"], one["holds"]) == (100, 50, None, None)
    assert 50 <= eight["value"] <= 100


def test_without_options_all_named_rows_are_measured() -> None:
    from kms_grpc.bench.command import ROWS

    assert list(ROWS) == NAMED + WITHOUT_GOAL


def test_table_for_people() -> None:
    lines = bench("core", "--glimpse").stdout.splitlines()
    assert lines[0].split() == ["name", "value", "reference", "unit", "ratio", "goal", "holds"]
    assert [line.split()[0] for line in lines[1:4]] == NAMED[:3]
    assert any(line.startswith("processor") for line in lines)


def test_load_on_a_running_server(server: Served) -> None:
    shape = ["--size", "32", "--size", "4096", "--seconds", "0.2", "--connections", "4", "--in-flight", "8"]
    arguments = ["load", "--operation", "encrypt", "--operation", "decrypt", *shape, "--workers", "2"]
    figures = rows_of(*arguments, "--endpoint", server.address, KMS_GRPC_TOKEN=server.token)
    assert [load["name"] for load in figures["loads"]] == ["encrypt.32", "encrypt.4096", "decrypt.32", "decrypt.4096"]
    for load in figures["loads"]:
        assert (load["failures"], load["workers"]) == ({}, ["0", "1"])
        assert load["calls"] > 0
    names = {row["name"] for row in figures["rows"]}
    assert names == {
        f"load.{load['name']}.{what}" for load in figures["loads"] for what in ("rate", "p50", "p99", "p99.9", "failed")
    }, "only the bench's own server reports its CPU time"


def test_an_open_loop_with_every_operation_on_a_started_server() -> None:
    from kms_grpc.bench.workload import OPERATIONS

    every = [argument for operation in OPERATIONS for argument in ("--operation", operation)]
    figures = rows_of("load", *every, "--rate", "100", "--seconds", "0.1", "--workers", "1", "--context", "a=b")
    assert [load["name"] for load in figures["loads"]] == [f"{operation}.1024" for operation in OPERATIONS]
    for load in figures["loads"]:
        assert load["failures"] == {}
        assert 1 <= load["calls"] <= 11
        assert load["cpu_us"] > 0


@pytest.mark.skipif(not h2load.is_installed(), reason="h2load is not installed (apt-get install nghttp2-client)")
def test_h2load_as_the_generator() -> None:
    figures = rows_of("load", "--generator", "h2load", "--seconds", "1", "--workers", "1")
    assert figures["load_generator"].startswith("h2load")
    (load,) = figures["loads"]
    assert load["calls"] > 0
    assert load["cpu_us"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "core.seal.2k"], 2, "core.seal.2k"),  # no such row
        (["--only", "start", "core"], 2, "--only goes without a command"),
        (["load", "--operation", "destroy"], 2, "destroy"),
        (["load", "--connections", "1", "--workers", "2"], 2, "--connections must be at least --workers"),
        (["load", "--endpoint", "10.0.0.1:1"], 2, "only loopback"),  # a token in clear leaves no machine
        (["load", "--tls-ca", "ca.pem"], 2, "give --endpoint as well"),  # its own server has none
        (["load", "--endpoint", "127.0.0.1:1"], 1, "127.0.0.1:1"),  # no server
        (["load", "--generator", "h2load", "--rate", "5"], 2, "h2load makes a closed loop"),
    ],
)
def test_an_impossible_measurement_is_one_line(arguments: Sequence[str], code: int, said: str) -> None:
    figures = bench(*arguments, code=code).stderr
    assert said in figures
    assert len(figures.strip().splitlines()) == 1


def test_the_reason_of_a_refusal_is_printed(server: Served) -> None:
    figures = bench("load", "--endpoint", server.address, code=1, KMS_GRPC_TOKEN="no-such-token-here").stderr
    assert figures == (
        "kms-grpc bench load: CreateKey: UNAUTHENTICATED The security token included in the request is invalid.\n"
    )


def test_a_disabled_key_is_reported_before_the_load(server: Served) -> None:
    with server.client() as client:
        key_id = client.create_key().key_metadata.key_id
        client.disable_key(key_id)
    figures = bench("load", "--endpoint", server.address, "--key", key_id, code=1, KMS_GRPC_TOKEN=server.token).stderr
    assert "FAILED_PRECONDITION" in figures
    assert "is disabled" in figures


def test_the_token_is_in_no_command_line_and_no_output(server: Served) -> None:
    done = bench(
        "load", "--endpoint", server.address, "--seconds", "0.05", "--output", "json", KMS_GRPC_TOKEN=server.token
    )
    assert server.token not in done.stdout + done.stderr
    assert os.environ.get("KMS_GRPC_TOKEN") is None
