"""Completed tasks once more, asked of a manager's core: which row stands when, and which attempt.

What is not here: deaths in between (`test_crash*.py`), random histories (`test_verbs_model.py`),
real processes (`test_once_more_live.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Room
from faults import FaultyDisk, Plan

from sqlqueue import protocol
from sqlqueue.failing import failures
from sqlqueue.lifecycle import MAX_LOSSES
from sqlqueue.protocol import Cancel, Held, NoTask, Rerun, Retry, SubmitResult
from sqlqueue.report_failures import failure_lines
from sqlqueue.store import rewriting
from sqlqueue.store.audit import verify
from sqlqueue.tables import Page


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path / "queue"))
    yield made
    made.end()


def rerun(core: Core, *words: str, **fields: Any) -> protocol.SteeredReply:
    found = core.ok(Rerun(select=list(words), **fields))
    assert isinstance(found, protocol.SteeredReply)
    return found


def values(core: Core, folder: str = "a") -> dict[str, str]:
    """The last cell of each row, by task."""
    lines = [line.decode().split(",") for line in core.rows(folder)[1:]]
    assert len({line[1] for line in lines}) == len(lines), "a task has two rows"
    return {line[1]: line[-1] for line in lines}


def done(core: Core, *cells: int, folders: str = "ab") -> None:
    """Adds cells for each of these directories, and completes them with the value 1."""
    for folder in folders:
        core.add(*(task(cell, folder=folder) for cell in cells))
    for _ in cells:
        core.submit(core.take())


# --- the way of it ----------------------------------------------------------------------------


def test_the_row_stays_until_the_new_one_takes_its_place_everywhere(core: Core) -> None:
    done(core, 0, 1)
    assert rerun(core, "seed=0").done == {"COMPLETED": 1}
    before = core.rows("a"), core.rows("b")
    assert core.states() == {"p_0_0": "PENDING", "p_1_1": "COMPLETED"}
    assert core.figures()["rerunning"] == 1
    taken = core.take("v")
    assert (taken.task_id, taken.attempt, taken.rerun_after) == ("p_0_0", 2, 1)
    assert (core.rows("a"), core.rows("b")) == before
    core.submit(taken, "v", data={"value": 2})
    for folder in "ab":
        assert values(core, folder) == {"p_0_0": "2", "p_1_1": "1"}
        assert [line.split(b",")[1] for line in core.rows(folder)[1:]] == [b"p_0_0", b"p_1_1"]
    assert core.outcomes() == [
        ("w", 1, "SUPERSEDED"), ("w", 1, "COMPLETED"), ("v", 2, "COMPLETED"),
    ]  # fmt: skip
    assert core.figures()["rerunning"] == 0
    core.restart()
    assert values(core) == {"p_0_0": "2", "p_1_1": "1"}


def test_again_and_again(core: Core) -> None:
    done(core, 0)
    for value in (2, 3, 4):
        rerun(core, "p_0_0")
        core.submit(core.take(), data={"value": value})
        assert values(core) == values(core, "b") == {"p_0_0": str(value)}
    assert core.sql("SELECT count(*), sum(accepted) FROM results") == [(4, 1)]


def test_many_in_one_batch_cost_one_new_file_each_directory(core: Core) -> None:
    done(core, *range(6))
    core.add(task(7))
    rerun(core, "seed<5")
    taken = [core.take() for _ in range(6)]
    plan = Plan()
    core.end()
    core.desk = type(core.desk)(core.room.home, FaultyDisk(plan))
    core.desk.committer.open()
    before = len(plan.calls)
    replies = core.desk.say(
        *(
            SubmitResult(task_id=each.task_id, worker_id="w", result_data={"value": 9})
            for each in taken
        )
    )
    assert [type(each).__name__ for each in replies] == ["Ack"] * 6
    renamed = [where for name, where in plan.calls[before:] if name == "replace"]
    assert sorted(renamed) == ["a", "b"]
    assert values(core) == {f"p_{n}_{n}": "9" for n in range(5)} | {"p_5_5": "1", "p_6_7": "9"}
    assert values(core, "b") == {f"p_{n}_{n}": "9" for n in range(5)} | {"p_5_5": "1"}


def test_a_new_metric_widens_first(core: Core) -> None:
    done(core, 0, 1)
    rerun(core, "seed=0")
    core.submit(core.take(), data={"value": 2, "more": float("nan")})
    assert core.rows()[0].endswith(b",value,more")
    assert [line.split(b",")[-2:] for line in core.rows()[1:]] == [[b"2", b"nan"], [b"1", b""]]
    rerun(core, "seed=0")
    core.submit(core.take(), data={"value": 3, "more": float("nan")})
    assert core.rows()[1].endswith(b",3,nan")


def test_all_in_one_transaction(core: Core) -> None:
    """Completed, to run once more, completed with another result: one row, the last one."""
    core.add(task(0))
    results = [
        SubmitResult(task_id="p_0_0", worker_id=f"w{n}", result_data={"value": n}) for n in range(3)
    ]
    again = Rerun(all=True)
    core.desk.say(results[0], again, results[1], again, results[2])
    assert values(core) == {"p_0_0": "2"}
    core.add(task(0, folder="b"))
    core.desk.say(again, *results)
    assert values(core) == {"p_0_0": "2"}, "they are of before"
    last = SubmitResult(task_id="p_0_0", worker_id="x", result_data={"value": 4})
    core.desk.say(last, again, results[0])
    assert values(core) == values(core, "b") == {"p_0_0": "4"}


def test_the_same_result_once_more_and_a_result_of_before(core: Core) -> None:
    done(core, 0)
    old = SubmitResult(task_id="p_0_0", worker_id="w", attempt=1, result_data={"value": 1})
    rerun(core, "p_0_0")
    core.ok(old)
    assert core.states() == {"p_0_0": "PENDING"}, "the old result, of which the ack was lost"
    taken = core.take("v")
    core.ok(protocol.SubmitResult(task_id="p_0_0", worker_id="w", result_data={"value": 7}))
    assert core.states() == {"p_0_0": "RUNNING"}, "of an attempt from before"
    assert values(core) == {"p_0_0": "1"}
    core.submit(taken, "v", data={"value": 2})
    core.submit(taken, "v", data={"value": 2})
    core.ok(old)
    assert values(core) == values(core, "b") == {"p_0_0": "2"}


def test_a_result_of_an_attempt_of_before_that_is_not_known_is_of_before_too(core: Core) -> None:
    """As after `recover`, which knows of the attempt only what stands in a CSV."""
    done(core, 0)
    rerun(core, "p_0_0")
    late = SubmitResult(task_id="p_0_0", worker_id="late", attempt=1, result_data={"value": 9})
    core.ok(late)
    core.ok(late)
    assert core.states() == {"p_0_0": "PENDING"}
    assert values(core) == {"p_0_0": "1"}
    assert core.sql("SELECT count(*) FROM results") == [(2,)]


def test_how_long_a_rerun_takes_is_learnt(core: Core) -> None:
    core.add(*(task(n, parameters={"seed": n}) for n in range(2)))
    core.submit(core.take(), seconds=10.0)
    rerun(core, "seed=0")
    core.ok(protocol.Cancel(select=["seed=1"]))
    core.submit(core.take(), seconds=50.0, data={"value": 2})
    assert core.sql("SELECT seconds FROM paces") == [("[10.0, 50.0]",)]


def test_an_attempt_of_before_is_not_taken_up_again(core: Core) -> None:
    core.add(task(0))
    core.take("slow")
    core.pass_time(70.0)
    core.submit(core.take("w"), "w")
    rerun(core, "p_0_0")
    assert core.beat(Held(task_id="p_0_0", attempt=1), worker="slow").cancel == ["p_0_0"]
    assert core.states() == {"p_0_0": "PENDING"}
    core.submit("p_0_0", "slow", attempt=1, data={"value": 8})
    assert core.states() == {"p_0_0": "PENDING"}
    assert values(core) == {"p_0_0": "1"}


# --- when it comes to nothing -----------------------------------------------------------------


def test_one_that_fails_for_good_keeps_its_result(core: Core) -> None:
    done(core, 0)
    rerun(core, "p_0_0")
    for left in (2, 1, 0):
        core.fail(core.take())
        assert core.states() == {"p_0_0": "PENDING" if left else "COMPLETED"}
    assert values(core) == values(core, "b") == {"p_0_0": "1"}
    assert core.outcomes()[0] == ("w", 1, "COMPLETED")
    assert core.figures()["failures"] == []
    assert core.figures()["reruns_failed"] == 1
    (group,) = failures(core.room.home, [])
    assert (group["count"], group["kept"], group["final"], group["again"]) == (1, 1, 0, 0)
    assert "in vain" in "\n".join(failure_lines([group], Page()))
    rerun(core, "p_0_0")
    assert core.figures()["reruns_failed"] == 0
    assert failures(core.room.home, []) == [], "that is of before"
    core.fail(core.take())
    assert core.states() == {"p_0_0": "PENDING"}, "its attempts are counted anew"
    (group,) = failures(core.room.home, [])
    assert (group["kept"], group["again"]) == (0, 1)
    core.submit(core.take(), data={"value": 2})
    assert failures(core.room.home, []) == []
    assert core.figures()["reruns_failed"] == 0


def test_one_that_is_lost_too_often_keeps_its_result(core: Core) -> None:
    done(core, 0)
    rerun(core, "p_0_0")
    for _ in range(MAX_LOSSES):
        core.take()
        core.pass_time(70.0)
    assert core.states() == {"p_0_0": "COMPLETED"}


@pytest.mark.parametrize("running", [False, True])
def test_one_that_is_cancelled_keeps_its_result(core: Core, running: bool) -> None:
    done(core, 0)
    rerun(core, "p_0_0")
    if running:
        core.take()
    found = core.ok(Cancel(select=["p_0_0"]))
    assert sum(found.done.values()) == 1
    assert "results that they had" in found.notes[0]
    assert core.states() == {"p_0_0": "COMPLETED"}
    assert [each["completed"] for each in core.figures()["phases"]] == [1]
    assert core.beat("p_0_0").cancel == ["p_0_0"]
    assert values(core) == {"p_0_0": "1"}
    assert rerun(core, "p_0_0").done == {"COMPLETED": 1}
    core.submit(core.take(), data={"value": 3})
    assert values(core) == {"p_0_0": "3"}


def test_a_late_result_of_a_cancelled_rerun_is_a_further_one(core: Core) -> None:
    done(core, 0)
    rerun(core, "p_0_0")
    taken = core.take()
    core.ok(Cancel(all=True))
    core.submit(taken, attempt=taken.attempt, data={"value": 5})
    assert values(core) == {"p_0_0": "1"}
    assert core.outcomes()[-1] == ("w", 2, "SUPERSEDED")


def test_a_directory_that_cannot_be_written_has_the_result_wait(core: Core) -> None:
    done(core, 0)
    rerun(core, "p_0_0")
    taken = core.take()
    folder = core.room.csv("b").parent
    folder.rename(folder.with_name("away"))
    reply = core.ask(SubmitResult(task_id="p_0_0", worker_id="w", result_data={"value": 2}))
    assert isinstance(reply, protocol.Error)
    assert reply.retryable
    assert values(core) == {"p_0_0": "1"}
    assert core.states() == {"p_0_0": "RUNNING"}
    folder.with_name("away").rename(folder)
    core.desk.later()
    core.submit(taken, data={"value": 2})
    assert values(core) == values(core, "b") == {"p_0_0": "2"}


def test_what_a_person_saved_meanwhile_is_kept(core: Core) -> None:
    done(core, 0, 1)
    rerun(core, "p_0_0")
    theirs = core.room.csv("a").read_bytes() + b"mine,too\n"
    core.room.csv("a").write_bytes(theirs)
    core.submit(core.take(), data={"value": 2})
    assert values(core) == {"p_0_0": "2", "p_1_1": "1"}
    kept = [each.read_bytes() for each in core.room.home.salvage.iterdir()]
    assert kept == [b"mine,too\n"]


def test_files_are_written_some_at_a_time(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "MOST_TOGETHER", 2)
    done(core, 0, folders="abcde")
    rerun(core, "p_0_0")
    core.submit(core.take(), data={"value": 2})
    assert all(values(core, folder) == {"p_0_0": "2"} for folder in "abcde")


# --- links and cells meanwhile ----------------------------------------------------------------


def test_a_link_added_meanwhile_gets_the_old_row_and_then_the_new(core: Core) -> None:
    done(core, 0, folders="a")
    rerun(core, "p_0_0")
    added = core.add(task(0, folder="b"))
    assert added.delivered == 1
    assert values(core, "b") == {"p_0_0": "1"}
    core.take()
    core.add(task(0, folder="c"))
    assert values(core, "c") == {"p_0_0": "1"}
    core.submit("p_0_0", data={"value": 2})
    assert [values(core, folder) for folder in "abc"] == [{"p_0_0": "2"}] * 3


def test_a_link_and_the_new_result_in_one_transaction(core: Core) -> None:
    done(core, 0, folders="a")
    core.add(task(1, folder="b"))
    rerun(core, "p_0_0")
    taken = core.take()
    link = protocol.AddTasks(tasks=[task(0, folder="b")])
    result = SubmitResult(task_id=taken.task_id, worker_id="w", result_data={"value": 2})
    core.desk.say(link, result)
    assert values(core) == values(core, "b") == {"p_0_0": "2"}


def test_what_is_not_to_run_once_more_is_told_why(core: Core) -> None:
    core.add(task(0, max_attempts=1), task(1), task(2))
    core.fail(core.take())
    core.submit(core.take())
    found = core.ok(Rerun(all=True, dry_run=True))
    assert (found.done, found.left) == (
        {"COMPLETED": 1},
        {"not completed: they have no result yet": 2},
    )
    assert "PENDING" not in core.states()["p_1_1"]
    core.ok(Rerun(all=True))
    assert core.ok(Rerun(all=True)).left == {
        "not completed: they have no result yet": 2,
        "to run once more already": 1,
    }
    core.ok(Cancel(all=True))
    assert core.ok(Retry(select=["state=completed"])).done == {}


def test_what_no_phase_wants_is_left(core: Core) -> None:
    core.add(task(0))
    taken = core.take()
    core.ok(Cancel(all=True))
    core.submit(taken)
    found = rerun(core, "p_0_0")
    assert found.done == {}
    assert "wanted by no phase" in next(iter(found.left))
    core.add(task(0))
    assert rerun(core, "p_0_0").done == {"COMPLETED": 1}


def test_a_paused_phase_has_its_reruns_wait(core: Core) -> None:
    done(core, 0)
    core.ok(protocol.Pause(select=["phase=p"]))
    rerun(core, "p_0_0")
    assert isinstance(core.request(), NoTask)
    core.ok(protocol.Resume(select=["phase=p"]))
    core.take()


def test_a_worker_may_not_say_it(core: Core) -> None:
    from sqlqueue.manager.committer import Job

    done(core, 0)
    for each in (Rerun(all=True), protocol.Unlink(output_dir="a")):
        ((_, reply),) = core.desk.committer.process([Job(each, "worker")])
        assert isinstance(reply, protocol.Error)
        assert reply.code == "not_authorised"


# --- code ---------------------------------------------------------------------------------------


def test_code_selects_by_what_the_row_comes_from(core: Core) -> None:
    core.add(*map(task, range(4)))
    for code in ("a1b2c3d4e5", "a1b2c3d4e5+9f8e7d6c", "files-00112233", ""):
        core.submit(core.take(), code_version=code)
    for word, cells in {
        "code=a1b2c3d4e5": [0],
        "code=a1b2c3d": [0],
        "code=a1b2c3d4e5f6a7b8c9d0": [0],
        "code=a1b2c3d*": [0, 1],
        "code=a1b2c3d4e5+9f8e7d6c,files-00112233": [1, 2],
        "code=unknown": [3],
        "code=ffffffffff": [],
    }.items():
        assert rerun(core, word, dry_run=True).done.get("COMPLETED", 0) == len(cells), word
    rerun(core, "seed=0")
    core.fail(core.take(), code_version="ffffffffff")
    core.ok(Cancel(select=["seed=0"]))
    assert rerun(core, "code=a1b2c3d", dry_run=True).done == {"COMPLETED": 1}
    core.refused(Rerun(select=["code>1"]), "usage")


def test_adding_tells_of_which_code_completed_cells_are(core: Core) -> None:
    core.add(task(0), task(1), task(2))
    for code in ("old", "old", "new"):
        core.submit(core.take(), code_version=code)
    cells = [task(0), task(1), task(2), task(3), task(0, "q")]
    reply = core.add(*cells)
    found = {(each.phase, each.experiment, each.code): each.count for each in reply.reused}
    assert found == {("p", "m:f", "old"): 2, ("p", "m:f", "new"): 1, ("q", "m:f", "old"): 1}
    rerun(core, "seed=0")
    reply = core.add(*cells)
    assert {each.code: each.count for each in reply.reused} == {"old": 1, "new": 1}


def test_what_an_attempt_ran_with_is_kept(core: Core) -> None:
    core.add(task(0), task(1))
    told = {"python": "3.11.7", "torch": "2.3.1"}
    core.submit(core.take(), code_version="a1b2c3d4e5", versions=told)
    core.fail(core.take(), versions={"python": "3.12.0"})
    core.submit("p_1_1", "stranger")
    found = core.sql("SELECT code_version, versions FROM attempts ORDER BY id")
    assert found == [
        ("a1b2c3d4e5", '{"python": "3.11.7", "torch": "2.3.1"}'),
        ("", '{"python": "3.12.0"}'),
        ("", "{}"),
    ]


# --- the audit ----------------------------------------------------------------------------------

SPOILT = {
    "UPDATE tasks SET rerun_after = 0": "is to run, but not once more",
    "UPDATE tasks SET state = 'CANCELLED'": "but has a result",
    "UPDATE results SET accepted = 0": "without a result",
}


@pytest.mark.parametrize("statement", SPOILT)
def test_the_audit_sees_what_does_not_fit(tmp_path: Path, statement: str) -> None:
    core = Core.begin(Room(tmp_path / "queue"))
    done(core, 0)
    rerun(core, "p_0_0")
    core.end()
    with closing(sqlite3.connect(core.room.home.database)) as base, base:
        base.execute(statement)
    found = [each.message for each in verify(core.room.home)]
    assert any(SPOILT[statement] in each for each in found), found
