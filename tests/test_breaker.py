"""The circuit breaker, asked of a manager's core: when it trips, when not, and what ends it.

What is not here: real processes (`test_breaker_live.py`), pauses as such (`test_steering.py`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room

from sqlqueue import protocol
from sqlqueue.protocol import Ack, Cancel, NoTask, Pause, Release, Resume, Retry, TaskReply
from sqlqueue.report_breaker import is_stuck
from sqlqueue.store import wishing
from sqlqueue.store.audit import verify

CELLS = 3
FAILS = "Traceback (most recent call last):\nKeyError: 'poison'"


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    made.desk.committer.book.breaker_cells = CELLS
    yield made
    made.end()


def restart(core: Core) -> None:
    core.restart()
    core.desk.committer.book.breaker_cells = CELLS


def add(core: Core, *numbers: int, phase: str = "p", **fields: Any) -> None:
    core.add(*(task(each, phase, max_attempts=1, **fields) for each in numbers))


def fail(core: Core, taken: TaskReply, error: str = FAILS, **fields: Any) -> None:
    said = protocol.TaskFailed(task_id=taken.task_id, worker_id="w", error=error, **fields)
    assert core.ok(said) == Ack()


def fail_next(core: Core, times: int = 1, error: str = FAILS, **fields: Any) -> None:
    for _ in range(times):
        fail(core, core.take(), error, **fields)


def phase(core: Core, name: str = "p") -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in core.figures()["phases"] if each["phase"] == name)
    return found


def tripped(core: Core, name: str = "p") -> bool:
    found = phase(core, name)
    assert found["breaker"] is None or found["paused"]
    return found["breaker"] is not None


def test_a_rerun_ends_the_pause_as_a_retry_does(core: Core) -> None:
    """What ran once more in vain is completed, so that only `rerun` takes it up again."""
    add(core, *range(CELLS))
    for _ in range(CELLS):
        core.submit(core.take())
    core.ok(protocol.Rerun(all=True))
    fail_next(core, CELLS)
    assert tripped(core)
    notes = core.ok(protocol.Rerun(all=True)).notes
    assert notes == ["phase p goes on: the breaker had paused it"]
    assert not tripped(core)
    assert isinstance(core.request(), TaskReply)


# --- when it trips ----------------------------------------------------------------------------


def test_so_many_cells_that_fail_alike_pause_their_phase(
    core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    add(core, *range(6))
    running = core.take()
    fail_next(core, CELLS - 1)
    assert not tripped(core)
    with caplog.at_level(logging.WARNING, "sqlqueue.manager"):
        fail_next(core)
    assert tripped(core)
    assert (
        "Phase p is paused by the breaker: 3 cells in a row failed alike: KeyError: 'poison'"
        in (caplog.text)
    )
    for cure in ("`sqlqueue failures phase=p`", "`sqlqueue resume phase=p`"):
        assert cure in caplog.text
    found = phase(core)["breaker"]
    assert (found["cells"], found["outcome"], found["error"]) == (3, "FAILED", "KeyError: 'poison'")
    reply = core.request()
    assert isinstance(reply, NoTask)
    assert (reply.done, reply.end) == (False, "")
    assert "(p, by the breaker); `sqlqueue failures` tells why" in reply.waits
    assert core.beat(running.task_id).cancel == [], "what runs goes on"
    core.submit(running)
    assert len(core.rows()) == 2
    assert tripped(core), "that one cell can work says nothing of what made it trip"


def test_the_numbers_that_vary_make_no_other_kind(core: Core) -> None:
    add(core, *range(6))
    for number in range(CELLS):
        fail_next(core, error=f"CUDA out of memory. Tried to allocate {number}.00 GiB")
    assert tripped(core)


def test_one_cell_that_fails_again_and_again_is_one(core: Core) -> None:
    core.add(*(task(each, max_attempts=9) for each in range(6)))
    for _ in range(CELLS + 2):
        fail(core, core.take(want="p_0_0"))
    assert not tripped(core)


def test_another_kind_does_not_count_and_does_not_hide(core: Core) -> None:
    add(core, *range(9))
    for _ in range(CELLS - 1):
        fail_next(core)
        fail_next(core, error="ValueError: something else")
    assert not tripped(core)
    fail_next(core)
    assert tripped(core)


def test_while_others_complete_it_does_not_trip(core: Core) -> None:
    add(core, *range(12))
    for _ in range(3):
        fail_next(core, CELLS - 1)
        core.submit(core.take())
    assert not tripped(core)
    fail_next(core, CELLS - 1)
    assert not tripped(core)


def test_what_says_nothing_of_the_phase_does_not_count(core: Core) -> None:
    core.add(*(task(each) for each in range(8)))
    for _ in range(CELLS + 1):
        taken = core.take("gone")
        assert taken.task_id
    core.pass_time(100.0)
    assert [outcome for *_, outcome in core.outcomes()] == ["LOST"] * (CELLS + 1)
    for _ in range(CELLS + 1):
        taken = core.take()
        core.ok(Release(task_id=taken.task_id, worker_id="w", reason="cannot run here: no torch"))
    ids = [core.take().task_id for _ in range(CELLS + 1)]
    core.ok(Cancel(select=ids))
    for each in ids:
        said = protocol.TaskFailed(task_id=each, worker_id="w", error=FAILS)
        assert core.ok(said) == Ack()
    assert not tripped(core)
    assert core.sql("SELECT * FROM streaks") == []


def test_zero_turns_it_off(core: Core) -> None:
    core.desk.committer.book.breaker_cells = 0
    add(core, *range(CELLS + 3))
    fail_next(core, CELLS + 3)
    assert not tripped(core)


def test_a_cell_that_two_phases_want_counts_in_both_and_an_unpaused_one_gets_it(core: Core) -> None:
    for number in range(6):
        add(core, number)
        if number != 4:
            add(core, number, phase="q")
    core.add(task(9, "q", max_attempts=1))
    fail_next(core, CELLS)
    assert tripped(core) and tripped(core, "q")
    core.ok(Resume(select=["phase=q"]))
    assert core.take().task_id == "p_3_3"


# --- size -------------------------------------------------------------------------------------


def sized(core: Core) -> None:
    core.add(*(task(each, max_attempts=1, cost=64.0) for each in range(5)))
    core.add(*(task(each, max_attempts=1, cost=4.0) for each in range(5, 10)))


@pytest.mark.parametrize("outcome", ["OOM", "TIMEOUT"])
def test_while_a_smaller_cell_waits_size_may_be_the_reason(core: Core, outcome: str) -> None:
    sized(core)
    fail_next(core, 5, "CUDA out of memory", outcome=outcome)
    assert not tripped(core), "GPUs get the largest first"
    fail_next(core, 1, "CUDA out of memory", outcome=outcome)
    assert tripped(core), "none smaller than the smallest that failed is left"


def test_any_other_failure_has_nothing_to_do_with_size(core: Core) -> None:
    sized(core)
    fail_next(core, CELLS)
    assert tripped(core)


# --- what it outlives, and what ends it --------------------------------------------------------


def test_it_outlives_the_manager_while_it_counts_and_when_it_has_tripped(core: Core) -> None:
    add(core, *range(8))
    fail_next(core, CELLS - 1)
    restart(core)
    fail_next(core)
    assert tripped(core)
    restart(core)
    assert tripped(core)
    assert isinstance(core.request(), NoTask)


def test_resume_ends_it_and_it_counts_anew(core: Core) -> None:
    add(core, *range(12))
    fail_next(core, CELLS)
    (note,) = core.ok(Resume(select=["phase=p"])).notes
    assert note == "phase p goes on"
    assert not tripped(core)
    fail_next(core, CELLS - 1)
    assert not tripped(core), "not at once again"
    fail_next(core)
    assert tripped(core)
    core.ok(Resume(all=True))
    assert not tripped(core)


def test_retry_ends_it_too_and_says_so(core: Core) -> None:
    add(core, *range(6))
    add(core, 9, phase="q")
    fail_next(core, CELLS)
    dry = core.ok(Retry(select=["phase=p"], dry_run=True))
    assert dry.notes == ["phase p would go on: the breaker had paused it"]
    assert tripped(core)
    assert core.ok(Retry(select=["phase=q"])).notes == []
    assert tripped(core)
    found = core.ok(Retry(select=["state=failed"]))
    assert (found.done, found.notes) == (
        {"FAILED": CELLS},
        ["phase p goes on: the breaker had paused it"],
    )
    assert not tripped(core)
    assert isinstance(core.request(), TaskReply)


def test_retry_ends_it_although_all_that_failed_has_attempts_left(core: Core) -> None:
    core.add(*(task(each, max_attempts=9) for each in range(6)))
    for number in range(CELLS):
        fail(core, core.take(want=f"p_{number}_{number}"))
    assert tripped(core)
    found = core.ok(Retry(select=["phase=p"]))
    assert (found.done, found.left) == ({}, {"pending already": 6})
    assert found.notes == ["phase p goes on: the breaker had paused it"]
    assert not tripped(core)


def test_what_a_person_has_paused_it_leaves_to_the_person(core: Core) -> None:
    add(core, *range(8))
    running = [core.take() for _ in range(CELLS + 1)]
    core.ok(Pause(select=["phase=p"]))
    for each in running:
        fail(core, each)
    assert phase(core)["paused"]
    assert not tripped(core)
    core.ok(Resume(select=["phase=p"]))
    fail_next(core, CELLS - 1)
    assert not tripped(core), "what failed meanwhile was seen by the person"
    fail_next(core)
    (note,) = core.ok(Pause(select=["phase=p"])).notes
    assert note == "phase p was paused already by the breaker"


def test_of_a_long_phase_the_marks_are_set_some_at_a_time(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishing, "BITE_TASKS", 2)
    add(core, *range(9))
    fail_next(core, CELLS)
    assert tripped(core)
    core.pass_time(30.0)
    assert core.sql("SELECT count(*) FROM tasks WHERE held") == [(9,)]
    assert isinstance(core.request(), NoTask)
    core.ok(Retry(select=["state=failed"]))
    core.pass_time(30.0)
    assert core.sql("SELECT count(*) FROM tasks WHERE held") == [(0,)]


# --- what is left -------------------------------------------------------------------------------


def test_only_what_the_breaker_holds_is_left(core: Core) -> None:
    add(core, *range(6))
    add(core, 9, phase="q")
    fail_next(core, CELLS)
    found = core.figures()
    assert (found["held"], found["totals"]["pending"], is_stuck(found)) == (3, 4, False)
    other = core.take()
    assert not is_stuck(core.figures()), "something runs"
    core.submit(other)
    assert is_stuck(core.figures())
    core.ok(Pause(all=True))
    assert not is_stuck(core.figures()), "somebody is at it"
    core.ok(Resume(all=True))
    assert not is_stuck(core.figures())


def test_what_a_person_paused_is_waited_for(core: Core) -> None:
    add(core, *range(6))
    add(core, 9, phase="q")
    core.ok(Pause(select=["phase=q"]))
    fail_next(core, CELLS)
    assert core.figures()["held"] == 4
    assert not is_stuck(core.figures())


def test_the_audit_sees_a_breaker_without_its_pause(tmp_path: Path) -> None:
    core = Core.begin(Room(tmp_path / "queue"))
    core.desk.committer.book.breaker_cells = CELLS
    add(core, *range(CELLS))
    fail_next(core, CELLS)
    core.end()
    with closing(sqlite3.connect(core.room.home.database)) as base, base:
        base.execute("UPDATE phases SET paused = 0")
        base.execute("UPDATE tasks SET held = 0")
    assert [each.message for each in verify(core.room.home)] == [
        "the breaker has paused the phase, and it is not paused"
    ]
