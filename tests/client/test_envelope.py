"""EnvelopeClient against a real server. The server's audit log counts the calls."""

from __future__ import annotations

import collections
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kms_grpc import errors
from kms_grpc.client import (
    CacheLimits,
    ClientError,
    DeadlineExceeded,
    EnvelopeClient,
    KeyManagementClient,
    RecordsFailed,
)
from kms_grpc.client.data_key_cache import DataKeyRequest
from kms_grpc.client.data_key_requests import KEYRING_RESERVE
from kms_grpc.client.record_decryption import DATA_KEYS_PER_CALL, RecordDecryption
from kms_grpc.crypto.errors import CryptoFailure
from tests.client.calls_made import calls_made, new_context
from tests.crypto import second_record_reader
from tests.crypto.make_vectors import flipped
from tests.served import Served
from tests.threads import at_once

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 1_000_000


@pytest.fixture
def kms(server: Served) -> Iterator[KeyManagementClient]:
    with server.client() as client:
        yield client


@pytest.fixture
def key_id(kms: KeyManagementClient) -> str:
    return kms.create_key("envelope").key_metadata.key_id


@pytest.fixture
def context() -> dict[str, str]:
    return new_context()


class Clock:
    """A clock that the test advances, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def nonce(record: bytes) -> bytes:
    return record[163:187]


# --- records -----------------------------------------------------------------------------------------------------


def test_a_record_can_be_decrypted_without_the_client(
    kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    """One Decrypt and the library `cryptography` are enough."""
    with EnvelopeClient(kms) as envelope:
        records = [envelope.encrypt(key_id, b"hello", context), *envelope.encrypt_many(key_id, [b"", b"x"], context)]
    for record, plaintext in zip(records, (b"hello", b"", b"x"), strict=True):
        data_key = kms.decrypt(second_record_reader.wrapped_of(record), context).plaintext
        assert second_record_reader.open_under(data_key, record, context) == plaintext


@pytest.mark.parametrize("size", [0, 1, 1024, 65_536, 5_000_000])
def test_plaintexts_of_all_sizes(kms: KeyManagementClient, key_id: str, size: int) -> None:
    with EnvelopeClient(kms) as envelope:
        plaintext = bytes(size)
        record = envelope.encrypt(key_id, plaintext)
        assert len(record) == size + 235
        assert envelope.decrypt(record) == plaintext
        assert envelope.decrypt_many(envelope.encrypt_many(key_id, [plaintext] * 3)) == [plaintext] * 3


@pytest.mark.parametrize("plaintext", ["text", 5, None, bytearray(b"x")])
def test_a_plaintext_must_be_bytes(kms: KeyManagementClient, key_id: str, plaintext: Any) -> None:
    with EnvelopeClient(kms) as envelope, pytest.raises(TypeError):
        envelope.encrypt(key_id, plaintext)


def test_invalid_records_are_refused(kms: KeyManagementClient, key_id: str, context: dict[str, str]) -> None:
    """Each is refused on its own. Among many records, the exception has the failed ones and the other plaintexts."""
    with EnvelopeClient(kms) as envelope:
        good = envelope.encrypt_many(key_id, [b"0", b"1", b"2"], context)
        bad = {1: flipped(good[0], 190), 2: flipped(good[0], 100), 4: b"", 5: b"\1" + good[0][1:], 6: good[0][:-1]}
        bad[7] = envelope.encrypt(key_id, b"0")  # without an encryption context
        for record in bad.values():
            with pytest.raises(errors.InvalidCiphertextException):
                envelope.decrypt(record, context)
        with pytest.raises(errors.InvalidCiphertextException):
            envelope.decrypt(good[0], {})
        mixed = [bad.get(place, good[place % 3]) for place in range(9)]
        with pytest.raises(RecordsFailed, match="6 of 9 records could not be decrypted") as failed:
            envelope.decrypt_many(mixed, context)
    assert set(failed.value.errors) == set(bad)
    assert {type(error) for error in failed.value.errors.values()} == {errors.InvalidCiphertextException}
    assert failed.value.plaintexts == [None if place in bad else b"%d" % (place % 3) for place in range(9)]


def test_a_disabled_key_is_noticed_when_the_data_key_expires(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    clock = Clock()
    with EnvelopeClient(kms, CacheLimits(max_age=60), clock=clock) as envelope:
        record = envelope.encrypt(key_id, b"hello", context)
        assert envelope.decrypt(record, context) == b"hello"
        kms.disable_key(key_id)
        clock.now = 59.9
        assert envelope.decrypt(envelope.encrypt(key_id, b"still", context), context) == b"still"
        clock.now = 60.0
        with pytest.raises(errors.DisabledException):
            envelope.encrypt(key_id, b"no more", context)
        with pytest.raises(errors.DisabledException):
            envelope.decrypt(record, context)
        kms.enable_key(key_id)
        assert envelope.decrypt(record, context) == b"hello"


@pytest.mark.parametrize("size", [1, 2000], ids=["cached", "not cached"])
def test_a_data_key_that_expires_before_it_arrives_is_an_error(
    kms: KeyManagementClient, key_id: str, size: int
) -> None:
    """The client raises an error instead of calling again without end."""
    seconds = itertools.count()
    limits = CacheLimits(max_age=1, max_bytes_encrypted=1000)
    with EnvelopeClient(kms, limits, clock=lambda: float(next(seconds))) as envelope:
        with pytest.raises(DeadlineExceeded, match="max_age"):
            envelope.encrypt(key_id, bytes(size))
        with pytest.raises(DeadlineExceeded, match="max_age"):
            envelope.encrypt_many(key_id, [bytes(size)])
        assert envelope.counters.calls == 2


def test_decrypting_records_of_more_data_keys_than_the_cache_holds(kms: KeyManagementClient, key_id: str) -> None:
    with EnvelopeClient(kms, CacheLimits(capacity=1, max_messages_encrypted=1)) as envelope:
        texts = [b"%d" % number for number in range(300)]
        records = envelope.encrypt_many(key_id, texts)
        records[150] = flipped(records[150], len(records[150]) - 1)
        most = 0
        find = envelope._find_key

        def finding(opening: RecordDecryption, *rest: Any) -> None:
            nonlocal most
            find(opening, *rest)
            most = max(most, len({key.handle for key in opening._keys.values()}))

        envelope._find_key = finding  # type: ignore[method-assign]
        with pytest.raises(RecordsFailed) as failed:
            envelope.decrypt_many(records)
    assert list(failed.value.errors) == [150]
    assert failed.value.plaintexts == [*texts[:150], None, *texts[151:]]
    assert most == DATA_KEYS_PER_CALL < KEYRING_RESERVE


# --- number of calls to the service ------------------------------------------------------------------------------


def test_a_million_records_cost_four_calls(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    """Each data key encrypts 300,000 records and is fetched ahead of time. The fourth is the last one needed."""
    with EnvelopeClient(kms, CacheLimits(max_messages_encrypted=300_000)) as envelope:
        bound, plaintext, seen = envelope.bind(key_id, context), bytes(1024), collections.Counter[bytes]()
        seen.update(bound.encrypt(plaintext)[4:163] for _ in range(20_000))
        for _ in range((RECORDS - 20_000) // 1000):
            seen.update([record[4:163] for record in bound.encrypt_many([plaintext] * 1000)])
        counters = envelope.counters
    assert seen.total() == RECORDS == counters.hits + counters.misses
    assert sorted(seen.values()) == [100_000, 300_000, 300_000, 300_000]
    assert counters.calls == 4 == calls_made(server, context)["GenerateDataKey"]
    assert calls_made(server, context)["Decrypt"] == 0


@pytest.mark.parametrize(
    ("limits", "records", "calls"),
    [
        ({"max_messages_encrypted": 10}, [b"x"] * 100, 10),
        ({"max_messages_encrypted": 1}, [b"x"] * 20, 20),
        ({"max_bytes_encrypted": 1000}, [bytes(300)] * 30, 10),  # three per data key: a fourth would exceed the bound
        ({"max_bytes_encrypted": 1000}, [bytes(1001)] * 5, 5),  # larger than the bound: a data key for each
        ({"max_bytes_encrypted": 1000}, [b"x", bytes(1001)] * 5, 6),  # the small records share one data key
        ({}, [b"x"] * 100, 1),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_the_limits_determine_the_number_of_calls(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str],
    limits: dict[str, Any], records: list[bytes], calls: int, many: bool,
) -> None:  # fmt: skip
    with EnvelopeClient(kms, CacheLimits(refresh_ahead=1, jitter=0, **limits)) as envelope:
        bound = envelope.bind(key_id, context)
        made = bound.encrypt_many(records) if many else [bound.encrypt(record) for record in records]
        assert envelope.counters.calls == calls
        assert bound.decrypt_many(made) == records
        assert [bound.decrypt(record) for record in made] == records
        assert envelope.counters.calls == 2 * calls
    assert calls_made(server, context) == {"GenerateDataKey": calls, "Decrypt": calls}


def test_a_data_key_is_replaced_in_the_background_before_it_expires(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    clock = Clock()
    with EnvelopeClient(kms, CacheLimits(max_age=100, jitter=0), clock=clock) as envelope:
        bound = envelope.bind(key_id, context)
        first = bound.encrypt(b"x")[4:163]
        for clock.now in (79.0, 80.0):
            assert bound.encrypt(b"x")[4:163] == first
        envelope._threads.shutdown()
        assert bound.encrypt(b"x")[4:163] == first, "the data key is used until it expires"
        clock.now = 100.0
        assert bound.encrypt(b"x")[4:163] != first
        assert envelope.counters[:3] == (4, 1, 2)
    assert calls_made(server, context)["GenerateDataKey"] == 2


def test_concurrent_misses_share_one_call(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    with EnvelopeClient(kms) as envelope:
        records = at_once(16, lambda _: envelope.encrypt(key_id, b"x", context))
        assert len({record[4:163] for record in records}) == 1
        assert at_once(16, lambda number: envelope.decrypt(records[number], context)) == [b"x"] * 16
        assert envelope.counters.calls == 2
    assert calls_made(server, context) == {"GenerateDataKey": 1, "Decrypt": 1}


def test_concurrent_misses_share_a_failure_and_the_next_call_is_made_again(
    kms: KeyManagementClient, key_id: str
) -> None:
    with EnvelopeClient(kms) as envelope:

        def refused(_: int) -> str:
            with pytest.raises(errors.NotFoundException) as caught:
                envelope.encrypt("alias/nobody", b"x")
            return caught.value.code

        assert at_once(8, refused) == ["NotFoundException"] * 8
        before = envelope.counters.calls
        refused(0)
        assert envelope.counters.calls == before + 1


def test_cached_data_keys_are_used_while_the_service_is_unreachable(kms: KeyManagementClient, key_id: str) -> None:
    clock = Clock()
    with EnvelopeClient(kms, CacheLimits(max_age=60, jitter=0), clock=clock) as envelope:
        record = envelope.encrypt(key_id, b"x")
        envelope.decrypt(record)
        with KeyManagementClient("127.0.0.1:1", token="t" * 16, timeout=0.5) as unreachable:
            envelope.kms = unreachable
            clock.now = 59.0  # the attempt to fetch ahead fails
            assert envelope.decrypt(envelope.encrypt(key_id, b"y")) == b"y"
            clock.now = 60.0
            with pytest.raises(ClientError):
                envelope.encrypt(key_id, b"z")
            with pytest.raises(ClientError):
                envelope.decrypt(record)
        envelope.kms = kms
        assert envelope.decrypt(record) == b"x"


def test_many_threads_on_a_cache_for_one_data_key(
    kms: KeyManagementClient, key_id: str, context: dict[str, str]
) -> None:
    """16 threads with 4 encryption contexts evict each other's data keys, also while these are in use."""
    limits = CacheLimits(capacity=1, max_messages_encrypted=3)
    nonces, per_key, lock = set[bytes](), collections.Counter[bytes](), threading.Lock()
    with EnvelopeClient(kms, limits) as envelope:

        def work(number: int) -> int:
            bound, done = envelope.bind(key_id, context | {"n": str(number % 4)}), 0
            for turn in range(12):
                records = bound.encrypt_many([b"%d" % turn] * 4) if turn % 3 == 0 else [bound.encrypt(b"%d" % turn)]
                assert set(bound.decrypt_many(records)) == {b"%d" % turn} == {bound.decrypt(records[0])}
                with lock:
                    nonces.update(map(nonce, records))
                    per_key.update(record[4:163] for record in records)
                done += len(records)
            return done

        made = sum(at_once(16, work))
        assert envelope.counters.entries <= 1
    assert len(nonces) == made == per_key.total()
    assert max(per_key.values()) <= 3


