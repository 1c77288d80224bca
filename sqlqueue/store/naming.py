"""A row that was found completes its task, under the id and phase that stand in the row.

Every function works inside the transaction of a connection.  Ids that the database gave to
other tasks meanwhile are taken back; those tasks get free ones at the end.  What is not
here: reading and judging rows (`adopting.py`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import Outcome, State
from sqlqueue.plan.reading_back import Torn, cells
from sqlqueue.store import adding, queue, reading
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import TaskRow
from sqlqueue.store.recounting import counted
from sqlqueue.store.schema import experiments, phases, results, tasks

FOUND: Final = "found in a CSV"
"""Stands for the experiment of a row that no task wanted, and for its worker."""

_SIGNATURE: Final = re.compile(r"[0-9a-f]{32}")
_PHASE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LONGEST_ID: Final = 300

_HOLDER = (
    select(tasks.c.signature, results.c.id)
    .outerjoin(results, (results.c.signature == tasks.c.signature) & results.c.accepted)
    .where(tasks.c.task_id == bindparam("id"))
)
_RENAME = (
    tasks.update()
    .where(tasks.c.signature == bindparam("of_signature"))
    .values(task_id=bindparam("to_id"))
)
_PLACE = (
    tasks.update()
    .where(tasks.c.signature == bindparam("of_signature"))
    .values(phase_id=bindparam("to_phase"), parameters=bindparam("to_parameters"))
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a CSV, its cells by column."""

    number: int
    data: bytes
    texts: dict[str, str]

    @property
    def signature(self) -> str:
        return self.texts["signature"]

    @property
    def task_id(self) -> str:
        return self.texts["task_id"]


def parsed(columns: tuple[str, ...], number: int, data: bytes) -> Row:
    """The row in that line; raises `Torn` when it cannot be one."""
    found = cells(data)
    if len(found) != len(columns):
        raise Torn(f"has {len(found)} cells, expected {len(columns)}")
    texts = dict(zip(columns, found, strict=True))
    if not _SIGNATURE.fullmatch(texts["signature"]):
        raise Torn(f"has no signature: {texts['signature']!r:.80}")
    if not _PHASE.fullmatch(texts["phase"]) or not 0 < len(texts["task_id"]) <= _LONGEST_ID:
        raise Torn(f"has no phase or task id: {texts['phase']!r:.80}, {texts['task_id']!r:.80}")
    return Row(number, data, texts)


class Naming:
    """Completes tasks by rows; remembers which others lost their ids by it."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._displaced: dict[str, None] = {}
        self._phases: dict[str, int] = {}

    def complete(
        self,
        found: Row,
        task: TaskRow | None,
        parameters: dict[str, Any],
        metrics: dict[str, Any],
    ) -> None:
        """The row's task is COMPLETED with these metrics; raises `Torn` for a taken id."""
        self._free(found)
        task = task or self._new(found)
        key, phase = found.signature, self._phase(found.texts["phase"])
        text = json.dumps(parameters)
        self._connection.execute(_RENAME, {"of_signature": key, "to_id": found.task_id})
        self._connection.execute(
            _PLACE, {"of_signature": key, "to_phase": phase, "to_parameters": text}
        )
        self._displaced.pop(key, None)
        self._accept(replace(task, task_id=found.task_id), json.dumps(metrics))

    def _accept(self, task: TaskRow, metrics: str) -> None:
        """As a result that came from the attempt that runs, or from one that nobody knew."""
        report = Report(FOUND, self._now)
        held = reading.attempts_of(self._connection, task.signature)
        attempt = next((each for each in held if each.outcome is None), None)
        if attempt is None:
            attempt = queue.record_attempt(self._connection, task, Outcome.COMPLETED, report)
        else:
            queue.end_attempt(self._connection, attempt, Outcome.COMPLETED, report)
        queue.complete(self._connection, task, attempt, metrics)

    def _free(self, found: Row) -> None:
        """Takes the id from a task that has no result; two rows with one id contradict."""
        holder = self._connection.execute(_HOLDER, {"id": found.task_id}).first()
        if holder is None or holder[0] == found.signature:
            return
        if holder[1] is not None:
            raise Torn(f"has the task id {found.task_id!r:.80}, which is another row's")
        self._displaced[holder[0]] = None
        self._connection.execute(_RENAME, {"of_signature": holder[0], "to_id": f"~{holder[0]}"})

    def _new(self, found: Row) -> TaskRow:
        """A task of which nothing is known but its row."""
        known = insert(experiments).values(name=FOUND, first_seen=self._now)
        self._connection.execute(known.on_conflict_do_nothing())
        values = {
            "signature": found.signature,
            "task_id": found.task_id,
            "phase_id": self._phase(found.texts["phase"]),
            "experiment": FOUND,
            "parameters": "{}",
            "state": State.PENDING.value,
            "created_at": self._now,
        }
        with counted(self._connection):
            self._connection.execute(tasks.insert(), values)
        task = reading.find(self._connection, found.task_id)
        assert task is not None
        return task

    def _phase(self, name: str) -> int:
        if name not in self._phases:
            self._phases |= adding.phase_keys_of(self._connection, [name])
        return self._phases[name]

    def settle(self) -> None:
        """Those that lost their ids get free ones, as new tasks of their phases do."""
        lost = [reading.find(self._connection, "", key) for key in self._displaced]
        waiting = [each for each in lost if each is not None]
        names = {each.phase for each in waiting}
        query = select(phases.c.name, phases.c.next_number).where(phases.c.name.in_(names))
        numbers = {each.name: each.next_number for each in self._connection.execute(query)}
        for each in waiting:
            numbers[each.phase] = self._give(each, numbers[each.phase])
        for name, number in numbers.items():
            statement = phases.update().where(phases.c.name == name)
            self._connection.execute(statement.values(next_number=number))
        self._displaced.clear()

    def _give(self, task: TaskRow, number: int) -> int:
        """Gives the task the first id from that number on that is free; returns the next."""
        seed = "" if task.seed is None else f"_{task.seed}"
        while self._connection.execute(_HOLDER, {"id": f"{task.phase}_{number}{seed}"}).first():
            number += 1
        new = {"of_signature": task.signature, "to_id": f"{task.phase}_{number}{seed}"}
        self._connection.execute(_RENAME, new)
        return number + 1
