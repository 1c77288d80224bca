"""The verbs where they meet: who may speak for an attempt, and what is heard in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import Room, signature

from sqlqueue import protocol
from sqlqueue.lifecycle import MAX_LOSSES
from sqlqueue.protocol import Ack, Error, Held, RequestTask, SubmitResult, TaskReply, TasksReply


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    yield made
    made.end()


def result(task_id: str, worker: str = "w", **fields: object) -> SubmitResult:
    data = {"result_data": {"value": 1}} | fields
    return SubmitResult(task_id=task_id, worker_id=worker, **data)  # type: ignore[arg-type]


def lose(core: Core, worker: str = "w") -> TaskReply:
    """A task whose worker falls silent."""
    taken = core.take(worker, lease_seconds=10.0)
    core.pass_time(12)
    return taken


# --- one request, several tasks ------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_request_for_several_gets_the_same_several(core: Core, restart: bool) -> None:
    core.add(*map(task, range(8)))
    request = RequestTask(worker_id="w", request_id="x", count=3)
    before = core.ok(request)
    assert isinstance(before, TasksReply)
    if restart:
        core.restart()
    assert core.desk.say(request, request) == [before, before]
    assert core.sql("SELECT count(*) FROM attempts") == [(3,)]


def test_a_request_sent_twice_before_it_was_heard_begins_one_attempt(core: Core) -> None:
    core.add(task(1), task(2))
    request = RequestTask(worker_id="w", request_id="x")
    first, second = core.desk.say(request, request)
    assert first == second
    assert len(core.outcomes()) == 1


def test_asking_again_renews_the_lease(core: Core) -> None:
    core.add(task(1))
    for _ in range(3):
        core.take(request_id="x", lease_seconds=10.0)
        core.pass_time(8)
    assert core.outcomes() == [("w", 1, None)]
    core.pass_time(4)
    assert core.outcomes() == [("w", 1, "LOST")]


def test_another_request_or_another_worker_gets_another_task(core: Core) -> None:
    core.add(*map(task, range(3)))
    asked = [("w", "x"), ("w", "y"), ("v", "x")]
    assert len({core.take(worker, request_id=name).task_id for worker, name in asked}) == 3


# --- who may speak for an attempt ----------------------------------------------------------------


def test_somebody_elses_attempt_cannot_be_failed_or_given_back(core: Core) -> None:
    core.add(task(1))
    taken = core.take("owner")
    for kind in (protocol.TaskFailed, protocol.Release):
        more = {"error": "x"} if kind is protocol.TaskFailed else {}
        message = kind(task_id=taken.task_id, worker_id="thief", attempt=1, **more)
        core.refused(message, "illegal_move")
    assert core.outcomes() == [("owner", 1, None)]


def test_somebody_elses_number_does_not_make_a_result_theirs(core: Core) -> None:
    core.add(task(1))
    taken = core.take("owner")
    core.submit(taken, "stranger", attempt=1)
    assert core.outcomes() == [("owner", 1, "SUPERSEDED"), ("stranger", 2, "COMPLETED")]
    assert core.beat(taken.task_id, worker="owner").cancel == [taken.task_id]


def test_a_lost_attempt_is_not_taken_up_again_by_another_worker(core: Core) -> None:
    core.add(task(1))
    taken = lose(core, "owner")
    for held in (taken.task_id, Held(task_id=taken.task_id, attempt=1)):
        assert core.beat(held, worker="thief").cancel == [taken.task_id]
    assert core.outcomes() == [("owner", 1, "LOST")]


def test_a_number_that_never_was_costs_no_result(core: Core) -> None:
    core.add(task(1))
    core.submit("p_0_1", attempt=41)
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_a_task_is_found_by_its_signature_whatever_its_name(core: Core) -> None:
    core.add(task(1), task(2))
    core.submit("of_another_database_0", signature=signature(2))
    assert core.states() == {"p_0_1": "PENDING", "p_1_2": "COMPLETED"}
    core.refused(result("p_0_1", signature=signature(9)), "unknown_task")


def test_an_old_attempt_that_fails_again_leaves_the_new_one_alone(core: Core) -> None:
    core.add(task(1))
    first = core.take("w")
    core.fail(first, "w")
    core.take("v")
    core.fail(first, "w", attempt=1)
    core.fail(first, "w")
    assert core.outcomes() == [("w", 1, "FAILED"), ("v", 2, None)]
    assert core.sql("SELECT failures FROM tasks") == [(1,)]


# --- results that meet ---------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("worker", ["w", "another"])
def test_the_same_result_again_is_nothing_new(core: Core, worker: str, restart: bool) -> None:
    core.add(task(1))
    core.submit(core.take())
    before = core.outcomes(), core.rows()
    if restart:
        core.restart()
    core.submit("p_0_1", worker)
    assert (core.outcomes(), core.rows()) == before
    assert core.sql("SELECT count(*) FROM results") == [(1,)]


def test_one_result_three_times_in_one_transaction_is_one_row(core: Core) -> None:
    core.add(task(1))
    core.take()
    assert core.desk.say(*[result("p_0_1")] * 3) == [Ack()] * 3
    assert len(core.rows()) == 2
    assert core.sql("SELECT count(*) FROM results") == [(1,)]


def test_two_workers_results_in_one_transaction_are_one_row(core: Core) -> None:
    core.add(task(1))
    lose(core, "w")
    core.take("v")
    other = result("p_0_1", "v", result_data={"value": 2})
    assert core.desk.say(result("p_0_1"), other) == [Ack(), Ack()]
    assert core.outcomes() == [("w", 1, "COMPLETED"), ("v", 2, "SUPERSEDED")]
    assert core.sql("SELECT metrics, accepted FROM results") == [
        ('{"value":1}', 1),
        ('{"value":2}', 0),
    ]
    assert core.rows()[1].endswith(b",1")


def test_a_failed_attempt_may_still_have_a_result(core: Core) -> None:
    core.add(task(1))
    taken = core.take()
    core.fail(taken)
    core.submit(taken, attempt=1)
    assert core.outcomes() == [("w", 1, "COMPLETED")]


def test_nesting_without_end_harms_nobody_beside_it(core: Core) -> None:
    core.add(task(1), task(2))
    nested: object = 1
    for _ in range(5000):
        nested = {"a": nested}
    bad = result("p_0_1", result_data={"deep": nested})
    replies = core.desk.say(bad, result("p_1_2"))
    assert [type(each) for each in replies] == [Error, Ack]
    assert core.states() == {"p_0_1": "PENDING", "p_1_2": "COMPLETED"}


# --- heard in one transaction --------------------------------------------------------------------


def test_an_attempt_taken_up_again_is_not_stopped_by_the_next_heartbeat(core: Core) -> None:
    core.add(task(1))
    taken = lose(core)
    held = Held(task_id=taken.task_id, attempt=1)
    hello = protocol.Announce(worker_id="w", holds=[held])
    beat = protocol.Heartbeat(worker_id="w", tasks=[held, taken.task_id])
    assert core.desk.say(hello, beat, beat) == [Ack(cancel=[])] * 3
    assert core.outcomes() == [("w", 1, None)]
    core.pass_time(12)
    assert core.outcomes() == [("w", 1, "LOST")]


def test_losses_and_failures_are_counted_apart(core: Core) -> None:
    core.add(task(1, max_attempts=2))
    for _ in range(MAX_LOSSES - 1):
        lose(core)
    core.fail(core.take())
    assert core.sql("SELECT state, failures, losses FROM tasks") == [("PENDING", 1, MAX_LOSSES - 1)]
    lose(core)
    assert core.states() == {"p_0_1": "FAILED"}


def test_a_heartbeat_does_not_revive_what_failed_or_is_completed(core: Core) -> None:
    core.add(task(1), task(2))
    core.fail(core.take())
    core.submit("p_1_2")
    assert core.beat("p_0_1", "p_1_2").cancel == ["p_0_1", "p_1_2"]
    assert core.states() == {"p_0_1": "PENDING", "p_1_2": "COMPLETED"}


def test_who_holds_what_another_runs_is_told_so_when_it_announces_itself(core: Core) -> None:
    core.add(task(1))
    core.take("other")
    hello = protocol.Announce(worker_id="w", holds=[Held(task_id="p_0_1", attempt=1)])
    assert core.ok(hello).cancel == ["p_0_1"]
    assert core.outcomes() == [("other", 1, None)]


# --- fetched ahead -------------------------------------------------------------------------------


def test_however_many_fetch_ahead_no_two_get_the_same(core: Core) -> None:
    core.add(*map(task, range(30)))
    asked = [RequestTask(worker_id=f"w{n}", reserve=True) for n in range(31)]
    found = core.desk.say(*asked)
    assert [each.task_id for each in found if isinstance(each, TaskReply)] == [
        f"p_{n}_{n}" for n in range(30)
    ]
    assert found[30] == protocol.NoTask(done=False)


def test_what_was_wanted_and_is_gone_makes_place_for_the_next(core: Core) -> None:
    core.add(task(1), task(2))
    wanted = core.take("w", reserve=True).task_id
    core.submit(wanted, "stranger")
    assert core.take("w", want=wanted).task_id == "p_1_2"


def test_who_wants_what_it_reserved_gets_it_before_others_do(core: Core) -> None:
    core.add(task(1, cost=9.0), task(2, cost=1.0))
    core.take("other", reserve=True)
    wanted = core.take("w", reserve=True).task_id
    assert core.take("w", want=wanted).task_id == wanted == "p_1_2"
