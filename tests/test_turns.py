"""Whose turn it is at the writer, and what one message may make it do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room, opened, prepare
from serving import Running, heartbeat, receive, send

from sqlqueue import keys, protocol
from sqlqueue.home import Home
from sqlqueue.manager import keeping_touch, reservations, turns
from sqlqueue.manager.turns import BATCH_UNITS, QUICK_UNITS, Turns, units
from sqlqueue.manager.writer import STOP_SECONDS, Job, Writer
from sqlqueue.protocol import Ack, Error, NoTask, Reply, TasksReply
from support import wait_until

SECONDS = 30.0
HEAVY = QUICK_UNITS + 1

# --- whose turn it is -----------------------------------------------------------------------------


def batches(waiting: Turns[str]) -> list[list[str]]:
    waiting.close()
    return list(iter(waiting.take, []))


def test_a_lone_asker_is_served_in_order_and_in_one_batch() -> None:
    waiting: Turns[str] = Turns()
    for number in range(BATCH_UNITS):
        waiting.put(str(number), "a")
    waiting.put("one more", "a")
    first, second = batches(waiting)
    assert first == [str(number) for number in range(BATCH_UNITS)]
    assert second == ["one more"]


def test_what_is_sent_ahead_delays_nobody_else() -> None:
    waiting: Turns[str] = Turns()
    for number in range(10 * BATCH_UNITS):
        waiting.put(f"hog {number}", "hog")
    waiting.put("b", "b")
    waiting.put("c", "c")
    assert waiting.take()[:5] == ["hog 0", "b", "c", "hog 1", "hog 2"]


def test_of_heavy_ones_there_is_one_in_a_batch_behind_all_quick_ones() -> None:
    waiting: Turns[str] = Turns()
    for asker in range(5):
        waiting.put(f"heavy {asker}", asker, HEAVY)
    waiting.put("quick", "q")
    assert batches(waiting) == [["quick", "heavy 0"], *([f"heavy {n}"] for n in range(1, 5))]


def test_one_asker_s_messages_keep_their_order_whatever_they_weigh() -> None:
    waiting: Turns[str] = Turns()
    for number, weight in enumerate([1, HEAVY, 1, HEAVY, HEAVY, 1]):
        waiting.put(f"a{number}", "a", weight)
        waiting.put(f"b{number}", "b", weight)
    taken = [each for batch in batches(waiting) for each in batch]
    assert [each for each in taken if each[0] == "a"] == [f"a{n}" for n in range(6)]
    assert [each for each in taken if each[0] == "b"] == [f"b{n}" for n in range(6)]


def test_who_waits_is_woken() -> None:
    waiting: Turns[str] = Turns()
    found: list[list[str]] = []
    thread = threading.Thread(target=lambda: found.append(waiting.take()))
    thread.start()
    waiting.put("a", "a")
    thread.join(SECONDS)
    assert found == [["a"]]
    assert batches(waiting) == []


def test_what_a_message_costs() -> None:
    beat = protocol.Heartbeat(worker_id="w", tasks=["a", "b"])
    assert units(beat) == 2
    assert units(protocol.Heartbeat(worker_id="w", tasks=["a"] * 100_000)) == BATCH_UNITS
    assert units(protocol.RequestTask(worker_id="w")) == 1
    assert units(protocol.RequestTask(worker_id="w", count=1000)) == 1000
    small = protocol.SubmitResult(task_id="t", worker_id="w", result_data={})
    assert units(small, 100) == 1
    assert units(small, protocol.MAX_MESSAGE_BYTES) > BATCH_UNITS
    assert units(protocol.Audit()) >= BATCH_UNITS


# --- what is read from a connection ---------------------------------------------------------------


def test_of_what_costs_much_little_is_read_ahead(home: Home) -> None:
    """The second of them is read when the first was answered; small ones go on by the hundred."""
    much = {"type": "request_task", "worker_id": "w", "count": 1000}
    with Running(home) as running, running.unix() as hog, running.unix() as other:
        running.writer.open.clear()
        send(hog, *([much] * 600))
        send(other, *([heartbeat()] * 200))
        wait_until(lambda: running._server._desk._in_flight >= 201)
        running.writer.open.set()
        receive(other, 200)
        receive(hog, 600)
        heard = running.writer.batches
    of_hog = [sum(isinstance(j.request, protocol.RequestTask) for j in batch) for batch in heard]
    assert max(of_hog) == 1
    assert sum(of_hog) == 600


# --- the end ------------------------------------------------------------------------------------


class Held:
    """A writer that stands still after its first batch until it is let go; time stands too."""

    def __init__(self, home: Home) -> None:
        keys.create(home)
        self.now = 0.0
        self.first, self.go = threading.Event(), threading.Event()
        self.answers: list[tuple[Any, Reply]] = []
        self.writer = Writer(home, answered=self._answered, clock=lambda: self.now)
        self.writer.start()

    def _answered(self, pairs: list[tuple[Job, Reply]]) -> None:
        self.answers += [(job.answer, reply) for job, reply in pairs]
        self.first.set()
        assert self.go.wait(SECONDS)

    def put(self, *names: str) -> None:
        for name in names:
            request = protocol.RequestTask(worker_id=name, count=1000)
            self.writer.put([Job(request, "worker", name, name, units(request))])

    def stop(self, seconds: float) -> dict[str, Reply]:
        """What was answered when so much time passed between the signal and the next batch."""
        stopping = threading.Thread(target=self.writer.stop)
        stopping.start()
        wait_until(lambda: self.writer._stop_at is not None)
        self.now += seconds
        self.go.set()
        stopping.join(SECONDS)
        assert not stopping.is_alive()
        return dict(self.answers)


@pytest.mark.parametrize("late", [False, True])
def test_what_waits_when_it_stops_is_answered_for_a_while_and_then_refused(
    home: Home, late: bool
) -> None:
    held = Held(home)
    held.put("first")
    assert held.first.wait(SECONDS)
    held.put("a", "b", "c")
    answers = held.stop(STOP_SECONDS * (1.5 if late else 0.5))
    assert answers.keys() == {"first", "a", "b", "c"}
    assert isinstance(answers["first"], NoTask)
    for name in "abc":
        reply = answers[name]
        if late:
            assert isinstance(reply, Error), reply
            assert (reply.code, reply.retryable) == ("stopping", True)
        else:
            assert isinstance(reply, NoTask), reply


@pytest.mark.parametrize("request_", [protocol.Audit(), protocol.Repair()], ids=["audit", "repair"])
def test_what_looks_at_every_directory_stops_at_the_next(
    tmp_path: Path, request_: protocol.Request
) -> None:
    core = Core.begin(Room(tmp_path / "queue"))
    core.add(*(task(number, folder=f"d{number}") for number in range(5)))
    looks = iter([False, False, True])
    core.desk.committer.stopping = lambda: next(looks)
    core.refused(request_, "stopping")
    assert list(looks) == []
    core.desk.committer.stopping = lambda: False
    core.ok(request_)
    core.end()


def test_a_writer_that_is_told_to_stop_says_so_to_whatever_takes_long(home: Home) -> None:
    held = Held(home)
    assert not held.writer._committer.stopping()
    held.stop(0.0)
    assert held.writer._committer.stopping()


def test_what_takes_long_is_told_at_every_moment(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is that the writer waits for."""
    with opened(home) as desk:
        desk.say(prepare("a", "b"))
    held = Held(home)
    held.put("first")
    assert held.first.wait(SECONDS)
    assert troubles(held) == {None}
    held.now += 5.5
    for _ in range(3):
        held.writer.tick()
    assert [each.levelname for each in caplog.records if "busy" in each.message] == ["WARNING"]
    (told,) = troubles(held)
    assert told is not None
    assert "busy with one thing for 6 s" in told
    held.go.set()
    wait_until(lambda: troubles(held) == {None})
    held.stop(0.0)


