"""The life of a task in SQL: one verb, one function, one transaction's worth.

Every function takes a connection inside a transaction; none begins or commits.  Which moves
are legal is asked of `lifecycle`.  What is not here: adding tasks (`adding.py`), the CSVs
(`outputs.py`), leases (they live in the manager's memory).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Text, bindparam, cast, func, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.errors import IllegalMove
from sqlqueue.lifecycle import CHARGED, MAX_LOSSES, Event, Outcome, State, move
from sqlqueue.store.reading import Attempt, TaskRow, epoch
from sqlqueue.store.schema import attempts, meta, results, tasks, workers

# Built once: building a statement costs several times what executing it does.  The columns
# that one sets are those that its parameters name.
_MOVE = tasks.update().where(
    tasks.c.signature == bindparam("of_signature"), tasks.c.state == bindparam("from_state")
)
_LAST_NUMBER = select(func.coalesce(func.max(attempts.c.number), 0)).where(
    attempts.c.signature == bindparam("of_signature")
)
_NEW_ATTEMPT = attempts.insert()
_CHANGE_ATTEMPT = attempts.update().where(attempts.c.id == bindparam("of_attempt"))
_UNACCEPT = (
    results.update()
    .where(results.c.signature == bindparam("of_signature"), results.c.accepted)
    .values(accepted=False)
)
_SUPERSEDE = (
    attempts.update()
    .where(
        attempts.c.id.in_(
            select(results.c.attempt_id).where(
                results.c.signature == bindparam("of_signature"), results.c.accepted
            )
        )
    )
    .values(outcome=Outcome.SUPERSEDED.value)
)
_ENDED_AT = (
    select(attempts.c.ended_at).where(attempts.c.id == bindparam("of_attempt")).scalar_subquery()
)
_KEEP_RESULT = results.insert().values(
    signature=bindparam("of_signature"),
    attempt_id=bindparam("of_attempt"),
    metrics=bindparam("to_metrics"),
    accepted=bindparam("to_accepted"),
    arrived_at=func.coalesce(_ENDED_AT, bindparam("started")),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells of an attempt that ended; `error`: what went wrong, or else is to be
    known of how it ended."""

    worker_id: str
    now: float
    host: str = ""
    device: str = ""
    seconds: float | None = None
    code_version: str = ""
    log_file: str = ""
    error: str | None = None
    versions: str = ""


def advance_epoch(connection: Connection) -> int:
    """Begins a new epoch: whoever wrote before may not write any more."""
    number = epoch(connection) + 1
    statement = insert(meta).values(key="epoch", value=str(number))
    connection.execute(
        statement.on_conflict_do_update(index_elements=["key"], set_={"value": str(number)})
    )
    return number


def note_reopening(connection: Connection) -> None:
    """Changes the database, whatever else the transaction does: its commit will be synced."""
    times = insert(meta).values(key="reopened", value="1")
    more = {"value": cast(cast(meta.c.value, Integer) + 1, Text)}
    connection.execute(times.on_conflict_do_update(index_elements=["key"], set_=more))


def know_queue(connection: Connection, queue_id: str) -> None:
    """Writes down whose database this is: a backup, and a log beside it, can be told by it."""
    statement = insert(meta).values(key="queue", value=queue_id)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["key"], set_={"value": queue_id})
    )


def _set_state(connection: Connection, task: TaskRow, event: Event, **changes: Any) -> State:
    """Moves a task as the lifecycle allows; the stored state must still be what it was."""
    state = move(task.state, event)
    of = {"of_signature": task.signature, "from_state": task.state.value}
    if connection.execute(_MOVE, {**of, "state": state.value, **changes}).rowcount != 1:
        raise IllegalMove(f"{task.task_id} is not {task.state} any more")
    return state


def _next_number(connection: Connection, signature: str) -> int:
    return int(connection.execute(_LAST_NUMBER, {"of_signature": signature}).scalar_one()) + 1


def _new_attempt(connection: Connection, task: TaskRow, values: dict[str, Any]) -> Attempt:
    number = _next_number(connection, task.signature)
    row: dict[str, Any] = {"signature": task.signature, "number": number, "lease_seconds": 0.0}
    row |= values
    key = connection.execute(_NEW_ATTEMPT, row).inserted_primary_key
    assert key is not None
    outcome = row.get("outcome")
    return Attempt(
        id=key[0],
        signature=task.signature,
        task_id=task.task_id,
        number=number,
        worker_id=row["worker_id"],
        outcome=Outcome(outcome) if outcome else None,
        lease_seconds=row["lease_seconds"],
        started_at=row["started_at"],
    )


