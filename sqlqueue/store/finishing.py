"""Runs that end well, many at once: what taking their results in reads, and what it writes.

The plain case, and nearly every result's: the task runs, under the attempt that is spoken of, and
has no result yet.  A few statements serve however many there are, each executed as `prepared.py`
does.  Every function takes a connection inside a transaction.
What is not here: every other case (`queue.py`), the CSVs (`outputs.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Float, Text, and_, bindparam, func, literal_column, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from sqlqueue.errors import IllegalMove
from sqlqueue.lifecycle import Event, Outcome, State, move
from sqlqueue.store import records
from sqlqueue.store.prepared import Prepared, among, listed, quoted
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import TASK, Attempt, TaskRow, results_for, task_of
from sqlqueue.store.recounting import move_all
from sqlqueue.store.schema import attempts, results, tasks

_RESULT: Final = select(results.c.id).where(results_for(tasks.c.signature))
_RUNS: Final = Prepared(
    TASK.add_columns(
        tasks.c.id.label("key"),
        tasks.c.shape_id,
        attempts.c.id.label("attempt_id"),
        attempts.c.number,
        attempts.c.worker_id,
        attempts.c.lease_seconds,
        attempts.c.started_at,
    )
    .join(attempts, and_(attempts.c.signature == tasks.c.signature, attempts.c.outcome.is_(None)))
    .where(
        among(tasks.c.task_id, "task_ids"),
        # Said of an expression, so that no index of states is thought of.
        tasks.c.state + quoted("") == quoted(State.RUNNING),
        tasks.c.rerun_after == literal_column("0"),
        ~_RESULT.exists(),
    )
)


def _if_given(name: str) -> ColumnElement[Any]:
    """What is not told stays as it was."""
    column = attempts.c[name]
    kind = Float() if name == "seconds" else Text()
    return func.coalesce(bindparam(f"to_{name}", type_=kind), column)


_TOLD: Final = ("host", "device", "seconds", "code_version", "log_file", "versions")
_END: Final = Prepared(
    attempts.update()
    .where(attempts.c.id == bindparam("of_attempt"))
    .values(
        outcome=quoted(Outcome.COMPLETED),
        ended_at=bindparam("now"),
        **{name: _if_given(name) for name in _TOLD},
    )
)
_KEEP: Final = Prepared(
    results.insert().values(
        signature=bindparam("of_signature"),
        attempt_id=bindparam("of_attempt"),
        metrics=bindparam("to_metrics"),
        accepted=literal_column("1"),
        arrived_at=bindparam("now"),
    )
)


@dataclass(frozen=True, slots=True)
class Run:
    """A task that runs and has no result, and its attempt.  `key`: of the task; `directories`:
    those linked to it as (id, stored path), the primary first."""

    key: int
    task: TaskRow
    attempt: Attempt
    shape_id: int
    directories: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended well: its metrics as JSON text, and what its worker tells of it."""

    run: Run
    metrics: str
    report: Report


def runs_of(connection: Connection, task_ids: Collection[str]) -> dict[str, Run]:
    """Of these tasks those that run, and have no result and never had one, by their ids."""
    found = _RUNS.all(connection, task_ids=listed(task_ids))
    links = records.directories_of(connection, [row[0] for row in found])
    return {row[1]: _run(row, links) for row in found}


def _run(row: Sequence[Any], links: dict[str, list[tuple[int, str]]]) -> Run:
    *of_task, key, shape_id, attempt_id, number, worker_id, lease_seconds, started_at = row
    task = task_of(of_task)
    signature = task.signature
    attempt = Attempt(
        attempt_id, signature, task.task_id, number, worker_id, None, lease_seconds, started_at
    )
    return Run(key, task, attempt, shape_id, links[signature])


def complete(connection: Connection, ended: Sequence[Ended], now: float) -> None:
    """Ends the attempts, keeps their results as the accepted ones, completes the tasks.

    Raises `IllegalMove` when one of them runs no more.
    """
    rows = [_row(each, now) for each in ended]
    _END.each(connection, rows)
    _KEEP.each(connection, rows)
    keys = [each.run.key for each in ended]
    if move_all(connection, keys, State.RUNNING, move(State.RUNNING, Event.SUBMIT)) != len(rows):
        raise IllegalMove("a task that was read as RUNNING is not any more")


def _row(ended: Ended, now: float) -> dict[str, Any]:
    run, report = ended.run, ended.report
    return {
        "of_signature": run.task.signature,
        "of_attempt": run.attempt.id,
        "to_metrics": ended.metrics,
        "now": now,
        "to_host": report.host or None,
        "to_device": report.device or None,
        "to_seconds": report.seconds,
        "to_code_version": report.code_version or None,
        "to_log_file": report.log_file or None,
        "to_versions": report.versions or None,
    }
