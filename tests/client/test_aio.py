"""The asyncio client: the same methods as the other one, against the same server."""

from __future__ import annotations

import asyncio
import collections
import inspect
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import build
from kms_grpc import errors
from kms_grpc.client import (
    CacheLimits,
    ClientError,
    Connection,
    DeadlineExceeded,
    InvalidConnection,
    KeyManagementClient,
    RecordsFailed,
    ServiceUnreachable,
)
from kms_grpc.client.aio import AsyncEnvelopeClient, AsyncKeyManagementClient
from tests.client.calls_made import calls_made, new_context
from tests.served import Served

Steps = Callable[[AsyncKeyManagementClient, str], Awaitable[Any]]


@pytest.mark.parametrize("name", build.twin_names())
def test_the_asyncio_client_is_generated_from_the_synchronous_one(name: str) -> None:
    """If this fails, run `python build.py --client`."""
    made = build.ROOT / "kms_grpc" / "client" / "aio" / f"{name}.py"
    assert made.read_text("utf-8") == build.twin(name)


def test_both_clients_have_the_same_methods_and_arguments() -> None:
    for name, method in inspect.getmembers(KeyManagementClient, inspect.isfunction):
        if not name.startswith("_"):
            twin = getattr(AsyncKeyManagementClient, name)
            assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin), name
            assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters), name


def run_steps(server: Served, steps: Steps) -> Any:
    """Runs the steps in a new event loop, with a new KMS key."""

    async def run() -> Any:
        async with AsyncKeyManagementClient(server.address, token=server.token) as kms:
            key_id = (await kms.create_key("aio")).key_metadata.key_id
            return await steps(kms, key_id)

    return asyncio.run(run())


def test_operations_against_the_server(server: Served) -> None:
    async def steps(kms: AsyncKeyManagementClient, key_id: str) -> None:
        await kms.create_alias(f"alias/{key_id}", key_id, request_id=key_id)
        blobs = await asyncio.gather(*(kms.encrypt(f"alias/{key_id}", b"%d" % n, {"a": "b"}) for n in range(50)))
        opened = await asyncio.gather(*(kms.decrypt(blob.ciphertext_blob, {"a": "b"}) for blob in blobs))
        assert [answer.plaintext for answer in opened] == [b"%d" % n for n in range(50)]
        assert [alias.alias_name async for alias in kms.all_aliases(key_id)] == [f"alias/{key_id}"]
        assert key_id in [key.key_id async for key in kms.all_keys()]
        await kms.disable_key(key_id)
        with pytest.raises(errors.DisabledException) as caught:
            await kms.encrypt(key_id, b"x")
        assert caught.value.state == "Disabled" and caught.value.request_id and caught.value.region

    run_steps(server, steps)


# --- envelopes ---------------------------------------------------------------------------------------------------


def test_records_under_bounded_data_keys(server: Served) -> None:
    context = new_context()

    async def steps(kms: AsyncKeyManagementClient, key_id: str) -> None:
        async with AsyncEnvelopeClient(kms, CacheLimits(max_messages_encrypted=100)) as envelope:
            bound = envelope.bind(key_id, context)
            one_by_one = await asyncio.gather(*(bound.encrypt(b"%d" % n) for n in range(150)))
            many = await bound.encrypt_many([b"%d" % n for n in range(150, 400)])
            per_key = collections.Counter(record[4:163] for record in [*one_by_one, *many])
            assert max(per_key.values()) <= 100 and len(per_key) == 4
            assert await bound.decrypt_many([*one_by_one, *many]) == [b"%d" % n for n in range(400)]
            assert await envelope.decrypt(many[0], context) == b"150"
            with pytest.raises(RecordsFailed) as failed:
                await bound.decrypt_many([many[0], many[1][:-1]])
            assert failed.value.plaintexts == [b"150", None]
            with pytest.raises(errors.InvalidCiphertextException):
                await envelope.decrypt(many[0], {})

    run_steps(server, steps)
    made = calls_made(server, context)
    assert made["GenerateDataKey"] in (4, 5)  # the fourth is used up, so a fifth may have been requested
    assert made["Decrypt"] == 4


