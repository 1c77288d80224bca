"""Questions that every request asks are answered by an index, however long the queue is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import statements
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from sqlqueue.home import NAME, Home
from sqlqueue.store import (
    engine,
    finishing,
    pace,
    reading,
    records,
    recounting,
    starting,
    states,
    steering,
    wishing,
)
from sqlqueue.store.schema import tasks


@dataclass
class Plans:
    """What SQLite says of each statement that a connection executes."""

    connection: Connection
    found: list[str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """An empty queue will do: nothing gathers statistics, so plans do not depend on rows."""
    made = Home(tmp_path_factory.mktemp("plans") / NAME)
    made.create()
    engine.open_writer(made).dispose()
    return made


@pytest.fixture
def plans(home: Home) -> Iterator[Plans]:
    reader = engine.open_reader(home)
    with reader.begin() as connection, statements.plans() as found:
        yield Plans(connection, found)
    reader.dispose()


ASKED: dict[str, tuple[Callable[[Connection], Any], str]] = {
    "the next for a GPU": (lambda c: reading.candidates(c, False, 1), "ix_tasks_claim_largest"),
    "the next for a CPU": (lambda c: reading.candidates(c, True, 1), "ix_tasks_claim_smallest"),
    "the next of a shape": (lambda c: pace.candidates(c, [(1, 0)], 1, ()), "ix_tasks_claim_shape"),
    "what waits": (pace.waiting, "(phase_id=? AND state=?)"),
    "what a task took": (lambda c: pace.learn(c, "0" * 32, "cpu", 1.0), "(signature=?)"),
    "why it waits": (steering.why_waiting, "ix_tasks_held"),
    "the wishes of tasks": (lambda c: wishing.settle(c, ["0" * 32]), "(signature=?)"),
    "is any unfinished": (states.any_unfinished, "ix_tasks_few"),
    "a task by id": (lambda c: reading.find(c, "small_0_1"), "(task_id=?)"),
    "a task by signature": (lambda c: reading.find(c, "", "0" * 32), "(signature=?)"),
    "its attempts": (lambda c: reading.attempts_of(c, "0" * 32), "(signature=?)"),
    "its results": (lambda c: reading.results_of(c, "0" * 32), "(signature=?)"),
    "runs that end": (lambda c: finishing.runs_of(c, ["small_0_1"]), "(task_id=?)"),
    "tasks reserved": (lambda c: starting.wanted(c, ["small_0_1"]), "(task_id=?)"),
    "tasks chosen": (lambda c: starting.by_key(c, [1]), "INTEGER PRIMARY KEY (rowid=?)"),
    "requests repeated": (lambda c: starting.asked_before(c, ["r"]), "ix_attempts_request"),
    "its rows": (lambda c: records.standing(c, ["0" * 32], [1]), "(directory_id=?)"),
    "its directories": (lambda c: records.directories_of(c, ["0" * 32]), "(signature=?)"),
    "what a worker runs": (lambda c: reading.running_of_worker(c, "w", 5), "(worker_id=?)"),
    "asked before": (lambda c: reading.requested(c, "w", "r"), "(request_id=?)"),
    "what runs": (reading.running, "ix_attempts_request"),
}
SORTED = {"its directories", "runs that end"}
"""Those whose few rows are put in order."""


@pytest.mark.parametrize("question", ASKED)
def test_an_index_answers(question: str, plans: Plans) -> None:
    ask, index = ASKED[question]
    ask(plans.connection)
    assert any(index in step for step in plans.found), plans.found
    assert question in SORTED or not any("TEMP" in step for step in plans.found)
    scans = [step for step in plans.found if step.startswith("SCAN")]
    unaided = [step for step in scans if "INDEX" not in step and step != "SCAN CONSTANT ROW"]
    assert unaided == []


@pytest.mark.parametrize("smallest", [False, True])
def test_a_claim_looks_past_no_task_that_a_pause_holds(plans: Plans, smallest: bool) -> None:
    """The index has only what may be handed out, so that it is one look however much is held."""
    reading.candidates(plans.connection, smallest, 1)
    kind = "smallest" if smallest else "largest"
    assert plans.found == [f"SCAN tasks USING INDEX ix_tasks_claim_{kind}"]
    query = f"SELECT sql FROM sqlite_schema WHERE name = 'ix_tasks_claim_{kind}'"
    assert "held = 0" in plans.connection.exec_driver_sql(query).scalar_one()


def test_what_was_added_is_found_past_nothing_that_is_old(plans: Plans) -> None:
    """Whatever a batch added is found by its row: else each costs more than the one before."""
    for query in (*recounting.NEW_ROWS, recounting.NEW_LINKS):
        plans.found.clear()
        query.all(plans.connection, newest=0)
        assert any("INTEGER PRIMARY KEY (rowid>?)" in step for step in plans.found), plans.found
        assert not any(step.startswith("SCAN") for step in plans.found), plans.found


def test_the_hint_is_for_sqlite_alone() -> None:
    condition = reading.Likely(tasks.c.state == "PENDING")
    texts = [
        str(condition.compile(dialect=each)) for each in (sqlite.dialect(), postgresql.dialect())
    ]
    assert texts[0] == "likely(tasks.state = ?)"
    assert texts[1].startswith("tasks.state = ")
