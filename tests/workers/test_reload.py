"""A changed configuration is in force in all workers at one moment, on open connections too, or not at all."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.v1 import envelope_pb2, envelope_pb2_grpc
from tests.authentication import signed
from tests.conftest import StartServer
from tests.processes.stand_in_server import eventually
from tests.served import Served
from tests.workers.connections import SECONDS, Caller, ask_all, connect, outcome, worker_pid
from tests.workers.mounted import ALLOWS_ENCRYPT, IN_FORCE, Mounted, principal, said

ADMIN, P, Q = (f"a-token-of-{name}-0123456789" for name in ("admin", "p", "q"))
NEW_CONNECTIONS = 20
UNKNOWN = "UnrecognizedClientException"
REFUSED = "the configuration is refused, the earlier one stays in force"


BY_ASSERTION = """[[issuers]]
name = "cluster"
issuer = "https://cluster.example.com"
audience = "kms"
jwks_file = "{file}"
[[mappings]]
name = "accounts"
issuer = "cluster"
claims = {{ sub = "system:serviceaccount:*:*" }}
arn = "arn:aws:iam::123456789012:role/{{sub.1}}.{{sub.2}}"
account = "123456789012"
policies = ["full-access"]
"""

FIRST = principal("admin", ADMIN, '["full-access"]')


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "mounted")


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started(start_server: StartServer, mounted: Mounted, text: str) -> Served:
    mounted.swap(text)
    return start_server("--config", str(mounted.path), workers=2, dev=False)


def on_new_connections(served: Served, token: str, **fields: Any) -> set[Any]:
    """Returns the outcomes of an Encrypt on connections of their own."""
    outcomes = set()
    for _ in range(NEW_CONNECTIONS):
        with ExitStack() as held:
            caller = Caller.unknown(served, held, token)
            outcomes.add(kind(outcome(caller.begin("Encrypt", **fields))))
    return outcomes


def kind(result: Any) -> str:
    return result if isinstance(result, str) else "OK"


def outcomes_of(callers: list[Caller], **fields: Any) -> set[str]:
    return {kind(result) for result in ask_all(callers, "Encrypt", **fields)}


def encrypting(channel: grpc.Channel, served: Served, token: str, key: str) -> tuple[Any, Any]:
    """Returns a stream that has answered its first message, and a function that sends the next one."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    metadata = (("authorization", f"Bearer {token}"), ("kms-region", served.regions[0]))
    stub = envelope_pb2_grpc.EnvelopeServiceStub(channel)
    stream = stub.EncryptStream(iter(waiting.get, None), metadata=metadata, timeout=SECONDS)
    waiting.put(envelope_pb2.EncryptStreamRequest(key_id=key, plaintext=b"x" * 5000))
    next(stream)
    return stream, lambda: waiting.put(envelope_pb2.EncryptStreamRequest(plaintext=b"x" * 5000))


def test_every_change_is_in_force_everywhere_at_once(
    start_server: StartServer, mounted: Mounted, held: ExitStack
) -> None:
    """P calls on warm connections of both workers, and has a stream. Then P is taken out and Q put in; then Q may only
    read; then a file that a policy is read from changes."""
    served = started(start_server, mounted, FIRST + principal("p", P, '["full-access"]'))
    admins = connect(served, held, token=ADMIN)
    key = admins[0].call("CreateKey").key_metadata.key_id
    sent = {"key_id": key, "plaintext": b"warm"}
    of_p = connect(served, held, token=P)
    assert outcomes_of(of_p, **sent) == outcomes_of(of_p, **sent) == {"OK"}
    stream, send_more = encrypting(of_p[0].channel, served, P, key)

    mounted.swap(FIRST + principal("q", Q, '["full-access"]'))
    eventually(lambda: len(said(served, IN_FORCE)) == 1, "Q instead of P")
    assert outcomes_of(of_p, **sent) == on_new_connections(served, P, **sent) == {UNKNOWN}
    of_q = connect(served, held, token=Q)
    assert outcomes_of(of_q, **sent) == outcomes_of(of_q, **sent) == on_new_connections(served, Q, **sent) == {"OK"}
    send_more()
    with pytest.raises(grpc.RpcError) as ended:
        while True:
            next(stream)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED

    mounted.swap(FIRST + principal("q", Q, '["reader"]'))
    eventually(lambda: len(said(served, IN_FORCE)) == 2, "Q as a reader: the second swap is noticed too")
    assert outcomes_of(of_q, **sent) == on_new_connections(served, Q, **sent) == {"AccessDeniedException"}

    named = f'["{mounted.path.parent}/policy.json"]'
    mounted.swap(FIRST + principal("q", Q, named))
    eventually(lambda: len(said(served, IN_FORCE)) == 3, "Q by a policy of a file")
    assert outcomes_of(of_q, **sent) == {"OK"}
    mounted.swap(FIRST + principal("q", Q, named), ALLOWS_ENCRYPT.replace("kms:Encrypt", "kms:Decrypt"))
    eventually(lambda: len(said(served, IN_FORCE)) == 4, "the file of the policy is changed")
    assert outcomes_of(of_q, **sent) == {"AccessDeniedException"}

    os.kill(worker_pid(served, 0), signal.SIGKILL)
    eventually(lambda: len(said(served, "worker-0 is ready")) == 2, "a new worker")
    assert on_new_connections(served, P, **sent) == {UNKNOWN}, "a new worker begins with what is in force"
    assert on_new_connections(served, Q, **sent) == {"AccessDeniedException"}
    assert outcomes_of(admins[:1], **sent) | on_new_connections(served, ADMIN, **sent) == {"OK"}


