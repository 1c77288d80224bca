"""Looking at tasks, attempts and results: every question that changes nothing.

Every function takes a connection inside a transaction.  What is not here: moves of tasks
(`queue.py`), the records of the CSVs (`records.py`), the figures of `status` (`summary.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.elements import ColumnElement

from sqlqueue.lifecycle import Outcome, State
from sqlqueue.plan.quick_json import read
from sqlqueue.store.hint import Likely
from sqlqueue.store.prepared import Prepared, among, listed, quoted
from sqlqueue.store.schema import (
    attempts,
    meta,
    phases,
    results,
    tasks,
)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as stored, its phase by name, its parameters decoded."""

    signature: str
    task_id: str
    phase: str
    experiment: str
    parameters: dict[str, Any]
    runtime_only: list[str]
    seed: int | None
    state: State
    max_attempts: int
    timeout_seconds: float | None
    failures: int
    losses: int
    held: bool
    rerun_after: int

    @property
    def has_result(self) -> bool:
        """Whether a result stands: its own, or that of before while it runs once more."""
        return self.state is State.COMPLETED or self.rerun_after > 0

    @property
    def fixed(self) -> dict[str, Any]:
        """The columns of its CSV row that no metric may change."""
        own = {"phase": self.phase, "task_id": self.task_id, "signature": self.signature}
        hidden = set(self.runtime_only)
        return own | {name: v for name, v in self.parameters.items() if name not in hidden}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a task; `outcome` None while it runs."""

    id: int
    signature: str
    task_id: str
    number: int
    worker_id: str
    outcome: Outcome | None
    lease_seconds: float
    started_at: float


TASK = (
    select(
        tasks.c.signature,
        tasks.c.task_id,
        phases.c.name.label("phase"),
        tasks.c.experiment,
        tasks.c.parameters,
        tasks.c.runtime_only,
        tasks.c.seed,
        tasks.c.state,
        tasks.c.max_attempts,
        tasks.c.timeout_seconds,
        tasks.c.failures,
        tasks.c.losses,
        tasks.c.held,
        tasks.c.rerun_after,
    )
    .select_from(tasks)
    .join(phases, phases.c.id == tasks.c.phase_id)
)
_BY_TASK_ID = TASK.where(tasks.c.task_id == bindparam("key"))
_BY_SIGNATURE = TASK.where(tasks.c.signature == bindparam("key"))
_BY_ID = TASK.where(tasks.c.id == bindparam("key"))
# Bound, the state would rule the partial indexes out; taken for rare, the index of states wins.
PENDING = select(tasks.c.id, tasks.c.task_id).where(
    Likely(tasks.c.state == literal_column("'PENDING'")), tasks.c.held == literal_column("0")
)
_LARGEST = PENDING.order_by(tasks.c.priority.desc(), tasks.c.cost.desc(), tasks.c.id)
_SMALLEST = PENDING.order_by(tasks.c.priority.desc(), tasks.c.cost, tasks.c.id)
_FIRST = {
    smallest: Prepared(order.limit(bindparam("most")))
    for smallest, order in ((True, _SMALLEST), (False, _LARGEST))
}
_ATTEMPT = select(
    attempts.c.id,
    attempts.c.signature,
    tasks.c.task_id,
    attempts.c.number,
    attempts.c.worker_id,
    attempts.c.outcome,
    attempts.c.lease_seconds,
    attempts.c.started_at,
).join(tasks, tasks.c.signature == attempts.c.signature)
_RUNNING = _ATTEMPT.where(attempts.c.outcome.is_(None))
_OF_WORKER = _RUNNING.where(attempts.c.worker_id == bindparam("worker_id"))
_SOME_OF_WORKER = _OF_WORKER.limit(bindparam("most"))
_REQUESTED = _OF_WORKER.where(attempts.c.request_id == bindparam("request_id")).order_by(
    attempts.c.id
)
_OF_TASK = _ATTEMPT.where(attempts.c.signature == bindparam("signature")).order_by(
    attempts.c.number
)
_EPOCH = Prepared(select(meta.c.value).where(meta.c.key == quoted("epoch")))


def results_for(signature: ColumnElement[str]) -> ColumnElement[bool]:
    """Every result of a task, said so that each of the two indexes gives those that it has."""
    same = results.c.signature == signature
    return or_(and_(same, results.c.accepted), and_(same, ~results.c.accepted))


_RESULTS = select(results.c.attempt_id, results.c.metrics, results.c.accepted).where(
    results_for(bindparam("signature"))
)
_WITH_RESULT = and_(results.c.signature == tasks.c.signature, results.c.accepted)
_ACCEPTED_ROWS = Prepared(
    TASK.add_columns(results.c.metrics)
    .join(results, _WITH_RESULT)
    .where(among(tasks.c.signature, "signatures"))
)

_NAMES = [column.name for column in TASK.selected_columns]
_READ: dict[int, Callable[[Any], Any]] = {
    _NAMES.index("parameters"): read,
    _NAMES.index("runtime_only"): read,
    _NAMES.index("state"): State,
    _NAMES.index("held"): bool,
}


def task_of(values: Sequence[Any]) -> TaskRow:
    """From the columns of `TASK`, in their order and as the driver tells them."""
    all_values = list(values)
    for place, of_text in _READ.items():
        all_values[place] = of_text(all_values[place])
    return TaskRow(*all_values)


def _task(row: Mapping[str, Any]) -> TaskRow:
    return task_of([row[name] for name in _NAMES])


def _attempt(row: RowMapping) -> Attempt:
    values = dict(row)
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    return Attempt(**values)


def _one_task(connection: Connection, query: Select[Any], key: str | int) -> TaskRow | None:
    row = connection.execute(query, {"key": key}).mappings().first()
    return _task(dict(row)) if row else None


def _attempts(connection: Connection, query: Select[Any], **keys: str | int) -> list[Attempt]:
    return [_attempt(row) for row in connection.execute(query, keys).mappings()]


def epoch(connection: Connection) -> int:
    """The epoch of the manager that may write; 0 before the first."""
    found = _EPOCH.all(connection)
    return int(found[0][0]) if found else 0


def find(connection: Connection, task_id: str, signature: str | None = None) -> TaskRow | None:
    """The task with that signature if one is given, else with that id."""
    if signature is not None:
        return _one_task(connection, _BY_SIGNATURE, signature)
    return _one_task(connection, _BY_TASK_ID, task_id)


def candidates(
    connection: Connection, smallest: bool, limit: int, without: Sequence[str] = ()
) -> list[tuple[int, str]]:
    """The first pending tasks in the order in which a worker of that kind takes them, but for
    those that a pause holds back.

    `without`: experiments whose tasks it does not take.
    """
    if not without:
        return _FIRST[smallest].all(connection, most=limit)
    query = (_SMALLEST if smallest else _LARGEST).limit(limit)
    query = query.where(tasks.c.experiment.not_in(without))
    return [(row.id, row.task_id) for row in connection.execute(query)]


def task_by_key(connection: Connection, key: int) -> TaskRow | None:
    """The task with that primary key."""
    return _one_task(connection, _BY_ID, key)


def running(connection: Connection) -> list[Attempt]:
    """Every attempt that has no outcome yet."""
    return _attempts(connection, _RUNNING)


def running_of_tasks(connection: Connection, signatures: Sequence[str]) -> list[Attempt]:
    """The attempts of those tasks that run."""
    return _attempts(connection, _RUNNING.where(attempts.c.signature.in_(signatures)))


def running_of_worker(connection: Connection, worker_id: str, most: int) -> list[Attempt]:
    """Attempts that run in the name of a worker, at most so many."""
    return _attempts(connection, _SOME_OF_WORKER, worker_id=worker_id, most=most)


def requested(connection: Connection, worker_id: str, request_id: str) -> list[Attempt]:
    """The running attempts that an earlier request with the same id began."""
    return _attempts(connection, _REQUESTED, worker_id=worker_id, request_id=request_id)


def attempts_of(connection: Connection, signature: str) -> list[Attempt]:
    """Every attempt of a task, the oldest first."""
    return _attempts(connection, _OF_TASK, signature=signature)


def results_of(connection: Connection, signature: str) -> list[tuple[int, str, bool]]:
    """Every result stored for a task as (attempt key, metrics as JSON text, accepted)."""
    rows = connection.execute(_RESULTS, {"signature": signature})
    return [(row.attempt_id, row.metrics, row.accepted) for row in rows]


def row_values(row: RowMapping) -> dict[str, Any]:
    """From a row of `TASK` with its metrics: what stands in the CSV."""
    values = dict(row)
    metrics = json.loads(values.pop("metrics"))
    return _task(values).fixed | cast("dict[str, Any]", metrics)


def accepted_rows(connection: Connection, signatures: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of those tasks, the ones that have a result: the values of their row by signature."""
    rows = _ACCEPTED_ROWS.all(connection, signatures=listed(signatures))
    found = ((task_of(values), metrics) for *values, metrics in rows)
    return {each.signature: each.fixed | read(metrics) for each, metrics in found}


def with_metrics(
    connection: Connection, signatures: Iterable[str]
) -> dict[str, tuple[TaskRow, dict[str, Any] | None]]:
    """Those tasks by signature, each with the metrics of its accepted result if it has one."""
    query = TASK.add_columns(results.c.metrics).outerjoin(results, _WITH_RESULT)
    query = query.where(tasks.c.signature.in_(list(signatures)))
    found = {}
    for row in connection.execute(query).mappings():
        values = dict(row)
        metrics = values.pop("metrics")
        found[row["signature"]] = (_task(values), json.loads(metrics) if metrics else None)
    return found


def matching(held: Sequence[Attempt], number: int | None, worker_id: str) -> Attempt | None:
    """Of a worker's attempts at a task: the one with that number if one is given, else the
    running one, else the latest."""
    own = [each for each in held if each.worker_id == worker_id]
    if number is not None:
        return next((each for each in own if each.number == number), None)
    live = [each for each in own if each.outcome is None]
    return (live or own or [None])[-1]  # type: ignore[list-item]
