"""SIGKILL to the whole process group at every fault point and at random moments: nothing acknowledged is ever
lost.

Services on two data directories are killed during their first start, while regions are added, at each point of a write,
during the copying of the outbox, and at random. After each kill the service is started again and compared with the
journal. pytest prints the seed at the start; KMS_GRPC_TEST_SEED repeats a run.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kms_grpc.faults import POINTS
from kms_grpc.v1 import key_management_pb2 as pb
from tests.faults.audit_log import created_keys, records
from tests.faults.journal import Journal
from tests.faults.service import Service, wait_until
from tests.faults.verification import check_against, check_region
from tests.faults.workload import Actor

REGIONS = ("eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1", "eu-south-1", "us-east-1", "us-east-2")
ACTORS = 4
CALLS_BETWEEN_KILLS = 200
FIRST_START = tuple(point for point in POINTS if point.startswith("start.root_key."))
NEW_REGION = tuple(point for point in POINTS if point.startswith(("start.shard.", "start.hash.", "migration.")))
WRITE = tuple(point for point in POINTS if point.startswith(("commit.", "mark.", "epoch.", "answer.")))
OUTBOX = tuple(point for point in POINTS if point.startswith("outbox."))
PASSINGS = dict.fromkeys(WRITE, (15, 40)) | dict.fromkeys(OUTBOX, (6, 9))
"""The process is killed when it passes a point for the n-th time, n being at random between these: late enough for the
calls that must come before, few of which write. The outbox is copied four times a second if it has entries."""


LIVES = {
    FIRST_START[0]: [*NEW_REGION, *WRITE * 3, *OUTBOX, *["random"] * 9],
    FIRST_START[1]: [*WRITE * 4, *OUTBOX * 2, *["random"] * 9],
}
"""The later kills of a data directory, by the fault point of its first start, in random order."""


PARTS = 2
"""Each plan is split among so many data directories, which run beside one another."""


def plan_of(first_point: str, part: int) -> list[str]:
    """Returns the kills of one data directory after its first start. The first of them makes keys."""
    kills = LIVES[first_point]
    order = random.Random(f"{os.environ['KMS_GRPC_TEST_SEED']} {first_point}").sample(kills, len(kills))
    return ["random", *order[part::PARTS]]


def test_every_fault_point_is_visited() -> None:
    plans = [plan_of(point, part) for point in LIVES for part in range(PARTS)]
    assert {*LIVES, *itertools.chain(*plans)} == {*POINTS, "random"}
    assert sum(1 + len(plan) for plan in plans) >= 60


@pytest.mark.timeout(900)  # some fifteen starts, on a machine that may be busy
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("first_point", LIVES)
def test_acknowledged_changes_survive_every_kill(first_point: str, part: int, tmp_path: Path) -> None:
    life = Life(tmp_path, f"{os.environ['KMS_GRPC_TEST_SEED']} {first_point} {part}")
    plan = plan_of(first_point, part)
    try:
        life.killed_in_start(first_point)
        for point in plan:
            life.round(point)
        life.end()
    finally:
        life.service.close()
    assert life.kills == 1 + len(plan)


class Life:
    """One data directory, from its first start on. Between two rounds no service runs."""

    def __init__(self, place: Path, seed: str) -> None:
        self.service = Service(place / "data", REGIONS[:1])
        self.journal = Journal(place / "journal")
        self.random = random.Random(seed)
        self.actors = [Actor(f"actor{number}", self.journal, f"{seed} {number}") for number in range(ACTORS)]
        self.kills = 0
        self.checked = 0

    # --- kills ---------------------------------------------------------------------------------------------------

    def round(self, point: str) -> None:
        """Starts the service, compares it with the journal, lets the actors work, and kills it."""
        if point in NEW_REGION:
            self.killed_with_a_new_region(point)
        elif point == "random":
            self.start()
            self.work(lambda: self.die_after(self.random.uniform(0.0, 0.3)))
        else:
            self.start(f"{point}:{self.random.randrange(*PASSINGS[point])}")
            self.work(lambda: self.die_of(point))

    def killed_with_a_new_region(self, point: str) -> None:
        """Adds a region after a round without a kill."""
        self.start()
        self.work(lambda: time.sleep(0.1))
        assert self.service.stop() == 0
        self.service.regions.append(REGIONS[len(self.service.regions)])
        self.killed_in_start(point)

    def killed_in_start(self, point: str) -> None:
        self.service.exec(f"{point}:1")
        assert not self.service.becomes_ready(), f"{point} was not passed in this start"
        assert self.service.wait_for_death() == -9
        self.kills += 1

    def die_after(self, seconds: float) -> None:
        time.sleep(seconds)
        self.service.kill()
        self.kills += 1

    def die_of(self, point: str) -> None:
        assert self.service.wait_for_death() == -9, f"{point}: it ended by itself\n{self.service.log_text()}"
        self.kills += 1

    # --- between them --------------------------------------------------------------------------------------------

    def start(self, fault: str | None = None) -> None:
        self.answered_before = self.journal.answered
        self.service.start(fault)
        caller = self.service.caller()
        try:
            expected, self.checked = check_against(self.journal, caller, self.checked)
            if len(self.service.regions) > 1:
                check_region(self.service.caller(self.service.regions[-1]))
        finally:
            caller.close()
        for actor in self.actors:
            actor.take_up(self.service.caller(), expected)

    def work(self, end: Callable[[], None]) -> None:
        """Runs all actors at once until `end` has killed the service or stops them."""
        stop = threading.Event()
        threads = [threading.Thread(target=actor.run, args=(self.enough, stop)) for actor in self.actors]
        for thread in threads:
            thread.start()
        try:
            wait_until(
                lambda: self.enough() or not all(map(threading.Thread.is_alive, threads)), "no calls are answered"
            )
            end()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.look_after_actors()

    def enough(self) -> bool:
        return self.journal.answered - self.answered_before >= CALLS_BETWEEN_KILLS

    def look_after_actors(self) -> None:
        for actor in self.actors:
            actor.caller.close()
            if actor.failure:
                raise actor.failure
        assert self.enough(), f"killed too early: {[actor.loss for actor in self.actors]}\n{self.service.log_text()}"

    def end(self) -> None:
        """Checks that every acknowledged ciphertext decrypts, and that the audit log has each write once."""
        self.start()
        caller = self.service.caller()
        for key in self.journal.expected().states:
            call = self.journal.asked("switch", key=key, state="ENABLED")
            caller.call("EnableKey", pb.EnableKeyRequest(key_id=key))
            self.journal.answer(call)
        check_against(self.journal, caller, 0)
        caller.close()
        keys = set(self.journal.expected().states)
        wait_until(lambda: keys <= created_keys(self.service.data_dir), "a CreateKey is not in the audit log")
        assert self.service.stop() == 0
        events = [record["eventID"] for record in records(self.service.data_dir)]
        assert len(events) == len(set(events)), "an event was copied into the log twice"
