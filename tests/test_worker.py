"""The worker as a whole: real manager, real worker, real children, and signals to each."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_queue import SECONDS, Queue, gone

from support import later, stop, wait_until

CHILD = "sqlqueue.worker.child"


def test_runs_everything_in_one_warm_child(queue: Queue) -> None:
    queue.init("count", [1, 2, 3])
    queue.manager.start()
    assert queue.work() == 0
    rows = queue.rows()
    assert sorted(row["calls"] for row in rows) == ["1", "2", "3"]
    assert len({row["pid"] for row in rows}) == 1
    assert list(queue.home.attempts.iterdir()) == []
    assert len(list(queue.home.logs.glob("exp_*/1.log"))) == 3
    assert queue.said.count("submitted exp_") == 3


@pytest.mark.slow
def test_failures_are_reported_with_their_traceback_and_tried_again(queue: Queue) -> None:
    queue.init("boom", [1], max_attempts=2)
    queue.manager.start()
    assert queue.work() == 0
    [failure] = queue.status()["failures"]
    assert "ValueError: no luck with 1" in failure["error"]
    assert queue.attempts() == [("exp_0_1", 1, "FAILED"), ("exp_0_1", 2, "FAILED")]


@pytest.mark.slow
def test_the_directory_is_kept_across_attempts(queue: Queue) -> None:
    queue.init("flaky", [1])
    queue.manager.start()
    assert queue.work() == 0
    assert [row["ok"] for row in queue.rows()] == ["True"]


def test_slots_work_side_by_side(queue: Queue) -> None:
    queue.init("wait_for_file", [1, 2])
    queue.manager.start()
    process = queue.worker("cpu=True, slots=2")
    pids = queue.started(1) + queue.started(2)
    assert len(set(pids)) == 2
    assert len(list(queue.home.workers.glob("*-cpu*.lock"))) == 2
    queue.go()
    assert process.wait(SECONDS) == 0
    assert len(queue.rows()) == 2


def test_two_workers_on_one_host_have_two_names(queue: Queue) -> None:
    queue.init("wait_for_file", [1, 2])
    queue.manager.start()
    first = queue.worker()
    queue.says("running")
    second = queue.worker()
    queue.started(1)
    queue.started(2)
    names = {each["worker_id"] for each in queue.status()["workers"]}
    assert len(names) == 2
    queue.go()
    assert (first.wait(SECONDS), second.wait(SECONDS)) == (0, 0)


@pytest.mark.slow
def test_waits_for_a_manager_that_is_not_there_yet(queue: Queue) -> None:
    queue.init("add", [1])
    process = queue.worker()
    queue.says("waiting for a manager")
    queue.manager.start()
    assert process.wait(SECONDS) == 0
    assert len(queue.rows()) == 1


@pytest.mark.slow
def test_progress_reaches_status(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker()

    def shown() -> dict[str, Any] | None:
        workers = queue.status()["workers"]
        tasks = [task for worker in workers for task in worker["tasks"]]
        return tasks[0] if tasks and tasks[0]["step"] else None

    found = wait_until(shown, SECONDS)
    assert (found["step"], found["total"], found["metrics"]) == (1, 2, {"loss": 0.5})
    queue.go()
    assert process.wait(SECONDS) == 0


def test_its_child_comes_up_before_a_manager_answers(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    worker = psutil.Process(queue.worker().pid)

    def child() -> psutil.Process | None:
        """Not its guard, whose words end with the child's."""
        below = worker.children(recursive=True)
        return next((each for each in below if CHILD in each.cmdline()[:4]), None)

    early = wait_until(child, SECONDS, "a child without a task")
    queue.manager.start()
    assert queue.started() == [early.pid]
    queue.go()
    assert worker.wait(SECONDS) == 0


@pytest.mark.parametrize("number", [*later(signal.SIGTERM, signal.SIGINT), signal.SIGHUP])
def test_a_signal_gives_the_task_back(queue: Queue, number: signal.Signals) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker()
    [pid] = queue.started()
    process.send_signal(number)
    assert process.wait(SECONDS) == 128 + number
    assert (queue.root / "stopped-1").exists()
    assert gone(pid)
    assert queue.attempts() == [("exp_0_1", 1, "RELEASED")]
    assert queue.status()["totals"]["pending"] == 1


