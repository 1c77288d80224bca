"""How long it will take: nothing is said before something is known, then by class of cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import MEMORY, Room

from sqlqueue import protocol


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = Core.begin(Room(tmp_path))
    made.add(*(task(n, "p" if n < 4 else "q", cost=float(n % 2 + 1)) for n in range(8)))
    yield made
    made.end()


def figures(core: Core) -> dict[str, Any]:
    return core.desk.committer.figures()


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
    assert phases(core) == {"p": 2 * 30.0, "q": 2 * 15.0 + 2 * 30.0}
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
    assert phases(core) == {"p": None, "q": 2 * 10.0 + 2 * 20.0}


def test_when_nothing_is_left_it_takes_no_time(core: Core) -> None:
    for task_id in core.states():
        core.submit(task_id, seconds=1.0)
    assert figures(core)["eta_seconds"] == 0.0
    assert figures(core)["done"] is True
