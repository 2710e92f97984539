"""No output of the server contains a plaintext, a data key, a token or one of its own keys.

The test calls every rpc, provokes errors and two crashes, at log level debug. Then it searches all output of the
server: logs, answers, metrics, audit, the data directory (except root.key and dev.token), the arguments and
environments of its processes; and for the server's own keys, the memory that a core dump of each process would contain.
Plaintexts, data keys and tokens pass through buffers of gRPC and protobuf, which cannot be wiped, so a core dump may
contain those.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kms_grpc.v1 import key_management_pb2 as pb
from kms_grpc.v1 import keys_pb2
from tests.canary import memory
from tests.canary.forms import all_found, found
from tests.canary.key_material import key_material
from tests.endpoints.calls import OPERATIONS, Reply, ask, connected, metadata
from tests.endpoints.http2 import status_of_call
from tests.served import Served

pytestmark = [pytest.mark.xdist_group("canary"), pytest.mark.timeout(600)]

AWAY = "eu-west-1"
NO_SECRET = "encryption-context-canary"


class Planted:
    """All secrets that were sent or answered, by name."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}

    def bytes(self, what: str, size: int = 48) -> bytes:
        return self.keep(what, secrets.token_bytes(size))

    def token(self, what: str) -> str:
        token = secrets.token_urlsafe(33)
        self.keep(what, token.encode())
        return token

    def keep(self, what: str, secret: bytes) -> bytes:
        if len(secret) >= 16:
            self.secrets[f"{what} {len(self.secrets)}"] = secret
        return secret


