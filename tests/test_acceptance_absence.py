"""The manager is away for longer than a task lasts: nothing that was measured is lost."""

from __future__ import annotations

import signal

import pytest
from acceptance import SECONDS, Study

from support import wait_until

SAVED = "Saved locally (manager unreachable)"


@pytest.fixture
def abandoned(study: Study) -> Study:
    """A worker whose task ended while no manager ran."""
    study.set_up(study.write("a.yaml", "results", "wait", combinations={"seed": [1]}),
               study.write("b.yaml", "results_b", "wait", combinations={"seed": [1]}))  # fmt: skip
    study.manager.start()
    study.worker()
    study.started(1)
    assert study.manager.stop() == 0
    study.go()
    study.says(SAVED)
    return study


def assert_delivered(study: Study) -> None:
    for directory in ("results", "results_b"):
        (row,) = study.rows(directory)
        assert (row["task_id"], row["value"]) == ("grid_0_1", "10")
    assert study.unsubmitted() == []
    assert study.runs() == ["1"]
    assert study.totals() == {"completed": 1}


def test_the_result_lies_in_the_primary_directory_and_status_counts_it(abandoned: Study) -> None:
    assert abandoned.unsubmitted() == ["grid_0_1-1.json"]
    figures = abandoned.figures()
    assert figures["unsubmitted"] == 1
    assert [each["unsubmitted"] for each in figures["directories"]] == [1, 0]
    assert abandoned.rows("results") == []
    abandoned.manager.start()
    assert abandoned.worker_ends() == 0
    assert_delivered(abandoned)
    assert "delivered what was saved locally" in abandoned.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_the_manager_takes_the_result_in_when_the_worker_is_gone(
    abandoned: Study, number: signal.Signals
) -> None:
    abandoned.workers[-1].send_signal(number)
    abandoned.worker_ends()
    assert abandoned.unsubmitted() == ["grid_0_1-1.json"]
    abandoned.manager.start()
    wait_until(lambda: not abandoned.unsubmitted(), SECONDS, "the file being taken in")
    assert_delivered(abandoned)


def test_a_killed_manager_does_not_stop_a_worker_from_going_on(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", "wait", combinations={"seed": [1, 2]}))
    study.manager.start()
    study.worker()
    study.started(1)
    study.manager.kill()
    study.go()
    study.says(SAVED)
    study.manager.start()
    assert study.worker_ends() == 0
    assert sorted(row["value"] for row in study.rows("results")) == ["10", "20"]
    assert sorted(study.runs()) == ["1", "2"]
    assert study.unsubmitted() == []


def test_a_worker_waits_for_a_manager_that_is_not_there_yet(study: Study) -> None:
    study.set_up(study.write("a.yaml", "results", combinations={"seed": [1]}))
    study.worker()
    study.says("waiting for a manager")
    study.manager.start()
    assert study.worker_ends() == 0
    assert len(study.rows("results")) == 1
