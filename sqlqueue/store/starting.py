"""Runs that begin, many at once: what handing tasks out reads, and what it writes.

A few statements serve however many tasks are handed out, each executed as `prepared.py` does.
Every function takes a connection inside a transaction.
What is not here: which tasks (`reading.candidates`), one run by itself (`queue.claim`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Text, bindparam, func, literal_column, select

from sqlqueue.errors import IllegalMove
from sqlqueue.lifecycle import Event, State, move
from sqlqueue.plan.quick_json import read
from sqlqueue.store.prepared import Prepared, among, listed, quoted
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import TASK, Attempt, TaskRow, task_of
from sqlqueue.store.recounting import move_all
from sqlqueue.store.schema import attempts, drains, output_directories, task_output_dirs, tasks

_LAST: Final = (
    select(func.coalesce(func.max(attempts.c.number), literal_column("0")))
    .where(attempts.c.signature == tasks.c.signature)
    .scalar_subquery()
)
_LINKED: Final = (
    select(func.json_group_array(func.json_array(task_output_dirs.c.id, output_directories.c.path)))
    .join(output_directories, output_directories.c.id == task_output_dirs.c.directory_id)
    .where(task_output_dirs.c.signature == tasks.c.signature)
    .scalar_subquery()
)
_WITH_LAST: Final = TASK.add_columns(tasks.c.id, _LAST, _LINKED)
_BY_KEY: Final = Prepared(_WITH_LAST.where(among(tasks.c.id, "keys")))
_WANTED: Final = Prepared(
    _WITH_LAST.where(
        among(tasks.c.task_id, "task_ids"),
        # Said of an expression, so that no index of states is thought of.
        tasks.c.state + quoted("") == quoted(State.PENDING),
        tasks.c.held == literal_column("0"),
    )
)
_ANY_DRAIN: Final = Prepared(select(drains.c.id).limit(literal_column("1")))
_ASKED: Final = Prepared(
    select(attempts.c.worker_id, attempts.c.request_id).where(
        among(attempts.c.request_id, "request_ids"), attempts.c.outcome.is_(None)
    )
)
_NEWEST: Final = Prepared(select(func.coalesce(func.max(attempts.c.id), literal_column("0"))))
_NAMES: Final = (
    *("id", "signature", "number", "worker_id", "host", "device", "started_at", "code_version"),
    *("request_id", "lease_seconds"),
)
_BEGIN: Final = Prepared(
    attempts.insert().values({name: bindparam(name, type_=Text()) for name in _NAMES})
)


@dataclass(frozen=True, slots=True)
class Free:
    """A task that waits.  `key`: of the task; `last`: the number of its last attempt, or 0;
    `directories`: the stored paths of those linked to it, the primary first."""

    key: int
    task: TaskRow
    last: int
    directories: list[str]


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is to begin, and for whom."""

    free: Free
    report: Report
    request_id: str | None
    lease_seconds: float


def any_drain(connection: Connection) -> bool:
    """Whether some worker is to start nothing more."""
    return bool(_ANY_DRAIN.all(connection))


def asked_before(connection: Connection, request_ids: Collection[str]) -> set[tuple[str, str]]:
    """Of requests those that have begun an attempt which runs, by worker and request id."""
    if not request_ids:
        return set()
    return {tuple(row) for row in _ASKED.all(connection, request_ids=listed(request_ids))}


def by_key(connection: Connection, wanted: Collection[int]) -> dict[int, Free]:
    """The tasks with those primary keys, which are known to wait."""
    rows = _BY_KEY.all(connection, keys=listed(wanted)) if wanted else []
    return {each.key: each for each in map(_free, rows)}


def wanted(connection: Connection, task_ids: Collection[str]) -> dict[str, Free]:
    """Of these tasks those that wait and that no pause holds back, by their ids."""
    rows = _WANTED.all(connection, task_ids=listed(task_ids)) if task_ids else []
    return {each.task.task_id: each for each in map(_free, rows)}


def _free(row: Sequence[Any]) -> Free:
    *of_task, key, last, links = row
    return Free(key, task_of(of_task), last, [path for _, path in sorted(read(links))])


def begin(connection: Connection, starts: Sequence[Start]) -> list[Attempt]:
    """Begins an attempt of each task.  Raises `IllegalMove` when one of them waits no more."""
    newest = _NEWEST.all(connection)[0][0]
    rows = [_row(each, newest + place) for place, each in enumerate(starts, 1)]
    keys = [each.free.key for each in starts]
    if move_all(connection, keys, State.PENDING, move(State.PENDING, Event.CLAIM)) != len(rows):
        raise IllegalMove("a task that was read as PENDING is not any more")
    _BEGIN.each_row(connection, _NAMES, rows)
    return [_attempt(row, each.free.task.task_id) for row, each in zip(rows, starts, strict=True)]


def _row(start: Start, attempt_id: int) -> tuple[Any, ...]:
    """In the order of `_NAMES`."""
    free, report = start.free, start.report
    return (
        attempt_id, free.task.signature, free.last + 1, report.worker_id, report.host,
        report.device, report.now, report.code_version, start.request_id, start.lease_seconds,
    )  # fmt: skip


def _attempt(row: tuple[Any, ...], task_id: str) -> Attempt:
    key, signature, number, worker_id, _, _, started_at, _, _, lease_seconds = row
    return Attempt(key, signature, task_id, number, worker_id, None, lease_seconds, started_at)