class Calls:
    """A server, the calls to it, and the text of all its answers."""

    def __init__(self, folder: Path) -> None:
        self.planted = Planted()
        self.token, self.stranger = self.planted.token("token"), self.planted.token("stranger's token")
        self.config = folder / "kms.toml"
        self.config.write_text(self._principals("own", self.token) + self._principals("stranger", self.stranger))
        self.config.chmod(0o600)
        options = ["--config", str(self.config), "--log-level", "debug", "--metrics-listen", "127.0.0.1:0"]
        self.served = Served(folder / "data", options)
        self.told: list[tuple[str, bytes]] = []

    @staticmethod
    def _principals(name: str, token: str) -> str:
        account = "999999999999" if name == "stranger" else "123456789012"
        arn = f"arn:aws:iam::{account}:role/{name}"
        caller = f'name = "{name}"\narn = "{arn}"\naccount = "{account}"\ntoken = "{token}"\n'
        return f'[[principals]]\n{caller}policies = ["full-access"]\n'

    def ask(
        self, channel: grpc.Channel, name: str, token: str | None = None, region: str | None = None, /, **fields: Any
    ) -> Reply:
        return self.send(channel, name, OPERATIONS[name].request(**fields).SerializeToString(), token, region)

    def send(
        self, channel: grpc.Channel, name: str, raw: bytes, token: str | None = None, region: str | None = None
    ) -> Reply:
        reply = ask(channel, name, raw, metadata(token or self.token, region))
        if reply.code != "OK":
            self.told.append((f"the answer to {name}", repr(reply).encode()))
            self.told += [
                (f"a trailer of {name}", value) for value in reply.trailers.values() if isinstance(value, bytes)
            ]
        if reply.answer is not None and "plaintext" in reply.answer.DESCRIPTOR.fields_by_name:
            self.planted.keep(f"plaintext of {name}", reply.answer.plaintext)
        return reply

    def tell(self, channel: grpc.Channel) -> None:
        """Calls every rpc, with success and with errors."""
        key = self.ask(channel, "CreateKey", description="canary").answer.key_metadata
        away = self.ask(channel, "CreateKey", None, AWAY).answer.key_metadata
        alias = f"alias/canary-{key.key_id}"
        self.ask(channel, "CreateAlias", alias_name=alias, target_key_id=key.key_id)
        blobs = [blob for name in (key.key_id, key.arn, alias) for blob in self.use(channel, name)]
        self.ask(channel, "Encrypt", None, AWAY, key_id=away.key_id, plaintext=self.planted.bytes("plaintext"))
        for name in ("DescribeKey", "EnableKey", "ListAliases"):
            self.ask(channel, name, key_id=key.key_id)
        for name in ("ListKeys", "GetLimits"):
            self.ask(channel, name)
        self.ask(channel, "GenerateRandom", number_of_bytes=64)
        self.refused(channel, key, blobs[0])
        self.ask(channel, "UpdateKeyDescription", key_id=key.key_id, description="d")
        self.ask(channel, "UpdateAlias", alias_name=alias, target_key_id=key.key_id)
        self.ask(channel, "DisableKey", key_id=key.key_id)
        self.refused(channel, key, blobs[0])
        self.ask(channel, "DeleteAlias", alias_name=alias)

    def use(self, channel: grpc.Channel, name: str) -> Iterator[bytes]:
        """Uses a key, with and without a warm Permit. Yields ciphertext blobs."""
        context = {"canary": NO_SECRET}
        for _ in range(3):
            plaintext = self.planted.bytes("plaintext")
            made = self.ask(channel, "Encrypt", key_id=name, plaintext=plaintext, encryption_context=context).answer
            opened = self.ask(channel, "Decrypt", ciphertext_blob=made.ciphertext_blob, encryption_context=context)
            assert opened.answer.plaintext == plaintext
            self.ask(
                channel,
                "ReEncrypt",
                ciphertext_blob=made.ciphertext_blob,
                source_encryption_context=context,
                destination_key_id=name,
            )
            self.ask(channel, "GenerateDataKey", key_id=name, number_of_bytes=48)
            self.ask(channel, "GenerateDataKeyWithoutPlaintext", key_id=name, key_spec=keys_pb2.DATA_KEY_SPEC_AES_256)
            yield made.ciphertext_blob

    def refused(self, channel: grpc.Channel, key: Any, blob: bytes) -> None:
        """Provokes errors of every kind, each with a secret in the request."""

        def sealing(size: int = 48, **more: Any) -> dict[str, Any]:
            return {"key_id": key.key_id, "plaintext": self.planted.bytes("refused plaintext", size)} | more

        self.ask(channel, "Encrypt", **sealing(dry_run=True))
        self.ask(channel, "Encrypt", **sealing(5000))
        self.ask(channel, "Encrypt", **sealing(key_id="no-such-key"))
        self.ask(channel, "Encrypt", **sealing(encryption_context={"k": "v" * 9000}))
        self.ask(channel, "Encrypt", **sealing(grant_tokens=[self.planted.token("grant token")]))
        self.ask(channel, "Encrypt", self.stranger, **sealing(key_id=key.arn))
        self.ask(channel, "Encrypt", None, "nowhere-1", **sealing())
        self.ask(channel, "Encrypt", self.planted.token("unknown token"), **sealing())
        good = pb.EncryptRequest(**sealing()).SerializeToString()
        for raw in (good + b"\xf8\x07\x01", good + b"\xff", good[:-1], b"\x0a" + good):
            self.send(channel, "Encrypt", raw)
        document = keys_pb2.RecipientInfo(attestation_document=self.planted.bytes("attestation document"))
        self.ask(channel, "Decrypt", ciphertext_blob=blob, recipient=document)
        self.ask(channel, "Decrypt", ciphertext_blob=blob, encryption_context={"canary": "other"})
        self.ask(channel, "Decrypt", ciphertext_blob=blob[:-1])
        self.ask(channel, "GenerateRandom", number_of_bytes=1024, recipient=document)
        for header in ("Basic {}", "Bearer {} ", "Bearer{}", "Token {}"):
            sent = [("authorization", header.format(self.planted.token("malformed token")))]
            ask(channel, "ListKeys", sent=sent)
        raw_token = self.planted.bytes("token that is no text").replace(b"\0", b"\1")
        self.planted.keep("token that is no text", raw_token)
        status_of_call(self.served.address, OPERATIONS["ListKeys"].path, [(b"authorization", b"Bearer " + raw_token)])

    def crash(self, how: signal.Signals) -> None:
        """Kills a worker and waits until the supervisor has started another."""
        starts = self.served.log_text().count(" is ready")
        victim = next(pid for pid in processes(self.served) if is_worker(pid))
        os.kill(victim, how)
        for _ in range(600):
            if self.served.log_text().count(" is ready") > starts:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"no worker replaced the one killed by {how.name}")

    def metrics(self) -> bytes:
        (address,) = re.findall(r"http://[0-9.:]+/metrics", self.served.log_text())[:1]
        with urllib.request.urlopen(address, timeout=60) as answer:
            text: bytes = answer.read()
        assert b"kms_grpc" in text
        return text