def claim(
    connection: Connection,
    task: TaskRow,
    report: Report,
    *,
    request_id: str | None,
    lease_seconds: float,
) -> Attempt:
    """Begins an attempt of a pending task."""
    _set_state(connection, task, Event.CLAIM)
    values = {
        "worker_id": report.worker_id,
        "host": report.host,
        "device": report.device,
        "code_version": report.code_version,
        "started_at": report.now,
        "request_id": request_id,
        "lease_seconds": lease_seconds,
    }
    return _new_attempt(connection, task, values)


def resume(connection: Connection, task: TaskRow, attempt: Attempt) -> None:
    """An attempt given up for lost runs after all, and no other has begun."""
    _set_state(connection, task, Event.RESUME)
    change = {"of_attempt": attempt.id, "outcome": None, "ended_at": None}
    connection.execute(_CHANGE_ATTEMPT, change)


def end_attempt(connection: Connection, attempt: Attempt, outcome: Outcome, report: Report) -> None:
    """Writes down how an attempt ended; what the report leaves out stays as it was."""
    known = {
        "host": report.host,
        "device": report.device,
        "seconds": report.seconds,
        "code_version": report.code_version,
        "log_file": report.log_file,
        "error": report.error,
        "versions": report.versions,
    }
    changes = {name: value for name, value in known.items() if value not in ("", None)}
    ended = {"of_attempt": attempt.id, "outcome": outcome.value, "ended_at": report.now}
    connection.execute(_CHANGE_ATTEMPT, {**ended, **changes})


def record_attempt(
    connection: Connection, task: TaskRow, outcome: Outcome, report: Report
) -> Attempt:
    """Keeps an attempt of which the queue hears only now that it is over."""
    values = {
        "worker_id": report.worker_id,
        "host": report.host,
        "device": report.device,
        "outcome": outcome.value,
        "started_at": report.now - (report.seconds or 0.0),
        "ended_at": report.now,
        "seconds": report.seconds,
        "code_version": report.code_version,
        "log_file": report.log_file,
        "error": report.error,
        "versions": report.versions or "{}",
    }
    return _new_attempt(connection, task, values)


def complete(connection: Connection, task: TaskRow, attempt: Attempt, metrics: str) -> None:
    """Makes a result the accepted one and the task COMPLETED, from any state but that.

    The attempt whose result stood until now is SUPERSEDED.
    """
    if task.has_result:
        connection.execute(_SUPERSEDE, {"of_signature": task.signature})
    connection.execute(_UNACCEPT, {"of_signature": task.signature})
    keep_result(connection, task, attempt, metrics, accepted=True)
    _set_state(connection, task, Event.SUBMIT)


def keep_result(
    connection: Connection, task: TaskRow, attempt: Attempt, metrics: str, *, accepted: bool = False
) -> None:
    """Stores a result; at most one per task is the accepted one."""
    values = {
        "of_signature": task.signature,
        "of_attempt": attempt.id,
        "to_metrics": metrics,
        "to_accepted": accepted,
        "started": attempt.started_at,
    }
    connection.execute(_KEEP_RESULT, values)


def fail(
    connection: Connection, task: TaskRow, attempt: Attempt, outcome: Outcome, report: Report
) -> State:
    """Ends a running attempt that failed; the task runs again while attempts are left.

    After the last one it is FAILED, or COMPLETED as it was if it ran once more.
    """
    end_attempt(connection, attempt, outcome, report)
    charged = outcome in CHARGED
    failures, losses = task.failures + charged, task.losses + (outcome is Outcome.LOST)
    last = failures >= task.max_attempts if charged else losses >= MAX_LOSSES
    over = Event.KEEP if task.has_result else Event.EXHAUST
    event = over if last else Event.FAIL
    return _set_state(connection, task, event, failures=failures, losses=losses)


def release(connection: Connection, task: TaskRow, attempt: Attempt, report: Report) -> None:
    """Ends a running attempt that was given back; it is not charged."""
    end_attempt(connection, attempt, Outcome.RELEASED, report)
    _set_state(connection, task, Event.RELEASE)


def announce(connection: Connection, values: dict[str, Any]) -> None:
    """Remembers who a worker is."""
    statement = insert(workers).values(**values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["worker_id"], set_=dict(values))
    )
