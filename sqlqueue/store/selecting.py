"""Which tasks a selector means: found some at a time, in the order of their keys.

Bounded: one bite looks at so many tasks, however many there are, and keeps what a verb needs of
those that fit.  What is not here: what a selector says (`plan/selector.py`), what is done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select

from sqlqueue.errors import UnknownTask
from sqlqueue.lifecycle import State
from sqlqueue.plan.headline import headline
from sqlqueue.plan.kind import said
from sqlqueue.plan.selector import Ran, Selector, fitting
from sqlqueue.store.reruns import FAILED
from sqlqueue.store.schema import (
    attempts,
    experiment_parameters,
    phases,
    results,
    task_phases,
    tasks,
)
from sqlqueue.store.wishing import BITE_TASKS


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a verb needs to know of a task that was selected.  `again`: it has a result that stands
    while it is to run once more."""

    signature: str
    task_id: str
    phase: str
    state: State
    again: bool

    @classmethod
    def of(cls, signature: str, task_id: str, phase: str, state: str, rerun_after: int) -> Chosen:
        """As the database has it."""
        again = rerun_after > 0 and state != State.COMPLETED.value
        return cls(signature, task_id, phase, State(state), again)


@dataclass(slots=True)
class Bite:
    """`scope`: the phases named, by key; None: any.  `next`: where the rest begins."""

    tasks: list[Chosen] = field(default_factory=list)
    scope: frozenset[int] | None = None
    met: set[str] = field(default_factory=set)
    next: int | None = None


def bite(connection: Connection, selector: Selector, after: int) -> Bite:
    """The selected ones of the tasks that come after that key; raises `UsageError` for words
    that mean nothing in this queue."""
    if after == 0:
        selector.check(known_parameters(connection) if selector.parameters else ())
    found = Bite()
    conditions = _conditions(connection, selector, found)
    if not selector.task_ids:
        last = connection.execute(select(func.max(tasks.c.id))).scalar() or 0
        found.next = after + BITE_TASKS if after + BITE_TASKS < last else None
        conditions += [tasks.c.id > after, tasks.c.id <= after + BITE_TASKS]
    query = (
        select(*(tasks.c[name] for name in ("signature", "task_id", "state", "parameters")))
        .add_columns(phases.c.name, tasks.c.rerun_after)
        .join(phases, phases.c.id == tasks.c.phase_id)
        .where(*conditions)
        .order_by(tasks.c.id)
    )
    for signature, task_id, state, parameters, phase, after_ in connection.execute(query):
        if not selector.parameters or selector.fits(json.loads(parameters), found.met):
            found.tasks.append(Chosen.of(signature, task_id, phase, state, after_))
    if selector.of_attempts:
        last_of = last_attempts(connection, [each.signature for each in found.tasks])
        found.tasks = [
            each for each in found.tasks if selector.ran(last_of.get(each.signature, Ran()))
        ]
    return found


def _conditions(
    connection: Connection, selector: Selector, found: Bite
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if selector.states is not None:
        conditions.append(tasks.c.state.in_([each.value for each in selector.states]))
    if selector.task_ids:
        conditions.append(tasks.c.task_id.in_(_known_ids(connection, selector.task_ids)))
    if selector.phases:
        keys = phase_keys(connection)
        named = [{keys[name] for name in fitting(each, keys)} for each in selector.phases]
        found.scope = frozenset[int]().union(*named)
        wish = task_phases.c
        conditions += [
            exists().where(wish.signature == tasks.c.signature, wish.phase_id.in_(each))
            for each in named
        ]
    return conditions


def phase_keys(connection: Connection) -> dict[str, int]:
    """Every phase by name."""
    rows = connection.execute(select(phases.c.name, phases.c.id))
    return {row.name: row.id for row in rows}


def _known_ids(connection: Connection, task_ids: Sequence[str]) -> set[str]:
    query = select(tasks.c.task_id).where(tasks.c.task_id.in_(task_ids))
    known = set(connection.execute(query).scalars())
    for each in task_ids:
        if each not in known:
            raise UnknownTask(
                f"no task {each!r} in this queue; a condition is written `name=value`"
            )
    return known


def known_parameters(connection: Connection) -> set[str]:
    """The names of parameters: those remembered, and those of the oldest and newest task."""
    known = set(connection.execute(select(experiment_parameters.c.name)).scalars())
    for order in (tasks.c.id, tasks.c.id.desc()):
        text: Any = connection.execute(select(tasks.c.parameters).order_by(order).limit(1)).scalar()
        known.update(json.loads(text or "{}"))
    return known


def last_attempts(connection: Connection, signatures: Sequence[str]) -> dict[str, Ran]:
    """The last attempt of each task, with the headline of what its last failure said."""
    column = attempts.c
    query = (
        select(column.signature, column.worker_id, column.host, column.device)
        .add_columns(column.outcome, column.error, column.code_version, results.c.id)
        .outerjoin(
            results,
            (results.c.signature == column.signature)
            & results.c.accepted
            & (results.c.attempt_id == column.id),
        )
        .where(column.signature.in_(signatures))
        .order_by(column.signature, column.number)
    )
    found: dict[str, Ran] = {}
    for signature, worker, host, device, outcome, error, code, result in connection.execute(query):
        before = found.get(signature, Ran())
        text, kind = before.error, before.kind
        if outcome in FAILED:
            text, kind = headline(error or ""), said(outcome, error).kind
        code = before.code if before.stands else code
        stands = before.stands or result is not None
        found[signature] = Ran(worker, host, device, text, kind, code, stands)
    return found
