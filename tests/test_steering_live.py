"""Steering for real: the command line, a manager, workers and their children, beside each other.

What is not here: what each verb does to which task (`test_steering.py`).
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from acceptance import SECONDS, Study, is_gone

from sqlqueue.manager.local import open_local
from sqlqueue.protocol import PrepareDirectories
from sqlqueue.store.audit import verify
from support import revive, sqlqueue_command, wait_until

OLD = Path(__file__).with_name("golden") / "queue_0001.sql"


def grid(study: Study, function: str = "measure", seeds: int = 2, **settings: Any) -> str:
    sweep = {"combinations": {"seed": list(range(seeds))}, **settings}
    return study.write("grid.yaml", "results", function, **sweep)


def waiting_request(study: Study, worker: str = "w") -> tuple[threading.Thread, list[Any]]:
    """A request that waits for a task longer than the test; its answer goes into the list."""
    answers: list[Any] = []
    message = {"type": "request_task", "worker_id": worker, "wait": 60}
    thread = threading.Thread(target=lambda: answers.append(study.manager.ask(message, SECONDS)))
    thread.start()

    def is_known() -> bool:
        return any(each["worker_id"] == worker for each in study.figures()["workers"])

    wait_until(is_known, SECONDS, "the request being taken")
    return thread, answers


# --- pauses and drains --------------------------------------------------------------------


def test_a_request_that_waits_for_a_paused_phase_is_woken_by_resume(study: Study) -> None:
    study.set_up(grid(study))
    study.manager.start()
    assert "is paused" in study.cli.ok("pause", "phase=grid")
    thread, answers = waiting_request(study)
    assert answers == []
    study.cli.ok("resume", "phase=grid")
    thread.join(SECONDS)
    assert answers[0]["type"] == "task"


def test_a_worker_says_what_is_paused_and_waits(study: Study) -> None:
    study.set_up(grid(study))
    study.manager.start("--until-done")
    study.cli.ok("pause", "--all")
    worker = study.worker()
    study.says("the queue is paused")
    assert worker.poll() is None
    assert study.manager.process is not None
    assert study.manager.process.poll() is None
    assert "paused: the whole queue" in study.cli.ok("status")
    study.cli.ok("resume", "--all")
    assert study.worker_ends() == 0
    assert len(study.rows("results")) == 2
    assert study.manager.process.wait(SECONDS) == 0
    study.manager.process = None


def test_a_drained_worker_finishes_what_it_runs_and_ends(study: Study) -> None:
    study.set_up(grid(study, "wait"))
    study.manager.start()
    study.worker()
    study.started(0)
    said = study.cli.ok("drain", "worker=cpu")
    assert "when it has finished what it runs" in said
    study.go()
    assert study.worker_ends() == 0
    assert "is drained (worker=cpu" in study.said
    assert study.totals() == {"completed": 1, "pending": 1}
    study.manager.stop()
    study.manager.start()  # kept, and a worker that comes back hears it too
    study.work("--wait")
    assert study.totals() == {"completed": 1, "pending": 1}
    assert "drained: worker=cpu" in study.cli.ok("status")
    study.cli.ok("resume", "worker=cpu")
    study.work()
    assert study.totals() == {"completed": 2}


def test_a_worker_that_waits_hears_at_once_that_it_is_drained(study: Study) -> None:
    study.set_up(grid(study))
    study.manager.start()
    study.cli.ok("pause", "--all")
    thread, answers = waiting_request(study, "box-gpu0")
    study.cli.ok("drain", "worker=gpu0")
    thread.join(SECONDS)
    assert "drained" in answers[0]["end"]


# --- cancelling ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_running_attempt_is_told_to_stop_and_killed(study: Study) -> None:
    study.set_up(grid(study, "hang", seeds=1))
    study.manager.start()
    study.worker()
    pids = study.started(0)
    found = json.loads(study.cli.ok("cancel", "phase=grid", "--yes", "--json"))
    assert (found["matched"], found["done"]) == (1, {"running": 1})
    wait_until(lambda: all(map(is_gone, pids)), SECONDS, "the end of what ran")
    assert study.worker_ends() == 0
    assert study.attempts() == ["CANCELLED"]
    assert study.totals() == {"cancelled": 1}
    study.init("grid.yaml")
    assert study.totals() == {"pending": 1}


def test_what_destroys_asks_first(study: Study) -> None:
    study.set_up(grid(study))
    refused = study.cli("cancel", "phase=grid")
    assert refused.returncode == 2
    assert "cancel 2 tasks (2 pending; phases: grid (2)): say --yes" in refused.stderr
    assert study.totals() == {"pending": 2}
    assert asked(study, b"n\n") == 1
    assert study.totals() == {"pending": 2}
    assert asked(study, b"what?\ny\n") == 0
    assert study.totals() == {"cancelled": 2}
    assert "No task matches" in study.cli.ok("cancel", "state=running")


def asked(study: Study, answer: bytes) -> int:
    """The exit status of `cancel` on a terminal where a person answers so."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        sqlqueue_command("cancel", "--all"), cwd=study.root, env=study.cli.environment,
        stdin=follower, stdout=follower, stderr=follower,
    ) as process:  # fmt: skip
        os.close(follower)
        os.write(leader, answer)
        status = process.wait(SECONDS)
    os.close(leader)
    return status


def test_verbs_at_once(study: Study) -> None:
    study.set_up(grid(study, seeds=20))
    study.manager.start()
    verbs = [("cancel", "--all", "--yes"), ("retry", "--all"), ("pause", "phase=grid"),
             ("priority", "7", "phase=grid"), ("resume", "--all")]  # fmt: skip
    commands = [
        study.cli.forked(*verb, output=study.root / f"said-{number}")
        for number, verb in enumerate(verbs)
    ]
    assert [each.wait(SECONDS) for each in commands] == [0] * len(commands)
    assert set(study.totals()) <= {"pending", "cancelled"}
    study.cli.ok("retry", "--all")
    study.cli.ok("resume", "--all")
    study.work()
    assert study.totals() == {"completed": 20}


# --- failures -----------------------------------------------------------------------------


def test_failures_are_understood_and_tried_again_by_their_kind(study: Study) -> None:
    study.set_up(grid(study, "fail", max_attempts=1))
    study.manager.start()
    study.work()
    (found,) = json.loads(study.cli.ok("failures", "--json"))["failures"]
    assert (found["count"], found["final"], found["again"]) == (2, 2, 0)
    assert found["phases"] == {"grid": 2}
    assert "Traceback" in found["example"]["error"]
    assert (study.root / found["example"]["log_file"]).exists()
    said = study.cli.ok("failures")
    assert f"error={found['kind']}" in said
    assert "No task matches" in study.cli.ok("retry", "error=CUDA out of memory")
    study.cli.ok("retry", f"error={found['kind']}")
    assert study.totals() == {"pending": 2}
    assert "to be tried again" in study.cli.ok("failures")


# --- a queue of before ----------------------------------------------------------------------


def test_a_queue_of_before_is_brought_up_to_date_and_steered(study: Study) -> None:
    study.home.create()
    revive(study.home, OLD)
    with open_local(study.home) as local:
        local.request(PrepareDirectories(output_dirs=["out", "other"]))
    study.cli.ok("pause", "phase=two")
    study.cli.ok("priority", "9", "one_4_9")
    phases = {each["phase"]: each["paused"] for each in study.figures()["phases"]}
    assert phases == {"one": False, "two": True}
    assert study.totals() == {"completed": 3, "failed": 2, "pending": 1}
    assert list(verify(study.home)) == []
