"""The verbs that steer, asked of a manager's core: what each does to which task, and what not.

What is not here: selectors (`test_selector.py`), random histories (`test_verbs_model.py`), real
processes (`test_steering_live.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room

from sqlqueue import protocol
from sqlqueue.protocol import Cancel, Drain, NoTask, Pause, Resume, Retry, SetPriority
from sqlqueue.store import wishing


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def say(core: Core, kind: Any, *words: str, **fields: Any) -> protocol.SteeredReply:
    found = core.ok(kind(select=list(words), **fields))
    assert isinstance(found, protocol.SteeredReply)
    return found


def fail_all(core: Core, worker: str = "w", **fields: Any) -> None:
    while isinstance(found := core.request(worker, **fields), protocol.TaskReply):
        core.fail(found, worker)


# --- retry and cancel -----------------------------------------------------------------------


def test_what_failed_is_tried_again_with_attempts_anew(core: Core) -> None:
    core.add(task(0, max_attempts=2), task(1, max_attempts=2))
    fail_all(core)
    found = say(core, Retry, "seed=0")
    assert (found.done, found.left, found.phases) == ({"FAILED": 1}, {}, {"p": 1})
    assert core.states() == {"p_0_0": "PENDING", "p_1_1": "FAILED"}
    fail_all(core)
    assert [outcome for _, _, outcome in core.outcomes()] == ["FAILED"] * 6
    found = say(core, Retry, "seed=0", dry_run=True)
    assert found.done == {"FAILED": 1}
    assert core.states()["p_0_0"] == "FAILED"


def test_what_is_not_retried_is_told_why(core: Core) -> None:
    core.add(task(0), task(1), task(2))
    core.submit(core.take())
    core.take()
    found = core.ok(Retry(all=True))
    assert found.done == {}
    assert found.left == {
        "pending already": 1,
        "running now": 1,
        "completed: they have their results": 1,
    }


def test_a_cancelled_attempt_hears_it_and_its_late_result_counts(core: Core) -> None:
    core.add(task(0))
    taken = core.take()
    assert say(core, Cancel, taken.task_id).done == {"RUNNING": 1}
    assert core.states() == {"p_0_0": "CANCELLED"}
    assert core.beat(taken.task_id).cancel == [taken.task_id]
    core.submit(taken)
    assert core.states() == {"p_0_0": "COMPLETED"}
    assert len(core.rows()) == 2
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_a_result_on_its_way_and_a_cancel_in_one_transaction(core: Core) -> None:
    core.add(task(0), task(1))
    first, second = core.take("a"), core.take("b")

    def result(taken: protocol.TaskReply, worker: str) -> protocol.SubmitResult:
        return protocol.SubmitResult(
            task_id=taken.task_id, worker_id=worker, result_data={"value": 1}
        )

    replies = core.desk.say(
        result(first, "a"), Cancel(all=True), result(second, "b"), Cancel(all=True)
    )
    assert [type(each).__name__ for each in replies] == ["Ack", "SteeredReply"] * 2
    assert set(core.states().values()) == {"COMPLETED"}
    assert len(core.rows()) == 3


def leaves(core: Core, how: str, old: protocol.TaskReply) -> None:
    """The worker of a cancelled attempt runs it no more, and says so or not."""
    if how == "says so":
        core.ok(protocol.Release(task_id="p_0_0", worker_id="old", attempt=1, log_file="l"))
        assert core.sql("SELECT outcome, log_file FROM attempts") == [("CANCELLED", "l")]
    elif how == "failed":
        core.fail(old, "old", attempt=1)
        assert core.outcomes() == [("old", 1, "CANCELLED")]
    elif how == "asks for more":
        core.request("old", without=["m:f"])
    elif how == "is silent":
        core.pass_time(64)
    else:
        core.ok(protocol.Announce(worker_id="old"))
        core.pass_time(4)


@pytest.mark.parametrize("how", ["says so", "failed", "asks for more", "is silent", "starts anew"])
@pytest.mark.parametrize("many", [False, True])
def test_cancelled_while_running_it_is_for_nobody_until_its_worker_stopped(
    core: Core, how: str, many: bool
) -> None:
    """Tried again at once it would run twice at once, in one folder."""
    core.add(task(0))
    old = core.take("old")
    say(core, Cancel, "p_0_0")
    say(core, Retry, "p_0_0")
    asks = [protocol.RequestTask(worker_id=f"new{n}", want="p_0_0") for n in range(1 + many)]
    assert {type(each) for each in core.desk.say(*asks)} == {NoTask}
    assert isinstance(core.request("new", left_seconds=100.0, limit_seconds=100.0), NoTask)
    assert core.beat(protocol.Held(task_id="p_0_0", attempt=1), worker="old").cancel == ["p_0_0"]
    leaves(core, how, old)
    replies = core.desk.say(*asks)
    assert isinstance(replies[0], protocol.TaskReply)
    assert replies[0].attempt == 2
    assert {type(each) for each in replies[1:]} <= {NoTask}


def test_nor_is_what_was_lost_before_taken_up_again_then(core: Core) -> None:
    core.add(task(0))
    core.take("lost")
    core.pass_time(64)
    core.take("old")
    say(core, Cancel, "p_0_0")
    say(core, Retry, "p_0_0")
    assert core.beat(protocol.Held(task_id="p_0_0", attempt=1), worker="lost").cancel == ["p_0_0"]
    core.ok(protocol.Release(task_id="p_0_0", worker_id="old", attempt=2))
    assert core.beat(protocol.Held(task_id="p_0_0", attempt=1), worker="lost").cancel == []


def test_a_late_result_of_a_cancelled_attempt_counts_and_the_next_one_is_stopped(
    core: Core,
) -> None:
    core.add(task(0))
    old = core.take("old")
    say(core, Cancel, "p_0_0")
    say(core, Retry, "p_0_0")
    core.pass_time(64)
    new = core.take("new")
    assert (old.attempt, new.attempt) == (1, 2)
    assert core.beat(protocol.Held(task_id="p_0_0", attempt=1), worker="old").cancel == ["p_0_0"]
    assert core.beat(protocol.Held(task_id="p_0_0", attempt=2), worker="new").cancel == []
    core.submit(old, "old")
    assert core.outcomes() == [("old", 1, "COMPLETED"), ("new", 2, "SUPERSEDED")]


def test_to_cancel_a_phase_withdraws_its_wish_alone(core: Core) -> None:
    core.add(task(0, "p", priority=5), task(1, "p"))
    core.add(task(0, "q", "b", priority=1))
    found = say(core, Cancel, "phase=p")
    assert (found.done, found.left) == (
        {"PENDING": 1},
        {"another phase wants them: they go on": 1},
    )
    assert core.states() == {"p_0_0": "PENDING", "p_1_1": "CANCELLED"}
    assert core.sql("SELECT priority FROM tasks WHERE task_id = 'p_0_0'") == [(1,)]
    assert [each["total"] for each in core.figures()["phases"]] == [0, 1]
    core.add(task(0, "p", priority=5), task(1, "p"))
    assert set(core.states().values()) == {"PENDING"}
    assert [each["total"] for each in core.figures()["phases"]] == [2, 1]


def test_retry_of_a_phase_wants_again_what_was_withdrawn(core: Core) -> None:
    core.add(task(0, "p"), task(1, "p"), task(0, "q"))
    say(core, Cancel, "phase=p")
    assert say(core, Retry, "phase=p").done == {"CANCELLED": 1}
    assert [each["pending"] for each in core.figures()["phases"]] == [2, 1]


def test_where_it_ran_and_what_it_said_select(core: Core) -> None:
    core.add(task(0, max_attempts=1), task(1, max_attempts=1), task(2))
    for worker, said in (("box-gpu0", "CUDA out of memory"), ("box-gpu1", "KeyError: 'x'")):
        taken = core.take(worker, host="box", device=worker[-4:])
        core.ok(protocol.TaskFailed(task_id=taken.task_id, worker_id=worker, error=said))
    for words, count in {
        ("worker=gpu0",): 1,
        ("host=box",): 2,
        ("device=gpu1", "error=keyerror"): 1,
        ("error=OUT OF MEMORY", "worker=gpu1"): 0,
    }.items():
        assert say(core, Retry, *words, dry_run=True).done.get("FAILED", 0) == count, words


def test_a_selection_goes_in_bites_and_no_task_is_missed(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlqueue.store.selecting.BITE_TASKS", 3)
    monkeypatch.setattr(wishing, "BITE_TASKS", 3)
    core.add(*map(task, range(10)))
    after: int | None = 0
    counts = []
    while after is not None:
        reply = say(core, Cancel, "seed!=4", after=after)
        counts.append(sum(reply.done.values()))
        after = reply.next
    assert counts == [3, 2, 3, 1]
    assert list(core.states().values()).count("CANCELLED") == 9


UNKNOWN = {"phase=x": "no phase", "sed=1": "did you mean 'seed'", "p_9_9": "no task"}


@pytest.mark.parametrize("word", UNKNOWN)
@pytest.mark.parametrize("kind", [Retry, Cancel])
def test_what_is_not_there_is_refused(core: Core, word: str, kind: Any) -> None:
    core.add(task(0))
    reply = core.ask(kind(select=[word]))
    assert isinstance(reply, protocol.Error)
    assert UNKNOWN[word] in reply.message
    assert core.states() == {"p_0_0": "PENDING"}


def test_nothing_is_never_everything(core: Core) -> None:
    core.add(task(0))
    for kind in (Retry, Cancel, Pause, Resume, Drain):
        core.refused(kind(), "usage")
    core.refused(SetPriority(priority=1), "usage")
    assert core.states() == {"p_0_0": "PENDING"}


@pytest.mark.parametrize("kind", [Retry, Cancel, SetPriority, Pause, Resume, Drain])
def test_a_worker_may_say_none_of_them(core: Core, kind: Any) -> None:
    from sqlqueue.manager.committer import Job

    core.add(task(0))
    more = {"priority": 1} if kind is SetPriority else {}
    ((_, reply),) = core.desk.committer.process([Job(kind(all=True, **more), "worker")])
    assert isinstance(reply, protocol.Error)
    assert reply.code == "not_authorised"
    assert core.states() == {"p_0_0": "PENDING"}


# --- priority ---------------------------------------------------------------------------------


def test_a_person_s_priority_holds_over_the_file_s(core: Core) -> None:
    core.add(task(0, "p", priority=1), task(1, "q", priority=2))
    say(core, SetPriority, "phase=p", priority=9)
    core.add(task(0, "p", priority=4), task(2, "p", priority=4))  # `init` with an edited file
    priorities = "SELECT priority FROM tasks ORDER BY id"
    assert core.sql(priorities) == [(9,), (2,), (9,)]
    assert core.take().task_id == "p_0_0"
    say(core, SetPriority, "phase=p", priority=None)
    assert core.sql(priorities) == [(4,), (2,), (4,)]


def test_a_priority_for_some_is_not_for_those_to_come(core: Core) -> None:
    core.add(task(0, "p"))
    say(core, SetPriority, "phase=p", "seed=0", priority=9)
    core.add(task(1, "p"))
    assert core.sql("SELECT priority FROM tasks ORDER BY id") == [(9,), (0,)]


# --- pauses -----------------------------------------------------------------------------------


def test_nothing_new_of_a_paused_phase_is_handed_out(core: Core) -> None:
    core.add(task(0, "p"), task(1, "p"), task(2, "q"))
    running = core.take()
    say(core, Pause, "phase=p")
    assert core.take("b").task_id == "q_0_2"
    reply = core.request("c")
    assert isinstance(reply, NoTask)
    assert (reply.done, reply.end) == (False, "")
    assert "the phase is paused (p)" in reply.waits
    assert core.beat(running.task_id).cancel == []
    core.restart()
    assert isinstance(core.request("c"), NoTask)
    core.add(task(3, "p"))
    assert isinstance(core.request("c"), NoTask)
    say(core, Resume, "phase=p")
    assert core.take("c").task_id == "p_1_1"


def test_a_task_that_an_unpaused_phase_wants_is_handed_out(core: Core) -> None:
    core.add(task(0, "p"), task(0, "q"))
    say(core, Pause, "phase=p")
    say(core, Pause, "phase=q")
    assert isinstance(core.request(), NoTask)
    say(core, Resume, "phase=q")
    taken = core.take()
    core.ok(protocol.Release(task_id=taken.task_id, worker_id="w"))
    say(core, Cancel, "phase=q")
    assert isinstance(core.request(), NoTask)


def test_a_task_reserved_before_the_pause_waits_too(core: Core) -> None:
    core.add(task(0, "p"))
    ahead = core.take(reserve=True)
    say(core, Pause, "phase=p")
    assert isinstance(core.request(want=ahead.task_id), NoTask)
    core.ok(Resume(all=True))
    core.ok(Pause(all=True))
    assert isinstance(core.request(want=ahead.task_id), NoTask)
    core.ok(Resume(all=True))
    assert core.take(want=ahead.task_id).task_id == ahead.task_id


def test_a_paused_queue_hands_out_nothing_and_is_not_done(core: Core) -> None:
    core.add(task(0))
    core.ok(Pause(all=True))
    reply = core.request()
    assert isinstance(reply, NoTask)
    assert not reply.done
    assert "the queue is paused" in reply.waits
    assert core.figures()["paused"] is True
    core.restart()
    assert isinstance(core.request(), NoTask)
    core.ok(Resume(all=True))
    core.take()


def test_a_pause_that_was_cut_short_is_carried_on_by_the_manager(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is killed after its first bite, and so is the manager."""
    monkeypatch.setattr(wishing, "BITE_TASKS", 2)
    core.add(*map(task, range(6)))
    assert say(core, Pause, "phase=p").next == 2
    core.restart()
    core.pass_time(12.0)
    assert core.sql("SELECT count(*) FROM tasks WHERE held") == [(6,)]
    assert isinstance(core.request(), NoTask)
    assert say(core, Resume, "phase=p").next == 2
    core.pass_time(12.0)
    assert core.sql("SELECT count(*) FROM tasks WHERE held") == [(0,)]


