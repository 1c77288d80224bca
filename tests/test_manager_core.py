"""The verbs of a task's life, asked of the real core: claims, leases, results, failures."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from core import Core, task
from crash_proof import workshop
from crash_scenarios import MEMORY, Room, prepare

from sqlqueue import protocol
from sqlqueue.lifecycle import MAX_LOSSES
from sqlqueue.protocol import Ack, Held, NoTask, TasksReply


@pytest.fixture
def core() -> Iterator[Core]:
    with workshop() as shop:
        made = Core.begin(Room(shop.root / "room"))
        yield made
        made.end()


# --- requesting -----------------------------------------------------------------------


def test_priority_first_then_cost_by_kind_of_worker_then_insertion(core: Core) -> None:
    core.add(task(0, cost=1.0), task(1, cost=9.0), task(2, cost=9.0), task(3, cost=0.5, priority=5))
    gpu = core.request(worker_type="gpu", count=4, reserve=True)
    assert isinstance(gpu, TasksReply)
    assert [each.seed for each in gpu.tasks] == [3, 1, 2, 0]
    assert [core.take("c", worker_type="cpu").seed for _ in range(2)] == [3, 0]


def test_the_same_request_gets_the_same_task_also_after_a_restart(core: Core) -> None:
    core.add(task(0), task(1))
    first = core.take(request_id="r")
    assert core.take(request_id="r") == first
    core.restart()
    assert core.take(request_id="r") == first
    assert core.take("other", request_id="r").task_id != first.task_id
    assert [number for _, number, _ in core.outcomes()] == [1, 1]


def test_a_request_is_not_answered_again_once_its_attempt_is_over(core: Core) -> None:
    core.add(task(0), task(1))
    first = core.take(request_id="r")
    core.submit(first)
    assert core.take(request_id="r").task_id != first.task_id


def test_nothing_to_do_is_not_done_while_something_runs_or_nothing_was_added(core: Core) -> None:
    assert core.request() == NoTask(done=False)
    core.add(task(0))
    first = core.take()
    assert core.request("other") == NoTask(done=False)
    core.submit(first)
    assert core.request() == NoTask(done=True)


def test_a_reservation_leaves_the_task_pending_and_others_may_have_it(core: Core) -> None:
    core.add(task(0), task(1))
    ahead = core.take("x", reserve=True)
    assert ahead.attempt == 0
    assert set(core.states().values()) == {"PENDING"}
    assert core.take("y", reserve=True).task_id != ahead.task_id
    assert core.take("x", want=ahead.task_id).task_id == ahead.task_id
    assert core.take("z").task_id != ahead.task_id


def test_what_another_reserved_comes_last_but_comes(core: Core) -> None:
    core.add(task(0), task(1))
    ahead = core.take("x", reserve=True)
    assert core.take("y").task_id != ahead.task_id
    assert core.take("y").task_id == ahead.task_id
    assert core.request("x", want=ahead.task_id) == NoTask(done=False)


def test_a_reservation_lapses(core: Core) -> None:
    core.add(task(0), task(1))
    ahead = core.take("x", reserve=True)
    core.desk.clock.now += 601
    assert core.take("y", reserve=True).task_id == ahead.task_id


# --- leases ---------------------------------------------------------------------------


def test_a_lease_that_lapses_ends_the_attempt_and_the_task_is_pending_again(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(18)
    assert core.states() == {"p_0_0": "RUNNING"}
    core.pass_time(8)
    assert core.states() == {"p_0_0": "PENDING"}
    assert core.outcomes() == [("w", 1, "LOST")]


def test_heartbeats_keep_a_lease(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    for _ in range(5):
        core.pass_time(12)
        assert core.beat("p_0_0") == Ack(cancel=[])
    assert core.states() == {"p_0_0": "RUNNING"}


def test_the_lease_belongs_to_the_attempt_not_to_the_name(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(16)
    assert core.beat(Held(task_id="p_0_0", attempt=7)).cancel == ["p_0_0"]
    assert core.beat("p_0_0", worker="other").cancel == ["p_0_0"]
    core.pass_time(8)
    assert core.outcomes() == [("w", 1, "LOST")]


def test_a_manager_that_was_stalled_gives_everyone_a_full_lease(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(4)
    core.desk.later(1000)
    assert core.states() == {"p_0_0": "RUNNING"}
    core.pass_time(16)
    assert core.states() == {"p_0_0": "RUNNING"}
    core.pass_time(8)
    assert core.states() == {"p_0_0": "PENDING"}


def test_a_manager_that_has_just_started_gives_everyone_a_full_lease(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.restart()
    core.pass_time(18)
    assert core.states() == {"p_0_0": "RUNNING"}
    core.pass_time(8)
    assert core.states() == {"p_0_0": "PENDING"}


def test_an_attempt_thought_lost_goes_on_when_it_is_heard_of(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(28)
    assert core.beat(Held(task_id="p_0_0", attempt=1)) == Ack(cancel=[])
    assert core.states() == {"p_0_0": "RUNNING"}
    assert core.outcomes() == [("w", 1, None)]


def test_an_attempt_thought_lost_must_stop_when_another_runs(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(28)
    core.take("other")
    assert core.beat(Held(task_id="p_0_0", attempt=1)).cancel == ["p_0_0"]
    assert core.outcomes() == [("w", 1, "LOST"), ("other", 2, None)]


def test_losses_have_a_limit_of_their_own(core: Core) -> None:
    core.add(task(0, max_attempts=1))
    for _ in range(MAX_LOSSES):
        core.take(lease_seconds=4.0)
        core.pass_time(12)
    assert core.states() == {"p_0_0": "FAILED"}
    assert core.sql("SELECT failures, losses FROM tasks") == [(0, MAX_LOSSES)]


# --- announcing and releasing -----------------------------------------------------------


def test_a_worker_that_reconnects_keeps_what_it_holds_and_gives_back_the_rest(core: Core) -> None:
    core.add(task(0), task(1))
    first, second = core.take(), core.take()
    held = Held(task_id=first.task_id, attempt=first.attempt)
    core.ok(protocol.Announce(worker_id="w", holds=[held]))
    assert core.states() == {first.task_id: "RUNNING", second.task_id: "PENDING"}
    assert core.outcomes() == [("w", 1, None), ("w", 1, "RELEASED")]
    assert core.sql("SELECT failures, losses FROM tasks") == [(0, 0), (0, 0)]


def test_a_worker_that_starts_anew_under_its_name_gives_back_everything(core: Core) -> None:
    core.add(task(0))
    core.take()
    core.ok(protocol.Announce(worker_id="w"))
    assert core.states() == {"p_0_0": "PENDING"}


def test_a_task_given_back_is_not_charged(core: Core) -> None:
    core.add(task(0, max_attempts=1))
    for _ in range(5):
        core.take()
        core.ok(protocol.Release(task_id="p_0_0", worker_id="w"))
        core.ok(protocol.Release(task_id="p_0_0", worker_id="w"))
    assert core.states() == {"p_0_0": "PENDING"}
    assert {outcome for _, _, outcome in core.outcomes()} == {"RELEASED"}


# --- failing ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["FAILED", "OOM", "TIMEOUT"])
def test_failures_are_charged_until_none_is_left(core: Core, outcome: str) -> None:
    core.add(task(0, max_attempts=2))
    for expected in ("PENDING", "FAILED"):
        found = core.take()
        core.fail(found, outcome=outcome, attempt=found.attempt)
        core.fail(found, outcome=outcome, attempt=found.attempt)
        assert core.states() == {"p_0_0": expected}
    assert core.request() == NoTask(done=True)


def test_who_never_held_a_task_cannot_fail_or_release_it(core: Core) -> None:
    core.add(task(0))
    failed = protocol.TaskFailed(task_id="p_0_0", worker_id="w", error="")
    assert "never held p_0_0" in core.refused(failed, "illegal_move")
    core.refused(protocol.Release(task_id="p_0_0", worker_id="w"), "illegal_move")
    core.refused(protocol.Release(task_id="other", worker_id="w"), "unknown_task")


# --- results ----------------------------------------------------------------------------


def test_four_fields_suffice_and_mean_the_running_attempt(core: Core) -> None:
    core.add(task(0))
    core.take()
    assert core.submit("p_0_0") == Ack()
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_the_same_result_again_changes_nothing(core: Core) -> None:
    core.add(task(0), task(0, folder="b"))
    found = core.take()
    for attempt in (None, found.attempt, found.attempt, 9):
        core.submit(found, attempt=attempt, data={"loss": float("nan")})
    core.restart()
    core.submit(found, data={"loss": float("nan")})
    assert len(core.rows("a")) == len(core.rows("b")) == 2
    assert core.sql("SELECT count(*) FROM results") == [(1,)]
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_another_result_for_a_completed_task_is_kept_and_is_no_row(core: Core) -> None:
    core.add(task(0))
    core.submit(core.take())
    before = core.rows()
    core.submit("p_0_0", "late", data={"value": 2})
    assert core.rows() == before
    assert core.sql("SELECT accepted, metrics FROM results") == [
        (1, '{"value":1}'),
        (0, '{"value":2}'),
    ]
    assert core.outcomes()[1] == ("late", 2, "SUPERSEDED")


def test_a_late_result_wins_over_the_attempt_that_runs(core: Core) -> None:
    core.add(task(0))
    core.take(lease_seconds=20.0)
    core.pass_time(28)
    core.take("other")
    core.submit("p_0_0", "w", attempt=1)
    assert core.states() == {"p_0_0": "COMPLETED"}
    assert core.outcomes() == [("w", 1, "COMPLETED"), ("other", 2, "SUPERSEDED")]
    assert core.beat(Held(task_id="p_0_0", attempt=2), worker="other").cancel == ["p_0_0"]
    core.submit("p_0_0", "other", attempt=2)
    assert len(core.rows()) == 2


def test_a_result_completes_a_failed_task(core: Core) -> None:
    core.add(task(0, max_attempts=1))
    core.fail(core.take())
    assert core.states() == {"p_0_0": "FAILED"}
    core.submit("p_0_0", "w", attempt=1)
    assert core.states() == {"p_0_0": "COMPLETED"}
    assert len(core.rows()) == 2


def test_a_result_completes_a_cancelled_task(core: Core) -> None:
    core.add(task(0))
    with core.desk.committer.transaction() as connection:
        connection.exec_driver_sql("UPDATE tasks SET state = 'CANCELLED'")
    core.submit("p_0_0")
    assert core.states() == {"p_0_0": "COMPLETED"}


def test_a_result_of_nobody_known_completes_a_pending_task(core: Core) -> None:
    core.add(task(0))
    core.submit("whatever it was called", signature=task(0).signature, attempt=3)
    assert core.states() == {"p_0_0": "COMPLETED"}


def test_a_result_for_no_task_is_refused(core: Core) -> None:
    result = protocol.SubmitResult(task_id="p_9", worker_id="w", result_data={})
    assert "'p_9'" in core.refused(result, "unknown_task")


ODD = {
    "no metric": {},
    "deep": {"a": {"b": {"c": [1, {"d": 2}]}}},
    "breaks": {"text": 'a "b",\n\r\x00c'},
    "not finite": {"a": float("nan"), "b": float("inf"), "c": ""},
    "huge": {"n": 2**200},
    "half a character": {"\ud800": "\udfff"},
    "a parameter's name": {"seed": 5, "task_id": "mine"},
    "unnamed": {"": 1, "a.b": 2, "a": {"b": 3}},
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_whatever_was_measured_is_kept_on_one_line(core: Core, data: dict[str, object]) -> None:
    core.add(task(0))
    core.submit(core.take(), data=data)
    assert len(core.rows()) == 2


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_a_duration_that_is_none_does_not_cost_the_result(core: Core, seconds: float) -> None:
    core.add(task(0))
    core.submit("p_0_0", seconds=seconds)
    assert core.states() == {"p_0_0": "COMPLETED"}


def test_one_message_that_cannot_be_stored_fails_alone(core: Core) -> None:
    core.add(task(0), task(1))
    deep: dict[str, object] = {}
    for _ in range(20_000):
        deep = {"a": deep}
    bad = protocol.SubmitResult(task_id="p_0_0", worker_id="w", result_data=deep)
    good = protocol.SubmitResult(task_id="p_1_1", worker_id="w", result_data={"v": 1})
    replies = core.desk.say(bad, good)
    assert isinstance(replies[0], protocol.Error)
    assert not replies[0].retryable
    assert replies[1] == Ack()
    assert core.states() == {"p_0_0": "PENDING", "p_1_1": "COMPLETED"}


def test_a_failed_message_leaves_nothing_of_itself(core: Core) -> None:
    core.add(task(0))
    unknown = protocol.AddTasks(tasks=[task(5, phase="q"), task(6, folder="nowhere")])
    core.refused(unknown, "bad_directory")
    assert core.sql("SELECT name FROM phases") == [("p",)]


@pytest.mark.parametrize("metrics", ['{"value": 1, "loss": NaN}', '{"value":1,"loss":NaN}'])
def test_a_result_is_known_however_its_json_is_spelled(core: Core, metrics: str) -> None:
    """Versions before this one put blanks into it."""
    core.add(task(0))
    taken, data = core.take(), {"value": 1, "loss": float("nan")}
    core.submit(taken, data=data)
    with core.desk.committer.transaction() as connection:
        connection.exec_driver_sql("UPDATE results SET metrics = ?", (metrics,))
    core.submit(taken, data=data)
    assert core.sql("SELECT count(*) FROM results") == [(1,)]


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_result_wins_whatever_attempt_it_names(core: Core, number: int) -> None:
    core.add(task(0))
    core.submit("p_0_0", "stranger", attempt=number)
    assert core.states() == {"p_0_0": "COMPLETED"}
    assert len(core.rows()) == 2


def test_the_log_says_what_was_saved_where(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sqlqueue.manager")
    core.add(task(0), task(0, folder="b"))
    core.submit(core.take())
    said = "\n".join(record.getMessage() for record in caplog.records).splitlines()
    assert "Result saved to 2 directories for task p_0_0" in said
    for folder in "ab":
        assert f"Saved result for p_0_0 to {Path(folder)}/final_results.csv" in said


def test_nothing_is_done_where_no_transaction_began(core: Core) -> None:
    """What begins one is a listener: without it every statement would stand by itself."""
    core.add(task(1))
    taken = core.take()
    session = core.desk.committer._session
    assert session._engine is not None
    session._engine.dispatch.begin.clear()
    assert "no transaction" in core.refused(
        protocol.SubmitResult(task_id=taken.task_id, worker_id="w", result_data={"value": 1}),
        "storage_failure",
    )
    assert core.states() == {taken.task_id: "RUNNING"}
    assert core.rows() == []
    core.submit(taken)
    assert len(core.rows()) == 2


def test_a_full_disk_is_told_with_its_place_until_there_is_room(core: Core) -> None:
    committer = core.desk.committer
    assert committer._session._connection is not None
    driver = committer._session._connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA max_page_count = 1")  # no page more than there are
    many = protocol.AddTasks(tasks=[task(each) for each in range(300)], experiments=[MEMORY])
    core.ok(prepare("a"))
    told = core.refused(many, "storage_failure")
    assert str(core.room.home.database) in told
    assert "no room" in told
    assert "make room" in told
    assert committer.trouble == told
    core.ok(many)
    assert committer.trouble == ""


def test_a_row_that_cannot_be_read_refuses_the_result_and_ends_nothing(core: Core) -> None:
    """Not the first: that one the driver reads while the statement is executed."""
    core.add(task(0), task(0, folder="b"))
    taken = core.take()

    def look(text: str) -> None:
        with closing(sqlite3.connect(core.room.home.database)) as base, base:
            base.execute(f"UPDATE output_directories SET look = {text} WHERE path = 'b'")

    [(before,)] = core.sql("SELECT look FROM output_directories WHERE path = 'b'")
    look("CAST(x'ff' AS TEXT)")
    submission = protocol.SubmitResult(
        task_id=taken.task_id, worker_id="w", result_data={"value": 1}
    )
    assert "decode" in core.refused(submission, "storage_failure")
    assert core.rows() == []
    look(f"'{before}'")
    core.ok(submission)
    assert len(core.rows("a")) == len(core.rows("b")) == 2
