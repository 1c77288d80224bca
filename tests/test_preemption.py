"""Preemption costs nothing but what was not saved: real workers, real signals, real training.

What is not here: SIGTERM and Ctrl-C as such (`test_acceptance_stopping.py`).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from acceptance import SECONDS, Study, heeding_ctrl_c, is_gone, rows_of
from worker_queue import Queue

from support import Cli, environment, wait_until


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    yield from heeding_ctrl_c()


def ended(worker: subprocess.Popen[bytes], number: signal.Signals) -> int:
    worker.send_signal(number)
    return worker.wait(SECONDS)


def careful(study: Study, **settings: Any) -> None:
    """One cell that may fail no time, on a queue with a manager."""
    combinations = {"seed": [1]}
    study.set_up(study.write("a.yaml", "results", "careful", combinations=combinations,
                             max_attempts=1, **settings))  # fmt: skip
    study.manager.start()


def reasons(study: Study) -> list[str]:
    """What is noted of each attempt."""
    path = study.home.database
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        return [str(error) for (error,) in base.execute("SELECT error FROM attempts ORDER BY id")]


# --- one function ---------------------------------------------------------------------------


def test_what_was_saved_is_found_by_the_next_attempt(study: Study) -> None:
    careful(study)
    (study.root / "save").touch()
    worker = study.worker()
    study.started(1)
    assert ended(worker, signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert study.attempts() == ["RELEASED"]
    assert reasons(study) == ["preempted (SIGUSR1)"]
    assert study.totals() == {"pending": 1}
    study.go()
    study.work()
    (row,) = study.rows("results")
    assert (row["begun"], row["saved"]) == ("2", "True")
    assert study.attempts() == ["RELEASED", "COMPLETED"]


SHORT = "cpu=True, grace_seconds=0.3"


def test_who_announces_the_end_leaves_the_time_that_saving_takes(
    study: Study, queue: Queue
) -> None:
    """Longer than the grace that a SIGTERM leaves."""
    careful(study)
    worker = queue.worker(SHORT)
    study.started(1)
    worker.send_signal(signal.SIGUSR1)
    wait_until((study.root / "told-1").exists, SECONDS, "the experiment being told")
    end = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > end, SECONDS)
    assert worker.poll() is None
    (study.root / "save").touch()
    assert worker.wait(SECONDS) == 128 + signal.SIGUSR1
    assert study.attempts() == ["RELEASED"]
    study.go()
    assert queue.work() == 0
    assert study.rows("results")[0]["saved"] == "True"


def test_a_sigterm_hurries_what_was_announced(study: Study, queue: Queue) -> None:
    careful(study)
    worker = queue.worker(SHORT)
    (child,) = study.started(1)
    for _ in range(2):
        worker.send_signal(signal.SIGUSR1)  # said twice is said once
    wait_until((study.root / "told-1").exists, SECONDS, "the experiment being told")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(SECONDS) == 128 + signal.SIGUSR1
    wait_until(lambda: is_gone(child), SECONDS, "the end of the child")
    assert study.attempts() == ["RELEASED"]
    study.go()
    assert queue.work() == 0
    assert study.rows("results")[0]["saved"] == "False"


def test_what_is_completed_after_the_announcement_counts(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", "wait", combinations={"seed": [1, 2]}))
    study.manager.start()
    worker = study.worker()
    study.started(1)
    worker.send_signal(signal.SIGUSR1)
    study.says("SIGUSR1")
    study.go()
    assert worker.wait(SECONDS) == 128 + signal.SIGUSR1
    assert study.attempts() == ["COMPLETED"]
    assert study.totals() == {"completed": 1, "pending": 1}


def test_a_worker_that_waits_ends_at_once(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1]}))
    study.manager.start()
    study.cli.ok("pause", "--all")
    worker = study.worker()
    study.says("the queue is paused")
    assert ended(worker, signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert study.totals() == {"pending": 1}


def test_a_signal_to_every_process_of_the_job_is_one_to_the_worker(study: Study) -> None:
    """As a batch system sends it to all that it started, the manager, guards and children too."""
    careful(study)
    (study.root / "save").touch()
    worker = study.worker()
    (child,) = study.started(1)
    assert study.manager.process is not None
    for pid in (study.manager.process.pid, child, parent_of(child), worker.pid):
        os.kill(pid, signal.SIGUSR1)
    assert worker.wait(SECONDS) == 128 + signal.SIGUSR1
    assert study.attempts() == ["RELEASED"]
    assert study.totals() == {"pending": 1}


def parent_of(pid: int) -> int:
    return int(psutil.Process(pid).ppid())


# --- a command ------------------------------------------------------------------------------


PROGRAM = """
import json, os, pathlib, signal, sys, threading
kept = pathlib.Path(os.environ["SQLQUEUE_DIRECTORY"]) / "state"
told = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: told.set())
begun = int(kept.read_text()) + 1 if kept.exists() else 1
pathlib.Path("started-1").write_text(str(os.getpid()))
while not pathlib.Path("go").exists():
    if told.wait(0.02):
        kept.write_text(str(begun))
        sys.exit(0)