def test_concurrent_misses_share_one_call_and_a_cancelled_task_does_not_cancel_it(server: Served) -> None:
    context = new_context()

    async def steps(kms: AsyncKeyManagementClient, key_id: str) -> None:
        async with AsyncEnvelopeClient(kms) as envelope:
            tasks = [asyncio.create_task(envelope.encrypt(key_id, b"x", context)) for _ in range(20)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            records = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(records[0], asyncio.CancelledError)
            assert (
                await envelope.decrypt_many([one for one in records if isinstance(one, bytes)], context) == [b"x"] * 19
            )
            assert envelope.counters[:3] == (0, 38, 2)

    run_steps(server, steps)
    assert calls_made(server, context) == {"GenerateDataKey": 1, "Decrypt": 1}


def test_a_data_key_is_replaced_ahead_of_time_and_a_failure_to_do_so_is_not_raised(server: Served) -> None:
    now = 0.0

    async def steps(kms: AsyncKeyManagementClient, key_id: str) -> None:
        nonlocal now
        async with AsyncEnvelopeClient(kms, CacheLimits(max_age=60, jitter=0), clock=lambda: now) as envelope:
            first = await envelope.encrypt(key_id, b"x")
            unreachable = AsyncKeyManagementClient("127.0.0.1:1", token="t" * 16, timeout=0.3)
            envelope.kms, now = unreachable, 50.0
            assert (await envelope.encrypt(key_id, b"y"))[4:163] == first[4:163]
            await asyncio.sleep(0.5)
            envelope.kms, now = kms, 52.0
            assert (await envelope.encrypt(key_id, b"z"))[4:163] == first[4:163]
            while envelope.counters.entries < 2:
                await asyncio.sleep(0.01)
            now = 60.0
            assert (await envelope.encrypt(key_id, b"z"))[4:163] != first[4:163]
            assert envelope.counters[:3] == (3, 1, 3)
            envelope.kms, now = unreachable, 200.0
            with pytest.raises(ClientError):
                await envelope.encrypt(key_id, b"z")
            await unreachable.close()

    run_steps(server, steps)


# --- endpoints and deadlines---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["round_robin", "pick_first"])
@pytest.mark.parametrize("connections", [1, 3])
def test_several_endpoints_of_which_one_is_unreachable(server: Served, policy: str, connections: int) -> None:
    """The unreachable endpoint comes first or last. Both clients."""
    for endpoints in (f"127.0.0.1:1,{server.address}", f"{server.address}, localhost:1"):
        with KeyManagementClient(endpoints, token=server.token, connections=connections, policy=policy) as kms:
            assert [len(kms.generate_random(5).plaintext) for _ in range(6)] == [5] * 6

        async def ask(endpoints: str = endpoints) -> list[int]:
            async with AsyncKeyManagementClient(
                endpoints, token=server.token, connections=connections, policy=policy
            ) as kms:
                return [len((await kms.generate_random(5)).plaintext) for _ in range(6)]

        assert asyncio.run(ask()) == [5] * 6


def test_calls_go_to_all_endpoints_in_turn(start_server: Callable[..., Served], tmp_path: Any) -> None:
    """Two workers, each with its own socket, both get calls."""
    served = start_server(listen=f"unix:{tmp_path}/kms.sock", workers=2)
    endpoints = f"unix:{tmp_path}/kms.sock.0,unix:{tmp_path}/kms.sock.1"
    with KeyManagementClient(endpoints, token=served.token) as kms:
        workers = set()
        for _ in range(200):
            _, call = kms._keys.GenerateRandom.with_call(
                request_of(1), timeout=10, metadata=kms._metadata, wait_for_ready=True
            )
            workers.add(dict(call.trailing_metadata())["kms-worker"])
            if len(workers) == 2:
                break
    assert workers == {"0", "1"}


def request_of(size: int) -> Any:
    from kms_grpc.v1 import key_management_pb2 as pb

    return pb.GenerateRandomRequest(number_of_bytes=size)


@pytest.mark.parametrize(
    ("endpoint", "policy"),
    [
        ("127.0.0.1:1,10.0.0.1:1", "round_robin"),  # the second one is not local
        ("127.0.0.1:1,", "round_robin"),  # an empty endpoint
        ("127.0.0.1:1,[::1]:1", "round_robin"),  # gRPC resolves addresses of one kind
        ("127.0.0.1:1,unix:/a", "round_robin"),
        ("127.0.0.1:1,127.0.0.1:2", "random"),
    ],
)
def test_invalid_lists_of_endpoints_are_refused(endpoint: str, policy: str) -> None:
    with pytest.raises(InvalidConnection):
        Connection(endpoint, policy=policy)


def test_a_call_ends_at_its_deadline_if_the_server_is_silent() -> None:
    """The listener accepts the connection and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        threading.Thread(target=silent.accept, daemon=True).start()
        begun = time.monotonic()
        with KeyManagementClient(address, timeout=0.3) as kms, pytest.raises((DeadlineExceeded, ServiceUnreachable)):
            kms.generate_random(1)

        async def ask() -> None:
            async with AsyncKeyManagementClient(address, timeout=0.3) as kms:
                await kms.generate_random(1)

        with pytest.raises((DeadlineExceeded, ServiceUnreachable)):
            asyncio.run(ask())
        assert time.monotonic() - begun < 60, "the deadline was ignored"
