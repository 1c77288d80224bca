"""How long it will take: nothing is said before something is known, then by what is similar."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import MEMORY, Room

from sqlqueue import protocol
from sqlqueue.store import pace


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    made.add(*(task(n, "p" if n < 4 else "q", cost=float(n % 2 + 1)) for n in range(8)))
    yield made
    made.end()


def figures(core: Core) -> dict[str, Any]:
    return core.figures()


def phases(core: Core) -> dict[str, float | None]:
    return {each["phase"]: each["eta_seconds"] for each in figures(core)["phases"]}


def test_nothing_is_said_before_anything_is_known(core: Core) -> None:
    assert figures(core)["eta_seconds"] is None
    core.submit("p_0_0")
    core.fail(core.take(), seconds=50.0)
    assert figures(core)["eta_seconds"] is None
    assert phases(core) == {"p": None, "q": None}


def test_a_class_goes_on_as_it_did_and_another_by_its_cost(core: Core) -> None:
    core.submit("p_0_0", seconds=10.0)
    core.submit("p_2_2", seconds=20.0)
    assert figures(core)["eta_seconds"] == 2 * 15.0 + 4 * 30.0
    assert phases(core) == {"p": 4 * 30.0, "q": 2 * 15.0 + 4 * 30.0}  # the largest come first
    assert [each["work_seconds"] for each in figures(core)["phases"]] == [2 * 30.0, 2 * 45.0]
    core.submit("p_1_1", seconds=100.0)
    assert figures(core)["eta_seconds"] == 2 * 15.0 + 3 * 100.0


def test_what_runs_now_shares_what_is_left(core: Core) -> None:
    core.submit("p_0_0", seconds=10.0)
    core.submit("p_1_1", seconds=20.0)
    alone = figures(core)["eta_seconds"]
    for worker in "uvw":
        core.take(worker)
    assert figures(core)["eta_seconds"] == pytest.approx(alone / 3, abs=0.1)


def test_one_experiment_says_nothing_of_another(core: Core) -> None:
    other = protocol.ExperimentMemory(name="m:g", parameters=[])
    core.ok(protocol.AddTasks(tasks=[task(9, experiment="m:g")], experiments=[MEMORY, other]))
    core.submit("p_0_0", seconds=10.0)
    assert figures(core)["eta_seconds"] is None
    assert phases(core) == {"p": None, "q": 3 * 10.0 + 4 * 20.0}


def test_one_that_was_tried_before_tells_nothing(core: Core) -> None:
    """A part of it may have been done then."""
    task = core.take()
    core.ok(protocol.Release(task_id=task.task_id, worker_id="w"))
    core.submit(core.take(), seconds=1.0)
    assert figures(core)["eta_seconds"] is None


def test_what_a_pause_holds_is_work_and_takes_no_part(core: Core) -> None:
    core.submit("p_0_0", seconds=10.0)
    core.ok(protocol.Pause(select=["phase=q"]))
    assert figures(core)["eta_seconds"] == 10.0 + 2 * 20.0
    assert phases(core) == {"p": 50.0, "q": None}
    assert figures(core)["work_seconds"] == 3 * 10.0 + 4 * 20.0


def test_the_higher_priority_is_done_first(core: Core) -> None:
    core.submit("p_0_0", seconds=10.0)
    core.ok(protocol.SetPriority(select=["phase=q"], priority=3))
    assert phases(core) == {"p": 110.0, "q": 60.0}


def test_what_was_learnt_outlives_the_manager(core: Core) -> None:
    core.submit("p_0_0", seconds=10.0)
    before = figures(core)["eta_seconds"]
    core.restart()
    assert figures(core)["eta_seconds"] == before == 110.0


def test_beyond_so_many_shapes_only_the_cost_counts(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "MOST_SHAPES", 2)
    core.add(*(task(n, parameters={"width": n}, cost=7.0 + n / 100) for n in range(20, 30)))
    assert core.sql("SELECT count(*), sum(parameters = '{}') FROM shapes") == [(3, 3)]
    core.submit("p_4_20", seconds=10.0)
    assert figures(core)["work_seconds"] is not None


def test_when_nothing_is_left_it_takes_no_time(core: Core) -> None:
    for task_id in core.states():
        core.submit(task_id, seconds=1.0)
    assert figures(core)["eta_seconds"] == 0.0
    assert figures(core)["done"] is True
