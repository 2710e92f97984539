"""Two strangers' processes do their worst at the AWS door, while a caller calls.

    .venv/bin/python -m tests.strangers [--seconds 60]

Each stranger has an address of its own (127.0.0.2, 127.0.0.3) and a thread for each attack in ATTACKS. Server and
caller share one processor, and the strangers have the others, since they stand for other machines: a caller on a
processor that two strangers keep busy would measure that processor. The caller's times are measured alone and under
attack. Printed are its times, what was refused to it, and how much memory and log grew; the exit code is 0 if all are
within the bounds below.

CI runs a short form without the times (tests/endpoints/test_strangers.py).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.endpoints.aws_calls import address_of, call, signed_headers
from tests.served import Served

ADDRESSES: Final = ("127.0.0.2", "127.0.0.3")
PAUSE_SECONDS: Final = 0.005
"""Between two calls of the caller."""
NEW_CONNECTION_EVERY: Final = 20
"""So many calls of the caller go over one connection."""
TIMES: Final = 3.0
"""The caller's p99 under attack may be so many times that alone."""
GROWN_MIB: Final = 128.0
"""The workers' memory may grow by so much, all together."""
LOG_BYTES: Final = 64 * 1024
"""So much may be logged in a minute."""


# --- what a stranger does ----------------------------------------------------------------------------------------