def processes(served: Served) -> list[int]:
    """Returns the ids of the live processes in the server's process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == served.process.pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def is_worker(pid: int) -> bool:
    return b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    told = Calls(tmp_path_factory.mktemp("canary"))
    told.served.start()
    try:
        for how in (None, signal.SIGABRT, signal.SIGKILL):
            if how is not None:
                told.crash(how)
            for channel in connected(told.served.address, told.token):
                told.tell(channel)
                channel.close()
        yield told
    finally:
        told.served.close()


def test_the_search_finds_every_encoding() -> None:
    """The search finds a secret at every alignment, and nothing else."""
    secret = secrets.token_bytes(32)
    for before in range(4):
        text = base64.b64encode(bytes(before) + secret + b"behind")
        assert found(text, {"it": secret}) == ["it"]
        assert found(base64.urlsafe_b64encode(b"x" * before + secret), {"it": secret}) == ["it"]
    assert found(b"<" + secret.hex().encode() + b">", {"it": secret}) == ["it"]
    assert found(secrets.token_bytes(10_000), {"it": secret}) == []


def test_no_output_contains_a_secret(calls: Calls) -> None:
    texts = [*calls.told, ("/metrics", calls.metrics()), ("the log", calls.served.log.read_bytes())]
    data_dir = calls.served.data_dir
    files = [path for path in data_dir.rglob("*") if path.is_file() and path.name not in ("root.key", "dev.token")]
    texts += [(str(path.relative_to(data_dir)), path.read_bytes()) for path in files]
    for pid in processes(calls.served):
        texts += [(f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()) for name in ("cmdline", "environ")]
    assert len(calls.planted.secrets) > 100
    dev_token = {"dev.token": calls.served.token.encode()}
    hidden = calls.planted.secrets | key_material(data_dir) | dev_token
    assert all_found(texts, hidden) == []
    assert "regions/eu-central-1.sqlite" in dict(texts), "the search covered the registry"
    assert found((data_dir / "root.key").read_bytes(), hidden) == ["root key"], "the search finds a known key"
    audit = b"".join(text for name, text in texts if name.startswith("audit/"))
    assert NO_SECRET.encode() in audit


def test_the_calls_succeeded_and_failed_as_intended(calls: Calls) -> None:
    """Guards against searching the output of a server that did nothing."""
    reasons = {match for _, text in calls.told for match in re.findall(rb"reason='(\w+)'", text)}
    assert {
        b"DryRunOperationException",
        b"ValidationException",
        b"NotFoundException",
        b"UnsupportedOperationException",
        b"AccessDeniedException",
        b"UnrecognizedClientException",
        b"DisabledException",
        b"InvalidCiphertextException",
    } <= reasons
    log = calls.served.log_text()
    assert log.count("is ready") >= 5, "two workers, the keeper, and two replaced workers"


def test_a_start_that_is_refused_names_no_token(calls: Calls, tmp_path: Path) -> None:
    token = calls.planted.token("token given twice")
    config = tmp_path / "kms.toml"
    config.write_text(calls._principals("one", token) + calls._principals("stranger", token))
    config.chmod(0o600)
    refused = Served(tmp_path / "data", ["--config", str(config), "--log-level", "debug"])
    refused.launch().wait(60)
    assert "have the same token" in refused.log_text()
    assert found(refused.log.read_bytes(), calls.planted.secrets) == []


@pytest.fixture
def pids(calls: Calls) -> list[int]:
    """The ids of the server's processes. Skips the test if their memory cannot be read."""
    found = processes(calls.served)
    try:
        memory.read(found[-1], left_out_of_dumps=True)
    except PermissionError:
        pytest.skip("reading another process's memory needs the rights of a debugger: run as root")
    return found


def in_dump(dump: bytes, keys: dict[str, bytes]) -> list[str]:
    """Searches for halves of keys, because a key must be overwritten as a whole."""
    return [
        name for name, key in keys.items() if key[:16] in dump or key[16:] in dump or key.hex()[:32].encode() in dump
    ]


def test_no_core_dump_contains_a_key(calls: Calls, pids: list[int], tmp_path: Path) -> None:
    """No process's dump contains root key, region keys, materials, message roots or keys derived from them."""
    keys = key_material(calls.served.data_dir)
    assert len(keys) >= 2 + 2 * 3 + 12 * 2
    assert len(pids) == 4, "supervisor, keeper, two workers"
    for pid in pids:
        dump = memory.read(pid, left_out_of_dumps=False)
        assert len(dump) > 5_000_000, "the dump is complete"
        assert in_dump(dump, keys) == [], Path(f"/proc/{pid}/cmdline").read_bytes()
    by_gdb = memory.gdb_core(next(pid for pid in pids if is_worker(pid)), tmp_path)
    assert by_gdb is None or in_dump(by_gdb, keys) == []


def test_the_keys_are_in_the_pages_that_dumps_exclude(calls: Calls, pids: list[int]) -> None:
    """Proves that the search above can find the keys: it finds them in the excluded pages."""
    region_key = "region key of eu-central-1"
    keys = key_material(calls.served.data_dir)
    seen = []
    for pid in pids:
        keyring = memory.read(pid, left_out_of_dumps=True)
        seen.append({name for name, key in keys.items() if key in keyring})
    holders = [names for names in seen if region_key in names]
    assert len(holders) == 3, "two workers and the keeper"
    roots = [{name for name in names if name.startswith("message root")} for names in holders]
    of_callers = [any(":123456789012:" in name for name in names) for names in roots]
    assert sum(of_callers) == 2, "the keeper holds no keys but the service's own"
    assert not any(name == "root key" or name.startswith("material of") for names in seen for name in names)