@pytest.mark.parametrize("many", [False, True])
def test_threads_use_each_data_key_exactly_up_to_its_bound(
    server: Served, kms: KeyManagementClient, key_id: str, context: dict[str, str], many: bool
) -> None:
    """Most records are encrypted without asking the cache. With `many`, every other thread encrypts five at a time."""
    limits = CacheLimits(max_messages_encrypted=100, refresh_ahead=1, jitter=0)
    with EnvelopeClient(kms, limits) as envelope:
        bound = envelope.bind(key_id, context)

        def work(number: int) -> list[bytes]:
            if many and number % 2:
                return [record for _ in range(60) for record in bound.encrypt_many([b"x"] * 5)]
            return [bound.encrypt(b"x") for _ in range(300)]

        records = [record for made in at_once(8, work) for record in made]
        counters = envelope.counters
    per_key = collections.Counter(record[4:163] for record in records)
    assert len({nonce(record) for record in records}) == len(records) == 2400 == counters.hits + counters.misses
    assert set(per_key.values()) == {100} and counters.calls == 24 == calls_made(server, context)["GenerateDataKey"]


@pytest.mark.parametrize("many", [False, True])
def test_a_thread_that_came_too_late_discards_no_data_key(
    kms: KeyManagementClient, key_id: str, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """A thread finds no data key, and another fetches one before the first begins its own call: both use that one."""
    with EnvelopeClient(kms, CacheLimits(max_messages_encrypted=10)) as envelope:
        bound, join, early = envelope.bind(key_id), envelope._flights.join, list[bytes]()

        def joining_late(name: Hashable) -> Any:
            monkeypatch.setattr(envelope._flights, "join", join)
            early.extend(at_once(1, lambda _: envelope.encrypt(key_id, b"early")))
            return join(name)

        monkeypatch.setattr(envelope._flights, "join", joining_late)
        late = bound.encrypt_many([b"late"] * 3)[0] if many else bound.encrypt(b"late")
        assert late[4:163] == early[0][4:163]
        assert envelope.counters == (3 if many else 1, 1, 1, 1)


def test_a_fetch_ahead_that_comes_too_late_is_not_made(kms: KeyManagementClient, key_id: str) -> None:
    """A thread that uses the last record fetches the next data key itself, before the call ahead has begun. The call
    ahead would be for the next but one, and the data key would be replaced before its first use."""
    with EnvelopeClient(kms, CacheLimits(max_messages_encrypted=10, jitter=0)) as envelope:
        ahead: list[DataKeyRequest] = []
        envelope._refresh = envelope.cache._refresh = ahead.append  # type: ignore[method-assign]
        bound = envelope.bind(key_id)
        records = [bound.encrypt(b"x") for _ in range(11)]
        assert len({record[4:163] for record in records}) == 2
        assert len(ahead) == 1 and envelope.counters.calls == 2
        envelope._fetch_ahead(ahead[0])
        assert envelope.counters.calls == 2
        while len(ahead) == 1:
            bound.encrypt(b"x")
        envelope._fetch_ahead(ahead[1])
        assert envelope.counters.calls == 3 and envelope.counters.entries == 2


@pytest.mark.parametrize("how", ["service", "bound"])
def test_a_second_decryption_does_not_ask_the_cache(kms: KeyManagementClient, key_id: str, how: str) -> None:
    """One call into C finds the data key; its counts are those of the cache."""
    with EnvelopeClient(kms) as envelope:
        context = new_context()
        bound = envelope.bind(key_id, context)
        record = bound.encrypt(b"x")
        decrypt = bound.decrypt if how == "bound" else lambda record: envelope.decrypt(record, context)
        assert decrypt(record) == b"x"
        envelope.cache.take_many = None  # type: ignore[assignment,method-assign]
        before = envelope.counters
        assert [decrypt(record) for _ in range(100)] == [b"x"] * 100
        assert envelope.counters == before._replace(hits=before.hits + 100)
        with pytest.raises(errors.InvalidCiphertextException):
            decrypt(flipped(record, 190))


# --- forks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["os.fork", "libc's fork", "multiprocessing"])
def test_a_forked_child_has_its_own_data_keys_and_nonces(
    server: Served, key_id: str, context: dict[str, str], how: str
) -> None:
    """This holds while other threads of the parent encrypt, and after a fork by a C library, unknown to Python."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.client.forking", how, key_id, json.dumps(context)]
    environment = server.environment | server.variables() | {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    of_process = [collections.Counter(wrapped) for wrapped in facts["wrapped"]]
    assert len(of_process) == 4
    assert sum(len(wrapped) for wrapped in of_process) == len(set().union(*of_process)), (
        "two processes used the same data key"
    )
    assert all(max(wrapped.values()) <= facts["most"] for wrapped in of_process)
    assert facts["records"] == facts["nonces"] > 3000
    assert facts["opened"]
    assert calls_made(server, context)["GenerateDataKey"] >= len(set().union(*of_process))


def test_a_closed_client_has_no_data_keys(kms: KeyManagementClient, key_id: str) -> None:
    envelope = EnvelopeClient(kms)
    envelope.encrypt(key_id, b"x")
    envelope.close()
    assert envelope.counters.entries == 0


def test_a_data_key_of_another_length_is_refused(kms: KeyManagementClient, key_id: str) -> None:
    with EnvelopeClient(kms) as envelope:
        kms.generate_data_key = lambda *_: kms.__class__.generate_data_key(kms, key_id, number_of_bytes=16)  # type: ignore[method-assign]
        with pytest.raises(CryptoFailure):
            envelope.encrypt(key_id, b"x")