@dataclass
class Target:
    """The door, as a stranger sees it."""

    address: str
    source: str
    end: float

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    def connect(self) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), 5, (self.source, 0))

    def signed(self, body: bytes, key: tuple[str, str], region: str = "eu-central-1") -> bytes:
        headers = signed_headers(self.address, "TrentService.Encrypt", body, region, key, {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def endless_header(target: Target) -> None:
    with target.connect() as made:
        made.sendall(b"POST / HTTP/1.1\r\nX: ")
        while target.goes_on:
            made.sendall(b"a" * 65536)


def endless_headers(target: Target) -> None:
    with target.connect() as made:
        made.sendall(b"POST / HTTP/1.1\r\n")
        for number in itertools.count():
            made.sendall(b"X-%d: a\r\n" % number * 100)


def half_requests(target: Target, begin: bytes, size: int = 100) -> None:
    """Opens many connections, and then sends a byte on each of them in turn."""
    with contextlib.ExitStack() as held:
        opened = []
        for _ in range(size):
            with contextlib.suppress(OSError):
                made = held.enter_context(target.connect())
                made.setblocking(False)
                made.send(begin)
                opened.append(made)
        until = min(target.end, time.monotonic() + 5)
        while opened and time.monotonic() < until:
            opened = [made for made in opened if took_a_byte(made)]
            time.sleep(0.001)


def took_a_byte(connection: socket.socket) -> bool:
    """Sends a byte; returns False if the connection has ended."""
    try:
        connection.send(b"a")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def half_heads(target: Target) -> None:
    half_requests(target, b"POST / HTTP/1.1\r\nHost: localhost\r\nX: ")


def half_bodies(target: Target) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n"
    half_requests(
        target, head + b"X-Amz-Target: TrentService.Encrypt\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 60_000
    )


def repeated(target: Target, request: bytes) -> None:
    """Sends a request again and again over one connection, as fast as it is answered."""
    with target.connect() as made:
        while target.goes_on:
            made.sendall(request)
            if not made.recv(65536):
                return


def wrong_signatures(target: Target) -> None:
    repeated(target, target.signed(b"{}", ("test", "wrong")))


def unknown_keys(target: Target) -> None:
    repeated(target, target.signed(b"{}", (f"AKIA{os.urandom(8).hex().upper()}", "wrong")))


def other_regions(target: Target) -> None:
    repeated(target, target.signed(b"{}", ("test", "wrong"), os.urandom(2000).hex()))


def large_bodies(target: Target) -> None:
    repeated(target, target.signed(b"a" * 1_000_000, ("test", "wrong")))


def health(target: Target) -> None:
    repeated(target, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def many_at_once(target: Target) -> None:
    repeated(target, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)


def unread_answers(target: Target) -> None:
    with target.connect() as made:
        while target.goes_on:
            made.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)


def garbage(target: Target) -> None:
    repeated(target, target.signed(b"{}", ("test", "wrong")) + b"\x16\x03\x01\x02" * 10)


def connections(target: Target) -> None:
    with target.connect():
        pass


ATTACKS: Final = (
    endless_header, endless_headers, half_heads, half_bodies, wrong_signatures, unknown_keys, other_regions,
    large_bodies, health, many_at_once, unread_answers, garbage, connections,
)  # fmt: skip


def stranger(address: str, source: str, seconds: float, processors: set[int]) -> None:
    """Runs all attacks at once, for `seconds`."""
    os.sched_setaffinity(0, processors or os.sched_getaffinity(0))
    os.nice(19)
    target = Target(address, source, time.monotonic() + seconds)

    def repeat(attack: Callable[[Target], None]) -> None:
        while target.goes_on:
            with contextlib.suppress(OSError):
                attack(target)

    threads = [threading.Thread(target=repeat, args=(attack,), daemon=True) for attack in ATTACKS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 10)


# --- the caller --------------------------------------------------------------------------------------------------


@dataclass
class Caller:
    """A caller of the AWS door, who takes the time of each call."""

    address: str
    key_id: str
    milliseconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def call_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection = http.client.HTTPConnection(self.address, timeout=30)
            for _ in range(NEW_CONNECTION_EVERY):
                self._call(connection)
                time.sleep(PAUSE_SECONDS)
            connection.close()

    def _call(self, connection: http.client.HTTPConnection) -> None:
        request = {"KeyId": self.key_id, "Plaintext": "AAAA" * 256}
        begun = time.perf_counter()
        try:
            answer = call(connection, "Encrypt", request)
        except (OSError, http.client.HTTPException) as error:
            self.refused.append(repr(error))
            return
        self.milliseconds.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            self.refused.append(str(answer.body))

    def share(self, share: float) -> float:
        return sorted(self.milliseconds)[int(share * (len(self.milliseconds) - 1))]


# --- the scene ---------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    alone: Caller
    attacked: Caller
    grown_mib: float
    log_bytes: int
    audit_bytes: int
    log: str

    @property
    def times(self) -> float:
        return self.attacked.share(0.99) / self.alone.share(0.99)


def resident_mib(server: Served) -> float:
    """Returns the memory of the server's processes, all together."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(status.parent.name)) == server.process.pid:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                total += int(lines.get("VmRSS", "0 kB").split()[0])
    return total / 1024


def audit_bytes(server: Served) -> int:
    return sum(path.stat().st_size for path in (server.data_dir / "audit").glob("*.jsonl"))


def attack(server: Served, seconds: float, processors: set[int]) -> Outcome:
    """Lets a caller call alone, and then under attack, for `seconds` each."""
    address = address_of(server.data_dir)
    key_id = str(call(address, "CreateKey").json["KeyMetadata"]["KeyId"])
    alone, attacked = Caller(address, key_id), Caller(address, key_id)
    alone.call_for(seconds)
    before, logged, audited = resident_mib(server), len(server.log_text()), audit_bytes(server)
    context = multiprocessing.get_context("spawn")
    strangers = [
        context.Process(target=stranger, args=(address, source, seconds + 1, processors)) for source in ADDRESSES
    ]
    for each in strangers:
        each.start()
    try:
        attacked.call_for(seconds)
        grown = resident_mib(server) - before
    finally:
        for each in strangers:
            each.join(seconds + 30)
            each.kill()
    log = server.log_text()[logged:]
    return Outcome(alone, attacked, grown, len(log), audit_bytes(server) - audited, log)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    first, *rest = sorted(os.sched_getaffinity(0))
    others = set(rest) or {first}
    with tempfile.TemporaryDirectory() as folder:
        options = ["--aws-listen", "127.0.0.1:0"]
        server = Served(Path(folder) / "data", options, workers=1, prefix=("taskset", "-c", str(first)))
        server.start()
        os.sched_setaffinity(0, {first})
        try:
            outcome = attack(server, arguments.seconds, others)
        finally:
            server.close()
    return report(outcome, arguments.seconds)


def report(outcome: Outcome, seconds: float) -> int:
    rows: list[tuple[str, Any, Any]] = [
        ("p99 under attack ÷ p99 alone", round(outcome.times, 2), TIMES),
        ("calls of the caller that were refused", len(outcome.attacked.refused), 0),
        ("memory grown, MiB", round(outcome.grown_mib, 1), GROWN_MIB),
        ("log, bytes", outcome.log_bytes, LOG_BYTES * max(1.0, seconds / 60)),
    ]
    for name, caller in (("alone", outcome.alone), ("attacked", outcome.attacked)):
        shares = "  ".join(f"p{share * 100:g} {caller.share(share):.2f} ms" for share in (0.5, 0.9, 0.99, 0.999))
        print(f"{name:<10} {len(caller.milliseconds):>7,} calls  {shares}")
    for text, value, most in rows:
        print(f"{text:<40} {value:>10}  at most {most:g}  {'yes' if value <= most else 'NO'}")
    print(f"audit records, bytes {outcome.audit_bytes}")
    print(*outcome.attacked.refused[:5], sep="\n")
    print(outcome.log[:3000])
    return int(any(value > most for _, value, most in rows))


if __name__ == "__main__":
    sys.exit(main())
