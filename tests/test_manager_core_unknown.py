"""A commit that failed may have come all the same: what the manager keeps in mind must then be
read from the database, not remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from core import Core, task
from crash_scenarios import Room
from faults import Plan, faulty_commits

from sqlqueue.protocol import Error, RequestTask, TaskFailed
from sqlqueue.store.audit import verify


@pytest.fixture
def plan() -> Plan:
    return Plan(mode="late", begun=False)


@pytest.fixture
def core(tmp_path: Path, plan: Plan) -> Iterator[Core]:
    with faulty_commits(plan):
        core = Core.begin(Room(tmp_path / "queue"))
        core.add(task(0))
        yield core
        core.end()


def though_it_failed(core: Core, plan: Plan, *requests: RequestTask | TaskFailed) -> None:
    """One batch whose commit comes and says that it did not."""
    plan.calls.clear()
    plan.at, plan.begun = 1, True
    replies = core.desk.say(*requests)
    assert plan.came
    plan.heal()
    assert all(isinstance(each, Error) and each.retryable for each in replies)


def test_a_task_whose_asker_is_gone_comes_back(core: Core, plan: Plan) -> None:
    though_it_failed(core, plan, RequestTask(worker_id="w"))
    core.pass_time(30)
    assert core.states() == {"p_0_0": "RUNNING"}
    core.pass_time(40)
    assert core.states() == {"p_0_0": "PENDING"}
    assert core.outcomes() == [("w", 1, "LOST")]


def test_a_lease_of_an_attempt_that_ended_ends_no_other(core: Core, plan: Plan) -> None:
    core.take("w1")
    failed = TaskFailed(task_id="p_0_0", worker_id="w1", error="no")
    though_it_failed(core, plan, failed, RequestTask(worker_id="w2", request_id="r"))
    for _ in range(6):
        core.pass_time(15)
        core.beat("p_0_0", worker="w2")
    assert core.outcomes() == [("w1", 1, "FAILED"), ("w2", 2, None)]
    assert list(verify(core.room.home)) == []
    assert core.take("w2", request_id="r").attempt == 2
