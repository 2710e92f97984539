"""A changed file reaches all workers or none, also where one of them hangs, refuses, or dies meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kms_grpc.registry.words import Words
from tests.processes.stand_in_server import StandInServer, eventually

IN_FORCE = "^the changed configuration is in force$"
REFUSED = "^the configuration is refused, the earlier one stays in force: "
TOKENS = ("a-token-of-orders-0001", "a-token-of-orders-0002", "a-token-of-orders-0003")


def served_with(folder: Path) -> tuple[StandInServer, Path]:
    path = folder / "orders.token"
    write(path, TOKENS[0])
    arn = "arn:aws:iam::123456789012:role/orders"
    caller = {"name": "orders", "arn": arn, "account": "123456789012", "policies": [], "token_file": str(path)}
    return StandInServer(folder / "server", principals=[caller]), path


def write(path: Path, token: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(token)
    new.chmod(0o600)
    new.replace(path)


def number(served: StandInServer) -> int:
    return Words(served.data_dir / "run" / "words").configuration_number.value


def test_a_worker_that_hangs_is_replaced_by_one_that_begins_with_the_change(tmp_path: Path) -> None:
    server, path = served_with(tmp_path)
    with server.start() as served:
        hung = served.pids()["worker-0"]
        os.kill(hung, signal.SIGSTOP)
        write(path, TOKENS[1])
        eventually(lambda: served.said(IN_FORCE), "the change is in force")
        assert number(served) == 1
        served.new_pid("worker-0", hung)
        eventually(lambda: len(served.said("^worker-0 is ready")) == 2, "the other worker")
        write(path, TOKENS[2])
        eventually(lambda: len(served.said(IN_FORCE)) == 2, "the next change")
        assert number(served) == 2
        assert not [token for token in TOKENS if token in served.errors()]
        assert served.stop() == 0


def test_a_change_that_a_worker_refuses_is_taken_by_none(tmp_path: Path) -> None:
    server, path = served_with(tmp_path)
    with server.start() as served:
        cause = served.data_dir / "fail-prepare-offer"
        cause.write_text("principal orders: no")
        write(path, TOKENS[1])
        (refused,) = eventually(lambda: served.said(REFUSED), "the refusal")
        assert refused["message"].endswith(": principal orders: no")
        assert (number(served), served.said(IN_FORCE)) == (0, [])
        cause.unlink()
        write(path, TOKENS[2])
        eventually(lambda: served.said(IN_FORCE), "a change that can be used")
        assert number(served) == 2, "the refused one has used up its number"
        assert served.stop() == 0


def test_a_file_that_is_gone_or_open_to_others_is_refused(tmp_path: Path) -> None:
    server, path = served_with(tmp_path)
    with server.start() as served:
        path.chmod(0o644)
        write_open = path.with_suffix(".open")
        write_open.write_text(TOKENS[1])
        write_open.chmod(0o644)
        write_open.replace(path)
        eventually(lambda: served.said(f"{REFUSED}{path}: it holds a token and is open to others"), "the open file")
        path.unlink()
        eventually(lambda: served.said(f"{REFUSED}{path}: No such file or directory"), "the missing file")
        write(path, "short")
        eventually(lambda: served.said(f"{REFUSED}{path}: its token must have at least 16"), "the short token")
        assert number(served) == 0
        write(path, TOKENS[0])
        served.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        eventually(lambda: served.said("^the configuration is unchanged$"), "what it was before")
        assert served.stop() == 0