WITHOUT_POLICIES = principal("p", P, "[]").rpartition("policies")[0]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (FIRST + principal("q", Q, '["no-such-policy"]'), "principal q: policy 'no-such-policy' is none of"),
        (FIRST + principal("q", Q, '["/nowhere/policy.json"]'), "/nowhere/policy.json: No such file or directory"),
        (FIRST + principal("q", ADMIN, "[]"), "principals admin and q have the same token"),
        (FIRST + WITHOUT_POLICIES, "principals without policies: p"),
        (
            FIRST + "[[principals]\n",
            "kms.toml: Expected ']]' at the end of an array declaration (at line 7",
        ),
        (FIRST.replace("account", "acount"), "principals[...].acount: no such setting; did you mean account?"),
        ("", "kms.toml: it is empty"),
        ("# being written\n", "kms.toml: it is empty"),
        ("workers = 2\n", "nobody may call"),
    ],
)
def test_a_bad_configuration_changes_nothing(
    shared: tuple[Served, Mounted, list[Caller], str], text: str, place: str
) -> None:
    """The one in force stays whole: its callers are known, those of the bad file are not."""
    served, mounted, callers, key = shared
    before = len(said(served, REFUSED))
    mounted.swap(text)
    eventually(lambda: len(said(served, REFUSED)) > before, f"a refusal\n{place}")
    assert place in said(served, REFUSED)[-1]["message"].replace("[1]", "[...]").replace("[0]", "[...]")
    assert ADMIN not in served.log_text()
    assert outcomes_of(callers, key_id=key, plaintext=b"x") == {"OK"}
    assert on_new_connections(served, Q, key_id=key, plaintext=b"x") == {UNKNOWN}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Mounted, list[Caller], str]]:
    """A server whose configuration no test changes for good."""
    folder = tmp_path_factory.mktemp("reload")
    mounted = Mounted(folder / "mounted")
    mounted.swap(FIRST)
    served = Served(folder / "data", ("--config", str(mounted.path)), workers=2, dev=False)
    served.start()
    with ExitStack() as held:
        callers = connect(served, held, token=ADMIN)
        yield served, mounted, callers, callers[0].call("CreateKey").key_metadata.key_id
    served.close()


def test_a_setting_that_needs_a_restart_is_named_and_the_rest_is_taken(
    shared: tuple[Served, Mounted, list[Caller], str],
) -> None:
    served, mounted, callers, key = shared
    before = len(said(served, IN_FORCE))
    mounted.swap("workers = 3\n" + FIRST + principal("p", P, "[]") + "[limits]\nthreads = 2\nstreams = 7\n")
    eventually(lambda: len(said(served, IN_FORCE)) > before, "the new caller")
    named = said(served, "changed settings need a restart of the server: ")[-1]["message"].partition(": ")[2]
    assert named == "limits.threads, limits.streams", "--workers of the command line overrides the file as before"
    assert on_new_connections(served, P, key_id=key, plaintext=b"x") == {"AccessDeniedException"}
    mounted.swap(FIRST)
    eventually(lambda: len(said(served, IN_FORCE)) > before + 1, "the old callers")
    assert outcomes_of(callers, key_id=key, plaintext=b"x") == {"OK"}


def test_a_key_set_and_its_rules_are_taken_like_principals(
    shared: tuple[Served, Mounted, list[Caller], str],
) -> None:
    """A service account of a cluster calls, until its key is withdrawn."""
    served, mounted, _callers, key = shared
    path = mounted.path.parent / "keys.json"
    path.write_text(signed.key_set(signed.jwk(signed.ED, "one")))
    now = int(time.time())
    assertion = signed.token(iat=now, exp=now + 600)
    before = len(said(served, IN_FORCE))
    mounted.swap(FIRST + BY_ASSERTION.format(file=path))
    eventually(lambda: len(said(served, IN_FORCE)) > before, "the issuer")
    sent = {"key_id": key, "plaintext": b"x"}
    assert on_new_connections(served, assertion, **sent) == {"OK"}
    of_account = connect(served, held := ExitStack(), token=assertion)
    assert outcomes_of(of_account, **sent) == outcomes_of(of_account, **sent) == {"OK"}
    path.write_text(signed.key_set(signed.jwk(signed.OTHER_ED, "one")))
    eventually(lambda: len(said(served, IN_FORCE)) > before + 1, "the other key")
    assert outcomes_of(of_account, **sent) == on_new_connections(served, assertion, **sent) == {UNKNOWN}
    held.close()
    path.write_text("<html>")
    refusals = len(said(served, REFUSED))
    eventually(lambda: len(said(served, REFUSED)) > refusals, "a file that is no key set")
    assert f"issuer cluster: jwks_file {path}: it is no JSON Web Key Set" in said(served, REFUSED)[-1]["message"]
    mounted.swap(FIRST)
    eventually(lambda: len(said(served, IN_FORCE)) > before + 2, "the old callers")


def test_sighup_has_the_configuration_read(shared: tuple[Served, Mounted, list[Caller], str]) -> None:
    served, mounted, callers, key = shared
    mounted.swap(FIRST)
    before = len(said(served, "the configuration is unchanged"))
    served.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(said(served, "the configuration is unchanged")) > before, "the answer to SIGHUP")
    assert outcomes_of(callers, key_id=key, plaintext=b"x") == {"OK"}
