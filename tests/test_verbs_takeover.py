"""Who was taken over writes no more: not one row, not one byte, and its writer ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import Desk, Room, result

from sqlqueue import protocol
from sqlqueue.errors import EpochLost
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.manager.writer import Answered, Writer
from sqlqueue.protocol import Ack, Request
from support import wait_until


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    made.add(*map(task, range(4)))
    made.submit("p_0_0", data={"value": 0.0})
    yield made
    made.end()


@pytest.fixture
def newer(core: Core) -> Iterator[Desk]:
    """A second manager that has taken the home over."""
    desk = Desk(core.room.home)
    desk.committer.open()
    yield desk
    desk.committer.close()


MESSAGES: dict[str, Request] = {
    "submit": result(1),
    "take": protocol.RequestTask(worker_id="w"),
    "beat": protocol.Heartbeat(worker_id="w", tasks=["p_1_1"]),
    "add": protocol.AddTasks(tasks=[task(9)]),
    "prepare": protocol.PrepareDirectories(output_dirs=["new"]),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_it_writes_nothing(core: Core, newer: Desk, message: Request) -> None:
    before = core.rows(), core.states(), core.outcomes()
    with pytest.raises(EpochLost):
        core.desk.say(message)
    assert (core.rows(), core.states(), core.outcomes()) == before
    assert not (core.room.root / "new").exists()
    assert newer.say(result(1)) == [Ack()]
    assert len(core.rows()) == 3


def test_it_repairs_nothing_and_judges_no_lease(core: Core, newer: Desk) -> None:
    newer.say(protocol.RequestTask(worker_id="w", lease_seconds=1.0))
    before = core.room.csv("a").read_bytes()
    core.room.csv("a").write_bytes(before + b"more\n")
    for attempt in (core.desk.committer.tick, lambda: core.desk.say(protocol.Repair())):
        with pytest.raises(EpochLost):
            attempt()
    assert core.room.csv("a").read_bytes() == before + b"more\n"
    assert newer.say(protocol.Repair()) != []
    assert core.room.csv("a").read_bytes() == before


@pytest.mark.parametrize("last", ["job", "tick"])
def test_its_writer_ends_and_says_why(core: Core, last: str) -> None:
    core.desk.committer.close()
    answers: list[tuple[Job, protocol.Reply]] = []
    note: Answered = answers.extend
    writer = Writer(core.room.home, answered=note)
    writer.start()
    core.desk = Desk(core.room.home)
    core.desk.committer.open()
    if last == "job":
        writer.put([Job(result(1), "worker")])
    else:
        writer.tick()
    wait_until(lambda: writer.fatal, what="the writer giving up")
    writer.stop()
    assert isinstance(writer.fatal, EpochLost)
    refused = [getattr(reply, "code", None) for _, reply in answers]
    assert refused == (["epoch_lost"] if last == "job" else [])
    assert core.states()["p_1_1"] == "PENDING"


def test_each_opening_begins_an_epoch(core: Core) -> None:
    ((before,),) = core.sql("SELECT value FROM meta WHERE key = 'epoch'")
    for step in (1, 2, 3):
        core.restart()
        ((now,),) = core.sql("SELECT value FROM meta WHERE key = 'epoch'")
        assert int(now) == int(before) + step
    assert isinstance(core.desk.committer, Committer)