def test_a_signal_while_waiting_for_work_ends_at_once(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    busy = queue.worker()
    queue.started()
    idle = queue.worker()
    names = wait_until(lambda: len(queue.status()["workers"]) == 2, SECONDS)
    assert names
    idle.send_signal(signal.SIGTERM)
    assert idle.wait(5) == 128 + signal.SIGTERM
    queue.go()
    assert busy.wait(SECONDS) == 0


def test_a_signal_that_another_thread_got_ends_it_too(queue: Queue) -> None:
    """The system may hand it to any of them; Python runs what it is for in the main one."""
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker()
    queue.started()
    others = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
    others.remove(process.pid)
    assert ctypes.CDLL(None).tgkill(process.pid, max(others), int(signal.SIGTERM)) == 0
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    assert queue.attempts() == [("exp_0_1", 1, "RELEASED")]


def test_a_second_signal_ends_at_once(queue: Queue) -> None:
    queue.init("stubborn", [1])
    queue.manager.start()
    process = queue.worker("cpu=True, grace_seconds=1000.0")
    pids = queue.started()
    process.send_signal(signal.SIGINT)
    queue.says("once more ends at once")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 128 + signal.SIGINT
    wait_until(lambda: all(map(gone, pids)), what="the end of the children")


def test_what_completes_within_the_grace_is_submitted(queue: Queue) -> None:
    queue.init("finish_when_told", [1])
    queue.manager.start()
    process = queue.worker("cpu=True, grace_seconds=20.0")
    queue.started()
    assert stop(process) == 128 + signal.SIGTERM
    assert [row["whole"] for row in queue.rows()] == ["True"]


def test_killed_with_its_children_and_replaced_at_once(queue: Queue) -> None:
    queue.init("stubborn", [1])
    queue.manager.start()
    process = queue.worker()
    pids = queue.started()
    assert len(pids) == 2
    process.kill()
    process.wait()
    wait_until(lambda: all(map(gone, pids)), what="the end of the children")
    (queue.root / "started-1").unlink()
    again = queue.worker("cpu=True, grace_seconds=0.1")
    queue.started()  # at once, and not when the lease of 60 s has lapsed
    assert queue.attempts() == [("exp_0_1", 1, "RELEASED"), ("exp_0_1", 2, "RUNNING")]
    stop(again)


@pytest.mark.slow
def test_the_time_limit_of_a_task(queue: Queue) -> None:
    queue.init("stubborn", [1], timeout=1, max_attempts=1)
    queue.manager.start()
    assert queue.work("cpu=True, grace_seconds=0.1") == 0
    assert queue.attempts() == [("exp_0_1", 1, "TIMEOUT")]
    assert all(map(gone, queue.started()))
    [failure] = queue.status()["failures"]
    assert "time limit of 1 s" in failure["error"]


def test_a_lease_is_renewed_while_the_child_runs(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    begun = time.monotonic()
    process = queue.worker("cpu=True, lease_seconds=1.0")
    queue.started()
    other = queue.worker()  # would take the task as soon as it counted as lost
    wait_until(lambda: time.monotonic() > begun + 4, SECONDS)  # four leases
    queue.go()
    assert other.wait(SECONDS) == 0
    assert process.wait(SECONDS) == 0
    assert queue.attempts() == [("exp_0_1", 1, "COMPLETED")]


def test_manager_away_at_the_end_of_a_task(queue: Queue) -> None:
    queue.init("wait_for_file", [1, 2])
    queue.manager.start()
    process = queue.worker("cpu=True, slots=2")
    queue.started(1)
    queue.started(2)
    queue.manager.kill()
    queue.go()
    wait_until(lambda: len(queue.unsubmitted()) == 2, SECONDS, "two files")
    queue.says("Saved locally (manager unreachable)")
    assert queue.rows() == []
    assert process.poll() is None
    queue.manager.start()
    assert process.wait(SECONDS) == 0
    assert len(queue.rows()) == 2
    assert queue.unsubmitted() == []
    assert [outcome for _, _, outcome in queue.attempts()] == ["COMPLETED"] * 2


def test_a_manager_restarted_while_a_child_runs(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker("cpu=True, lease_seconds=2.0")
    queue.started()
    queue.manager.kill()
    queue.says("no answer to a heartbeat")
    queue.manager.start()
    queue.says("the manager answers again")
    queue.go()
    assert process.wait(SECONDS) == 0
    assert queue.attempts() == [("exp_0_1", 1, "COMPLETED")]
    assert queue.said.count("no answer to a heartbeat") == 1


def test_a_failure_that_could_not_be_reported_is_reported_later(queue: Queue) -> None:
    queue.init("stubborn", [1], max_attempts=1)
    queue.manager.start()
    process = queue.worker()
    [pid, _] = queue.started()
    queue.manager.kill()
    os.kill(pid, signal.SIGKILL)
    queue.says("waiting for a manager")
    queue.manager.start()
    assert process.wait(SECONDS) == 0
    assert queue.attempts() == [("exp_0_1", 1, "FAILED")]


def test_saved_locally_and_the_worker_is_gone(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker()
    [pid] = queue.started()
    queue.manager.kill()
    queue.go()
    wait_until(lambda: len(queue.unsubmitted()) == 1, SECONDS, "the file")
    process.kill()
    process.wait()
    queue.manager.start()
    wait_until(queue.rows, SECONDS, "the row")
    assert queue.work() == 0
    assert [row["seed_seen"] for row in queue.rows()] == ["1"]
    assert wait_until(lambda: not queue.unsubmitted(), SECONDS)
    assert gone(pid)


def test_an_outcome_of_a_dead_supervisor_is_adopted(queue: Queue) -> None:
    queue.init("wait_for_file", [1])
    queue.manager.start()
    process = queue.worker()
    queue.started()
    process.send_signal(signal.SIGSTOP)
    queue.go()
    outcome = queue.home.attempts / "exp_0_1-1" / "outcome.json"
    wait_until(outcome.exists, SECONDS, "the outcome file")
    process.kill()
    process.wait()
    (queue.root / "started-1").unlink()
    assert queue.work() == 0
    assert queue.attempts() == [("exp_0_1", 1, "COMPLETED")]
    assert not (queue.root / "started-1").exists()  # it did not run again
    assert not outcome.exists()


def test_a_gpu_that_is_not_there(queue: Queue) -> None:
    queue.init("add", [1])
    queue.manager.start()
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    refused = queue.cli("work", "--gpu", "0", "--require-gpu", **environment)
    assert refused.returncode == 2
    assert "--gpu 0 was asked for, but this machine shows no GPU" in refused.stderr
    done = queue.cli("work", "--gpu", "0", **environment)
    assert done.returncode == 0
    assert "USING THE CPU INSTEAD" in done.stderr
    assert len(queue.rows()) == 1