# --- drains -----------------------------------------------------------------------------------


def test_a_drained_worker_starts_nothing_more_and_is_told_to_end(core: Core) -> None:
    core.add(task(0), task(1))
    taken = core.take("box-gpu0", host="box")
    say(core, Drain, "worker=gpu0", "host=box")
    assert core.beat(taken.task_id, worker="box-gpu0").cancel == []
    core.submit(taken, "box-gpu0")
    for _ in range(2):
        reply = core.request("box-gpu0", host="box")
        assert isinstance(reply, NoTask)
        assert "drained (worker=gpu0 host=box" in reply.end
        core.restart()
    assert core.figures()["drained"][0]["worker"] == "gpu0"
    other = core.take("box-gpu1", host="box")
    core.ok(protocol.Release(task_id=other.task_id, worker_id="box-gpu1"))
    say(core, Resume, "worker=gpu0", "host=box")
    core.take("box-gpu0", host="box")


def test_a_lost_answer_is_given_again_to_a_drained_worker(core: Core) -> None:
    core.add(task(0))
    first = core.take("w", request_id="r")
    core.ok(Drain(all=True))
    assert core.request("w", request_id="r") == first


def test_what_a_verb_does_not_take_is_told(core: Core) -> None:
    core.add(task(0))
    assert "pause takes" in core.refused(Pause(select=["seed=0"]), "usage")
    assert "drain takes" in core.refused(Drain(select=["phase=p"]), "usage")
    say(core, Drain, "worker=gpu0,gpu1")
    said = core.refused(Resume(select=["worker=gpu2"]), "usage")
    assert "what is drained: worker=gpu0; worker=gpu1" in said
    say(core, Resume, "worker=gpu1")
    assert [each["worker"] for each in core.figures()["drained"]] == ["gpu0"]


# --- the audit --------------------------------------------------------------------------------

SPOILT = {
    "UPDATE tasks SET held = 1": "what the wishes",
    "UPDATE tasks SET priority = 7": "what the wishes",
    "UPDATE task_phases SET withdrawn = 1": "no phase wants it",
}


@pytest.mark.parametrize("statement", SPOILT)
def test_the_audit_sees_what_does_not_fit(tmp_path: Path, statement: str) -> None:
    import sqlite3
    from contextlib import closing

    from sqlqueue.store.audit import verify

    core = Core.begin(Room(tmp_path / "queue"))
    core.add(task(0))
    core.end()
    with closing(sqlite3.connect(core.room.home.database)) as base, base:
        base.execute(statement)
    found = [each.message for each in verify(core.room.home)]
    assert found
    assert SPOILT[statement] in found[0]
