"""KeyManagementClient against a real server, and against a service that fails on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from kms_grpc import errors
from kms_grpc.client import CallFailed, Connection, InvalidConnection, KeyManagementClient, ServiceUnreachable
from kms_grpc.client.failures import UnknownKMSError, item_error
from kms_grpc.client.wrapping import wrap
from kms_grpc.v1 import envelope_pb2
from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1.key_management_pb2_grpc import KeyManagementServiceServicer, add_KeyManagementServiceServicer_to_server
from tests.certificates import Authority
from tests.served import ACCOUNT, Served

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class FailingService(KeyManagementServiceServicer):
    """A service that fails as the functions in `failures` say, and records the request id of each attempt."""

    def __init__(self) -> None:
        self.failures: list[Callable[[Any], None]] = []
        self.attempts: list[str | None] = []

    def answer(self, response: Any, context: grpc.ServicerContext) -> Any:
        metadata = {item.key: item.value for item in context.invocation_metadata()}
        self.attempts.append(metadata.get("kms-request-id"))
        if self.failures:
            self.failures.pop(0)(context)
        return response

    def CreateKey(self, request: pb.CreateKeyRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.answer(pb.CreateKeyResponse(), context)

    def DeleteAlias(self, request: pb.DeleteAliasRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.answer(pb.DeleteAliasResponse(), context)

    def RotateKeyOnDemand(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.answer(pb.RotateKeyOnDemandResponse(), context)

    def UntagResource(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.answer(pb.UntagResourceResponse(), context)

    def Encrypt(self, request: pb.EncryptRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.answer(pb.EncryptResponse(), context)


def fails(status: grpc.StatusCode, pushback: str | None = None) -> Callable[[Any], None]:
    def fail(context: Any) -> None:
        if pushback is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback),))
        context.abort(status, "on request")

    return fail


def refuses(reason: str, domain: str = "kms_grpc.v1") -> Callable[[Any], None]:
    def refuse(context: Any) -> None:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"key": "K", "region": "eu-west-1"})
        packed = any_pb2.Any()
        packed.Pack(info)
        status = status_pb2.Status(code=9, message="on request", details=[packed])
        details = ("grpc-status-details-bin", status.SerializeToString())
        context.set_trailing_metadata((details, ("kms-request-id", "r-1")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "on request")

    return refuse


def started() -> tuple[FailingService, grpc.Server, str]:
    servicer, server = FailingService(), grpc.server(futures.ThreadPoolExecutor(2))
    add_KeyManagementServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return servicer, server, f"127.0.0.1:{port}"


@pytest.fixture
def failing() -> Iterator[tuple[FailingService, KeyManagementClient]]:
    servicer, server, address = started()
    with KeyManagementClient(address, token="t" * 16, region="eu-central-1") as client:
        yield servicer, client
    server.stop(None)


@pytest.mark.parametrize("policy", ["round_robin", "pick_first"])
def test_calls_continue_when_an_endpoint_dies(policy: str) -> None:
    """The endpoint that has answered so far stops. The other one then gets all calls."""
    first, second = started(), started()
    with KeyManagementClient(f"{first[2]},{second[2]}", token="t" * 16, region="r", policy=policy) as client:
        while not first[0].attempts:
            client.encrypt("K", b"x")
        first[1].stop(None).wait()
        before = len(second[0].attempts)
        for _ in range(20):
            client.encrypt("K", b"x")
        assert len(second[0].attempts) == before + 20
    second[1].stop(None)


CALLS: dict[str, Callable[[KeyManagementClient], Any]] = {
    "CreateKey": lambda client: client.create_key(),
    "DeleteAlias": lambda client: client.delete_alias("alias/a"),
    "RotateKeyOnDemand": lambda client: client.rotate_key_on_demand("K"),
    "UntagResource": lambda client: client.untag_resource("K", ["a"]),
    "Encrypt": lambda client: client.encrypt("K", b"x"),
}


@pytest.mark.parametrize(
    ("operation", "failures", "attempts", "succeeds"),
    [
        ("Encrypt", [fails(UNAVAILABLE)] * 2, 3, True),  # a worker restarts: the call is retried
        ("Encrypt", [fails(UNAVAILABLE)] * 9, 4, False),  # four attempts at most
        ("Encrypt", [fails(UNAVAILABLE, "-1")], 1, False),  # the server says that a retry does not help
        ("Encrypt", [fails(UNAVAILABLE, "10")], 2, True),  # the server says when to retry
        ("Encrypt", [fails(grpc.StatusCode.INTERNAL)], 1, False),  # only UNAVAILABLE is retried
        ("Encrypt", [fails(grpc.StatusCode.RESOURCE_EXHAUSTED)], 1, False),  # retries make an overload worse
        ("CreateKey", [fails(UNAVAILABLE)], 2, True),  # the request id makes a retry safe
        ("DeleteAlias", [fails(UNAVAILABLE)], 1, False),  # a second call would raise NotFoundException
        ("RotateKeyOnDemand", [fails(UNAVAILABLE)], 1, False),  # a second call would rotate the key again
        ("UntagResource", [fails(UNAVAILABLE)], 2, True),  # the proto declares it idempotent
    ],
)
def test_a_call_is_retried_only_if_that_is_safe_and_useful(
    failing: tuple[FailingService, KeyManagementClient],
    operation: str,
    failures: list[Callable[[Any], None]],
    attempts: int,
    succeeds: bool,
) -> None:
    servicer, client = failing
    servicer.failures = list(failures)
    if succeeds:
        CALLS[operation](client)
    else:
        with pytest.raises((ServiceUnreachable, CallFailed)):
            CALLS[operation](client)
    assert len(servicer.attempts) == attempts


def test_each_call_has_its_own_request_id_in_all_its_attempts(
    failing: tuple[FailingService, KeyManagementClient],
) -> None:
    servicer, client = failing
    servicer.failures = [fails(UNAVAILABLE)]
    client.create_key()
    client.create_key()
    client.create_key(request_id="mine")
    client.encrypt("K", b"x")
    first, again, second, mine, none = servicer.attempts
    assert first and first == again and second and second != first
    assert (mine, none) == ("mine", None)


EVERY = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KMSError)}
    - {errors.KMSError, errors.Cancelled, errors.DeadlineExceeded},  # the last two say no more than gRPC's status
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize(
    ("refusal", "raised", "code"),
    [
        *((refuses(kind.__name__), kind, kind.__name__) for kind in EVERY),
        (refuses("BrandNewException"), UnknownKMSError, "BrandNewException"),  # a newer server
        (refuses("KMSError"), UnknownKMSError, "KMSError"),  # the base class, which is not the name of an error
    ],
)
def test_an_error_is_raised_as_the_exception_of_its_name(
    failing: tuple[FailingService, KeyManagementClient],
    refusal: Callable[[Any], None],
    raised: type[errors.KMSError],
    code: str,
) -> None:
    servicer, client = failing
    servicer.failures = [refusal]
    with pytest.raises(raised) as caught:
        client.encrypt("K", b"x")
    error = caught.value
    assert (error.code, error.text, error.key) == (code, "on request", "K")
    assert (error.region, error.request_id) == ("eu-west-1", "r-1")


@pytest.mark.parametrize("reason", ["Cancelled", "DeadlineExceeded"])
def test_an_error_that_says_no_more_than_its_status_is_raised_by_status(
    failing: tuple[FailingService, KeyManagementClient], reason: str
) -> None:
    servicer, client = failing
    servicer.failures = [refuses(reason)]
    with pytest.raises(CallFailed, match="FAILED_PRECONDITION"):
        client.encrypt("K", b"x")


def test_an_error_of_another_domain_is_not_an_error_of_the_service(
    failing: tuple[FailingService, KeyManagementClient],
) -> None:
    servicer, client = failing
    servicer.failures = [refuses("DisabledException", domain="proxy.example")]
    with pytest.raises(CallFailed, match="FAILED_PRECONDITION"):
        client.encrypt("K", b"x")


@pytest.mark.parametrize(
    ("endpoint", "token"),
    [
        ("10.0.0.1:50051", None),  # the token would cross the network in clear
        ("kms.example.com:50051", None),  # and a name can resolve to any address
        ("127.0.0.1.example.com:50051", None),  # looks like a loopback address but is a name
        ("http://127.0.0.1:50051", None),  # a URL, whose scheme gRPC would interpret
        ("127.0.0.1", None),  # no port
        ("unix:", None),  # no path
        ("127.0.0.1:50051", "to ken"),  # not a valid bearer token
        ("127.0.0.1:50051", "token\n"),  # read from a file without strip
    ],
)
def test_an_invalid_connection_is_refused_before_anything_is_sent(endpoint: str, token: str | None) -> None:
    with pytest.raises(InvalidConnection):
        Connection(endpoint, token)


@pytest.mark.parametrize(
    ("endpoint", "name", "under_tls"),
    [
        ("kms.example.com:50051", None, True),  # with TLS, any address is allowed
        ("10.0.0.1:50051", "kms.example.com", True),
        ("10.0.0.1:50051,10.0.0.2:50051", "kms.example.com", True),
        ("unix:/run/kms.sock", None, False),  # data on a socket does not leave the machine
    ],
)
def test_which_endpoints_use_tls(endpoint: str, name: str | None, under_tls: bool, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    connection = Connection(endpoint, "t", tls_ca=tmp_path / "ca.pem", tls_name=name)
    assert connection.under_tls is under_tls


@pytest.mark.parametrize(
    ("endpoint", "ca", "name", "says"),
    [
        ("127.0.0.1:1", None, "kms.test", "give tls_ca as well"),
        ("127.0.0.1:1", "nowhere.pem", None, "No such file"),
        ("127.0.0.1:1", "empty.pem", None, "no certificates"),
        (
            "10.0.0.1:1,10.0.0.2:1",
            "ca.pem",
            None,
            "give tls_name",
        ),  # gRPC would look for the whole list in the certificate
        ("a.test:1,b.test:1", "ca.pem", "kms.test", "all must be IPv4"),  # gRPC resolves a single name only
        ("https://kms.test:1", "ca.pem", None, "give HOST:PORT"),
    ],
)
def test_invalid_tls_settings_are_refused(
    endpoint: str, ca: str | None, name: str | None, says: str, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    (tmp_path / "empty.pem").touch()
    with pytest.raises(InvalidConnection, match=says):
        Connection(endpoint, tls_ca=tmp_path / ca if ca else None, tls_name=name)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.8.8:1", "unix:/run/kms.sock"])
def test_local_endpoints_are_accepted(endpoint: str) -> None:
    assert Connection(endpoint, "t").endpoint == endpoint


def test_the_repr_of_a_connection_hides_the_token() -> None:
    assert "s3cret" not in repr(Connection("127.0.0.1:1", "s3cret"))


def test_operations_against_the_server(server: Served) -> None:
    with server.client("eu-west-1") as kms:
        key = kms.create_key("client").key_metadata
        kms.create_alias(f"alias/{key.key_id}", key.key_id)
        blob = kms.encrypt(f"alias/{key.key_id}", b"hello", {"a": "b"}).ciphertext_blob
        moved = kms.re_encrypt(blob, key.arn, source_encryption_context={"a": "b"}).ciphertext_blob
        assert kms.decrypt(moved).plaintext == b"hello"
        data_key = kms.generate_data_key(key.key_id, number_of_bytes=16)
        assert kms.decrypt(data_key.ciphertext_blob).plaintext == data_key.plaintext
        kms.update_key_description(key.key_id, "renamed")
        assert kms.describe_key(key.key_id).key_metadata.description == "renamed"
        assert len(kms.generate_random(7).plaintext) == 7
        assert kms.get_limits().regions == server.regions
        kms.disable_key(key.key_id)
        with pytest.raises(errors.DisabledException) as caught:
            kms.encrypt(key.key_id, b"x")
    assert (caught.value.key, caught.value.state, caught.value.region) == (key.arn, "Disabled", "eu-west-1")
    assert caught.value.request_id


def parameters_once_ready(kms: KeyManagementClient, key_id: str) -> pb.GetParametersForImportResponse:
    """Calls GetParametersForImport until the server, which has just started, has made a wrapping key."""
    for _ in range(600):
        try:
            return kms.get_parameters_for_import(key_id, wrapping_key_spec="RSA_2048")
        except errors.DependencyTimeoutException:
            time.sleep(0.1)
    raise AssertionError("no wrapping key within a minute")


def test_each_item_of_a_batch_has_a_result_or_an_error(server: Served) -> None:
    """Each item has a result or an error. The error is the exception that a single call would raise."""
    with server.client() as kms:
        key, context = kms.create_key("batches").key_metadata, {"a": "b"}
        texts = [b"%d" % n for n in range(50)]
        items = [envelope_pb2.EncryptBatchItem(plaintext=text) for text in texts]
        items[7].key_id = "alias/nobody-made-this"
        sealed = kms.encrypt_batch(items, key_id=key.key_id, encryption_context=context)
        item_errors = [item_error(result) for result in sealed.results]
        assert [type(error) for error in item_errors if error] == [errors.NotFoundException]
        assert (item_errors[7] and (item_errors[7].text, item_errors[7].region)) == (
            f"Alias arn:aws:kms:{server.regions[0]}:{ACCOUNT}:alias/nobody-made-this is not found.",
            server.regions[0],
        )
        blobs = [result.ciphertext_blob for result, error in zip(sealed.results, item_errors, strict=True) if not error]
        opened = kms.decrypt_batch(
            (envelope_pb2.DecryptBatchItem(ciphertext_blob=blob) for blob in blobs), encryption_context=context
        )
        assert [result.plaintext for result in opened.results] == texts[:7] + texts[8:]
        moved = kms.re_encrypt_batch(
            [envelope_pb2.ReEncryptBatchItem(ciphertext_blob=blobs[0])],
            destination_key_id=key.arn,
            source_encryption_context=context,
        )
        assert kms.decrypt(moved.results[0].ciphertext_blob).plaintext == texts[0]
        made = kms.generate_data_key_batch([envelope_pb2.GenerateDataKeyBatchItem(count=3)], key_id=key.key_id)
        for data_key in made.results[0].data_keys:
            assert kms.decrypt(data_key.ciphertext_blob).plaintext == data_key.plaintext


def test_import_tags_deletion_and_rotation(server: Served) -> None:
    with server.client() as kms:
        key = kms.create_key("imported", origin="EXTERNAL", tags={"a": "b"}).key_metadata.key_id
        given = parameters_once_ready(kms, key)
        wrapped = wrap(given.public_key, "RSAES_OAEP_SHA_256", bytes(range(32)))
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        kms.import_key_material(key, given.import_token, wrapped, valid_to=tomorrow)
        assert kms.describe_key(key).key_metadata.valid_to.ToDatetime(UTC) == tomorrow
        kms.tag_resource(key, {"a": "c", "d": ""})
        kms.untag_resource(key, ["a"])
        assert [(tag.tag_key, tag.tag_value) for tag in kms.list_resource_tags(key).tags] == [("d", "")]
        kms.delete_imported_key_material(key)
        with pytest.raises(errors.KMSInvalidStateException):
            kms.encrypt(key, b"x")
        assert kms.schedule_key_deletion(key, 7).pending_window_in_days == 7
        kms.cancel_key_deletion(key)
        rotated = kms.create_key().key_metadata.key_id
        kms.enable_key_rotation(rotated, 90)
        assert kms.get_key_rotation_status(rotated).rotation_period_in_days == 90
        kms.disable_key_rotation(rotated)
        kms.rotate_key_on_demand(rotated)
        assert len(list(kms.all_key_rotations(rotated, include_key_material="ALL_KEY_MATERIAL"))) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda kms: kms.create_key(origin="OUTSIDE"),  # not a value of the enum
        lambda kms: kms.import_key_material("K", b"t", b"w", valid_to=datetime(2027, 1, 1)),  # noqa: DTZ001 - without a time zone
        lambda kms: wrap(b"", "RSAES_PKCS1_V1_5", bytes(32)),  # the service refuses this algorithm, too
    ],
)
def test_invalid_arguments_raise_value_error(server: Served, call: Callable[[KeyManagementClient], Any]) -> None:
    with server.client() as kms, pytest.raises(ValueError):
        call(kms)


def test_listings_return_all_pages(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as kms:
        made = [kms.create_key(f"page {number}").key_metadata.key_id for number in range(5)]
        one_by_one = kms.list_keys
        monkeypatch.setattr(kms, "list_keys", lambda limit, marker=None: one_by_one(limit=2, marker=marker))
        assert set(made) <= {key.key_id for key in kms.all_keys()}
        for number in range(3):
            kms.create_alias(f"alias/{made[0]}/{number}", made[0])
        one_page = kms.list_aliases
        monkeypatch.setattr(
            kms, "list_aliases", lambda key_id, limit, marker=None: one_page(key_id=key_id, limit=2, marker=marker)
        )
        assert len(list(kms.all_aliases(made[0]))) == 3


def test_calls_with_one_request_id_create_one_key(server: Served) -> None:
    with server.client() as kms:
        first = kms.create_key("once", request_id="client-once").key_metadata.key_id
        assert kms.create_key("once", request_id="client-once").key_metadata.key_id == first