print(json.dumps({"begun": begun}))
"""


def test_a_program_is_told_by_sigterm_whatever_announced_the_end(study: Study) -> None:
    (study.root / "program.py").write_text(PROGRAM)
    experiment = {"command": "python program.py --seed {seed}", "parameters": {"seed": "int"}}
    phase = {"experiment": experiment, "output_dir": "results", "max_attempts": 1,
             "combinations": {"seed": [1]}}  # fmt: skip
    (study.root / "a.yaml").write_text(json.dumps({"grid": phase}))
    study.set_up("a.yaml")
    study.manager.start()
    worker = study.worker()
    (program,) = study.started(1)
    os.kill(program, signal.SIGUSR1)  # it went to the whole job: the program is not to die of it
    assert ended(worker, signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert study.attempts() == ["RELEASED"]
    study.go()
    study.work()
    assert [row["begun"] for row in study.rows("results")] == ["2"]


# --- the built-in experiment ------------------------------------------------------------------


ROUNDS = 240
"""A few reports of a worker come while they are trained, even on a quick machine."""
DIGITS = f"""
defaults: {{output_dir: results, experiment: poisoning, dataset: digits, model_type: cnn}}
grid:
  combinations:
    - seed: 7
    - width_factor: 2
    - num_clients: 10
    - global_rounds: {ROUNDS}
    - poison_ratio: 0.3
"""
OTHERWISE = ("seconds",)
"""Metrics in which an interrupted run may differ."""


def training(root: Path) -> None:
    root.mkdir(exist_ok=True)
    (root / "digits.yaml").write_text(DIGITS)


@pytest.fixture
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The row of a run that nobody disturbed, in another queue."""
    root = tmp_path_factory.mktemp("whole")
    training(root)
    Cli(root, environment(root / "state")).ok("run", "digits.yaml", seconds=5 * SECONDS)
    (row,) = rows_of(root / "results" / "final_results.csv")
    return without(row)


def without(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in OTHERWISE}


def step(study: Study) -> float:
    """How far the cell is, as far as the manager has heard."""
    tasks = [task for each in study.figures()["workers"] for task in each["tasks"]]
    return max((task["step"] or 0.0 for task in tasks), default=0.0)


def interrupted(study: Study, number: signal.Signals, after: float) -> float:
    """A worker that is preempted once it is past that step; how far it was then."""
    worker = study.worker()

    def is_past() -> bool:
        assert worker.poll() is None, f"it was over too soon\n{study.said}"
        return step(study) > after

    wait_until(is_past, 3 * SECONDS, f"a step after {after}")
    reached = step(study)
    worker.send_signal(number)
    worker.wait(SECONDS)
    return reached


def begun_at(study: Study) -> float:
    """At which step an attempt goes on: the first that the worker reports of it."""
    return wait_until(lambda: step(study), 3 * SECONDS, "a report")


SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL)
ONE_EACH = [
    pytest.param((signal.SIGUSR1,), id="once", marks=pytest.mark.slow),
    pytest.param(SIGNALS, id="three times", marks=pytest.mark.slow),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("signals", ONE_EACH)
def test_a_cell_that_is_preempted_comes_to_the_same_result(
    study: Study, uninterrupted: dict[str, str], signals: tuple[signal.Signals, ...]
) -> None:
    training(study.root)
    study.set_up("digits.yaml")
    study.manager.start()
    reached = 0.0
    for number in signals:
        reached = interrupted(study, number, reached)
    saved = list(study.home.checkpoints.glob("*/poisoning.pt"))
    assert len(saved) == 1
    study.work()
    assert study.attempts() == ["RELEASED"] * len(signals) + ["COMPLETED"]
    (row,) = study.rows("results")
    assert without(row) == uninterrupted
    assert not saved[0].exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_attempt_goes_on_where_the_one_before_was_preempted(study: Study) -> None:
    training(study.root)
    study.set_up("digits.yaml")
    study.manager.start()
    reached = interrupted(study, signal.SIGUSR1, 2.0)
    worker = study.worker()
    assert begun_at(study) >= reached
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(SECONDS) == 128 + signal.SIGTERM
