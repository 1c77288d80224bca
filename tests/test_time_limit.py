"""A worker with a time limit gets what is likely to be over in time, and nothing else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Study
from core import Core, task
from crash_scenarios import Room

from sqlqueue import protocol
from sqlqueue.errors import UsageError
from sqlqueue.protocol import NoTask, TaskReply
from sqlqueue.worker.limit import TimeLimit


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """Cells of cost 1, 10 and 100, two of each; one of cost 10 took 100 s."""
    made = Core.begin(Room(tmp_path))
    costs = [1.0, 10.0, 100.0]
    made.add(*(task(n, cost=costs[n % 3], parameters={"seed": n, "c": n % 3}) for n in range(7)))
    yield made
    made.end()


def learn(core: Core) -> None:
    core.submit("p_1_1", seconds=100.0)


def cost(core: Core, reply: protocol.Reply) -> float:
    assert isinstance(reply, TaskReply), reply
    query = f"SELECT cost FROM tasks WHERE task_id = '{reply.task_id}'"
    return float(core.sql(query)[0][0])


@pytest.mark.parametrize(
    ("left", "kind", "given"),
    [(2000.0, "gpu", 100.0), (1249.0, "gpu", 10.0), (124.0, "gpu", 1.0), (2000.0, "cpu", 1.0)],
)
def test_what_fits_is_handed_out_in_the_usual_order(
    core: Core, left: float, kind: str, given: float
) -> None:
    """A quarter more than the estimate is to be left: 1000 s fit 1250 s."""
    learn(core)
    reply = core.request(worker_type=kind, left_seconds=left, limit_seconds=14400.0)
    assert cost(core, reply) == given


def test_when_nothing_fits_the_worker_is_told_why_and_is_to_end(core: Core) -> None:
    learn(core)
    reply = core.request(left_seconds=12.0, limit_seconds=14400.0)
    assert isinstance(reply, NoTask)
    assert not reply.done
    assert "of the tasks that wait (6) none is likely to be over in the 12 s" in reply.end
    assert "the shortest takes about 10 s" in reply.end
    assert cost(core, core.request()) == 100.0  # one without a limit gets the largest


def test_what_nobody_knows_is_begun_in_the_first_half(core: Core) -> None:
    assert isinstance(core.request("a", left_seconds=50.0, limit_seconds=100.0), TaskReply)
    reply = core.request("b", left_seconds=49.0, limit_seconds=100.0)
    assert isinstance(reply, NoTask)
    assert "it is not known how long they take" in reply.end


def test_another_kind_of_device_is_another_time(core: Core) -> None:
    core.submit("p_1_1", seconds=100.0, device="cpu")
    little = {"left_seconds": 200.0, "limit_seconds": 1000.0}
    assert isinstance(core.request("a", device="cuda:0", **little), NoTask)
    assert isinstance(core.request("b", device="cpu", **little), TaskReply)


def test_a_reserved_task_that_no_longer_fits_is_not_begun(core: Core) -> None:
    learn(core)
    much, little = {"left_seconds": 2000.0}, {"left_seconds": 124.0}
    ahead = core.request(reserve=True, limit_seconds=14400.0, **much)
    assert cost(core, ahead) == 100.0
    assert isinstance(ahead, TaskReply)
    reply = core.request(want=ahead.task_id, limit_seconds=14400.0, **little)
    assert cost(core, reply) == 1.0


def test_with_nothing_that_waits_it_stays_like_any_worker(core: Core) -> None:
    learn(core)
    for name in "abcdef":
        core.take(name)
    reply = core.request("late", left_seconds=1.0, limit_seconds=10.0)
    assert reply == NoTask(done=False)


def test_what_is_paused_is_no_reason_to_end(core: Core) -> None:
    learn(core)
    core.ok(protocol.Pause(select=["phase=p"]))
    reply = core.request(left_seconds=1.0, limit_seconds=10.0)
    assert isinstance(reply, NoTask)
    assert (reply.end, "paused" in reply.waits) == ("", True)


def test_priority_comes_before_cost(core: Core) -> None:
    learn(core)
    core.ok(protocol.SetPriority(select=["p_0_0"], priority=5))
    assert core.take(left_seconds=2000.0, limit_seconds=14400.0).task_id == "p_0_0"


def test_priority_comes_before_what_is_alike(core: Core) -> None:
    """The next of one shape comes after a more urgent one of another."""
    learn(core)
    core.ok(protocol.SetPriority(select=["p_2_2"], priority=9))
    core.ok(protocol.SetPriority(select=["p_0_0"], priority=5))
    reply = core.request(left_seconds=2000.0, limit_seconds=14400.0, count=2)
    assert isinstance(reply, protocol.TasksReply)
    assert [each.task_id for each in reply.tasks] == ["p_2_2", "p_0_0"]


def test_the_margin_is_a_tenth_and_a_minute_at_most() -> None:
    now = [5.0]
    short, long = TimeLimit(100.0, lambda: now[0]), TimeLimit(14400.0, lambda: now[0])
    assert (short.left_seconds(), long.left_seconds()) == (90.0, 14340.0)
    now[0] += 89.0
    assert short.left_seconds() == 1.0
    now[0] += 100.0
    assert short.left_seconds() == 0.0
    assert short.grace_seconds < short.margin_seconds


# --- for real -----------------------------------------------------------------------------


def test_at_its_limit_a_worker_gives_back_what_runs_and_ends_well(study: Study) -> None:
    study.set_up(
        study.write("a.yaml", "results", "careful", combinations={"seed": [1]}, max_attempts=1)
    )
    (study.root / "save").touch()
    study.manager.start()
    study.worker("--time-limit", "8")
    assert study.worker_ends() == 0
    assert "the time limit is over" in study.said
    assert study.attempts() == ["RELEASED"]
    assert study.totals() == {"pending": 1}
    study.go()
    study.work()
    (row,) = study.rows("results")
    assert (row["begun"], row["saved"]) == ("2", "True")


@pytest.mark.slow
def test_the_limit_ends_what_an_announced_preemption_left_open(study: Study) -> None:
    """SIGUSR1 gives an experiment all the time that there is, and no more."""
    study.set_up(
        study.write("a.yaml", "results", "careful", combinations={"seed": [1]}, max_attempts=1)
    )
    study.manager.start()
    worker = study.worker("--time-limit", "8")
    study.started(1)
    worker.send_signal(signal.SIGUSR1)  # it is told, and never done: the file `save` is not there
    assert study.worker_ends() == 128 + signal.SIGUSR1
    assert "the time limit is over" in study.said
    assert study.attempts() == ["RELEASED"]
    assert study.totals() == {"pending": 1}


def test_a_worker_for_which_nothing_fits_ends_at_once_and_well(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1, 2]}))
    study.manager.start()
    said = {"worker_id": "w", "device": "cpu", "result_data": {"value": 1}, "seconds": 7200}
    study.manager.ask({"type": "submit_result", "task_id": "grid_0_1", **said})
    study.work("--time-limit", "1:30:00")
    assert "ends: of the tasks that wait (1) none is likely to be over in the 89 min" in study.said
    assert study.runs() == []
    assert study.totals() == {"completed": 1, "pending": 1}


@pytest.mark.parametrize("typed", ["0", "-3", "soon", "3:99:00"])
def test_a_limit_that_is_none_is_refused(study: Study, typed: str) -> None:
    done = study.cli("work", "--cpu", f"--time-limit={typed}")
    assert done.returncode == UsageError.exit_status
    assert "3:50:00" in done.stderr