def troubles(held: Held) -> set[str | None]:
    return {each["trouble"] for each in held.writer.status()["directories"]}


# --- what one message may do ----------------------------------------------------------------------

MANY = 2 * keeping_touch.MOST_AT_ONCE + 200


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    made.add(*(task(number) for number in range(MANY)))
    yield made
    made.end()


def taken(core: Core, count: int, worker: str = "w", **more: Any) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        reply = core.request(worker, count=min(1000, count - len(found)), **more)
        assert isinstance(reply, TasksReply)
        found += [each.task_id for each in reply.tasks]
    return found


def outcomes(core: Core) -> dict[str | None, int]:
    found = [outcome for _, _, outcome in core.outcomes()]
    return {each: found.count(each) for each in set(found)}


def test_a_worker_that_starts_anew_gives_back_much_bit_by_bit(core: Core) -> None:
    kept, *_ = taken(core, MANY)
    most = keeping_touch.MOST_AT_ONCE
    core.ok(protocol.Announce(worker_id="w", holds=[protocol.Held(task_id=kept)]))
    left = outcomes(core)
    assert most <= left["RELEASED"] <= most + 1
    core.desk.later(1.0)
    assert outcomes(core)["RELEASED"] == left["RELEASED"] + most
    core.desk.later(1.0)
    assert outcomes(core) == {"RELEASED": MANY - 1, None: 1}
    assert core.states()[kept] == "RUNNING"


def test_what_was_not_given_back_yet_is_kept_when_it_turns_out_to_be_held(core: Core) -> None:
    tasks = taken(core, MANY)
    core.ok(protocol.Announce(worker_id="w"))
    (last, *_) = [each for each, state in core.states().items() if state == "RUNNING"]
    assert last in tasks
    assert core.beat(protocol.Held(task_id=last, attempt=1)) == Ack(cancel=[])
    for _ in range(2):
        core.desk.later(1.0)
    assert core.states()[last] == "RUNNING"
    assert outcomes(core) == {"RELEASED": MANY - 1, None: 1}


def test_leases_that_lapse_together_end_bit_by_bit(core: Core) -> None:
    taken(core, MANY)
    core.pass_time(60.0)
    most = keeping_touch.MOST_AT_ONCE
    assert outcomes(core)["LOST"] == most
    core.desk.later(1.0)
    assert outcomes(core)["LOST"] == 2 * most
    core.desk.later(1.0)
    assert outcomes(core) == {"LOST": MANY}


def test_a_heartbeat_has_a_bounded_number_of_attempts_looked_up(core: Core) -> None:
    tasks = taken(core, MANY)
    core.ok(protocol.Announce(worker_id="w", holds=[protocol.Held(task_id=t) for t in tasks]))
    assert core.beat(*tasks, worker="thief").cancel == tasks[: keeping_touch.MOST_AT_ONCE]
    assert core.beat(*tasks).cancel == []


def test_reservations_are_bounded_and_take_nothing_from_who_asks(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "MOST", 300)
    assert len(taken(core, 200, "hog 1", reserve=True)) == 200
    reply = core.request("hog 2", count=1000, reserve=True)
    assert isinstance(reply, TasksReply)
    assert len(reply.tasks) == 100
    assert isinstance(core.request("late", reserve=True), NoTask)
    assert len(taken(core, MANY, "worker")) == MANY


def test_a_batch_is_bounded_by_what_it_costs() -> None:
    assert QUICK_UNITS < BATCH_UNITS <= turns.units(protocol.Repair())
