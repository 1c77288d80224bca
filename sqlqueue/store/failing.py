"""What failed and what could not be run, by what was said of it.

Every function takes a connection inside a transaction, and changes nothing.  However many tasks
failed, what is kept in memory is what their groups have in common.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, bindparam, func, select

from sqlqueue.lifecycle import Outcome, State
from sqlqueue.plan.headline import headline
from sqlqueue.plan.kind import Said, Shared, said
from sqlqueue.plan.selector import Selector
from sqlqueue.protocol import CANNOT_RUN
from sqlqueue.store import selecting, states
from sqlqueue.store.reruns import FAILED, IN_VAIN
from sqlqueue.store.schema import attempts, tasks

MOST_NAMED: Final = 5
MOST_GROUPS: Final = 500
"""Beyond them, what is rare is told together."""
LATELY_ATTEMPTS: Final = 1000
"""So many attempts back it is looked for what could not be run: the table may hold millions."""
LATELY_COMPLETED: Final = 20_000
"""So many completed attempts back it is looked for what tells failures from them."""
TOLD: Final = (State.PENDING, State.RUNNING, State.FAILED, State.COMPLETED)
MOST_COMPARED: Final = 300
"""So many tasks are compared for every `status`; of more, `failures` tells what they share."""
_COMPLETED: Final = (
    select(tasks.c.parameters)
    .join(attempts, attempts.c.signature == tasks.c.signature)
    .where(attempts.c.outcome == Outcome.COMPLETED.value)
    .order_by(attempts.c.id.desc())
)
_GIVEN_BACK: Final = (
    select(tasks.c.task_id, attempts.c.worker_id, attempts.c.error, tasks.c.state)
    .join(tasks, tasks.c.signature == attempts.c.signature)
    .where(attempts.c.id > bindparam("after"), attempts.c.number > tasks.c.rerun_after)
    .where(attempts.c.outcome == Outcome.RELEASED.value)
    .where(attempts.c.error.startswith(CANNOT_RUN, autoescape=True))
    .order_by(attempts.c.id)
)
_LAST: Final = (
    select(attempts.c.signature, func.max(attempts.c.number).label("number"))
    .join(tasks, tasks.c.signature == attempts.c.signature)
    .where(states.FAILED, attempts.c.outcome.in_(FAILED))
    .group_by(attempts.c.signature)
    .subquery()
)
_FAILED_TASKS: Final = (
    select(tasks.c.task_id, attempts.c.outcome, attempts.c.error, tasks.c.parameters)
    .join(_LAST, _LAST.c.signature == tasks.c.signature)
    .join(
        attempts,
        and_(attempts.c.signature == _LAST.c.signature, attempts.c.number == _LAST.c.number),
    )
    .order_by(tasks.c.id)
)
REST: Final = Said("FAILED", ("what else was said",), ())


@dataclass(slots=True)
class Group:
    """Tasks whose last failure was of one kind, and what they share.

    `final`: failed for good; `kept`: so too, but they ran once more and have results of before.
    """

    said: Said
    count: int = 0
    final: int = 0
    kept: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    task_ids: list[str] = field(default_factory=list)
    shared: Shared = field(default_factory=Shared)
    example: dict[str, Any] = field(default_factory=dict)

    def add(self, failed: RowMapping, told: Said, phase: str, parameters: dict[str, Any]) -> None:
        """One more task."""
        self.said = self.said.joined(told) if self.said.fixed == told.fixed else self.said
        self.count += 1
        self.final += failed["state"] == State.FAILED.value
        self.kept += failed["state"] == State.COMPLETED.value
        self.phases[phase] += 1
        if len(self.task_ids) < MOST_NAMED:
            self.task_ids.append(failed["task_id"])
        self.shared.add(parameters)
        if not self.example:
            names = ("task_id", "number", "worker_id", "host", "device", "log_file", "error")
            self.example = {name: failed[name] for name in names}


def groups(connection: Connection, selector: Selector) -> list[Group]:
    """Tasks that are not completed and failed last time, or ran once more in vain, by the kind, the
    most frequent first."""
    found: dict[str, Group] = {}
    for failed, phase in _failed(connection, selector):
        told = said(failed["outcome"], failed["error"])
        known = told.kind in found or len(found) < MOST_GROUPS
        group = found.setdefault(told.kind if known else REST.kind, Group(told if known else REST))
        group.add(failed, told, phase, json.loads(failed["parameters"]))
    _tell_apart(connection, found)
    return sorted(found.values(), key=lambda each: (-each.count, each.task_ids))


def _tell_apart(connection: Connection, found: Mapping[str, Group]) -> None:
    """Leaves in each group what no other task that was tried has."""
    if not any(each.shared.values for each in found.values()):
        return
    for text in connection.execute(_COMPLETED.limit(LATELY_COMPLETED)).scalars():
        parameters = json.loads(text)
        for group in found.values():
            group.shared.others(parameters)
    for failed, _ in _failed(connection, Selector()):
        kind = said(failed["outcome"], failed["error"]).kind
        parameters = json.loads(failed["parameters"])
        for name, group in found.items():
            if name != kind and group.shared.values:
                group.shared.others(parameters)


def _failed(connection: Connection, selector: Selector) -> Iterator[tuple[RowMapping, str]]:
    """The last failure of each task that is selected and not finished well, with its phase."""
    after: int | None = 0
    while after is not None:
        bite = selecting.bite(connection, selector, after)
        phase_of = {each.signature: each.phase for each in bite.tasks if each.state in TOLD}
        for row in connection.execute(_last_failures(list(phase_of))).mappings():
            yield row, phase_of[row["signature"]]
        after = bite.next


def _last_failures(signatures: list[str]) -> Any:
    column = attempts.c
    last = (
        select(column.signature, func.max(column.number).label("number"))
        .join(tasks, tasks.c.signature == column.signature)
        .where(column.signature.in_(signatures), column.outcome.in_(FAILED))
        .where(column.number > tasks.c.rerun_after)
        .where((tasks.c.state != State.COMPLETED.value) | IN_VAIN)
        .group_by(column.signature)
        .subquery()
    )
    return (
        select(attempts, tasks.c.task_id, tasks.c.state, tasks.c.parameters)
        .join(last, and_(last.c.signature == column.signature, last.c.number == column.number))
        .join(tasks, tasks.c.signature == column.signature)
        .order_by(tasks.c.id)
    )


def failures(connection: Connection) -> list[dict[str, Any]]:
    """Failed tasks by the kind of their last failure, the most frequent first."""
    found: dict[str, tuple[Said, list[str]]] = {}
    texts: list[tuple[str, str]] = []
    for task_id, outcome, error, parameters in connection.execute(_FAILED_TASKS):
        told = said(outcome, error)
        before, ids = found.get(told.kind, (told, []))
        ids.append(task_id)
        found[told.kind] = (before.joined(told), ids)
        if len(texts) <= MOST_COMPARED:
            texts.append((told.kind, parameters))
    shared = _shared(connection, texts) if len(texts) <= MOST_COMPARED else {}
    return [
        {"error": told.heading, "outcome": told.outcome, "count": len(ids), "kind": kind,
         "shared": shared.get(kind, {}), "task_ids": ids[:MOST_NAMED]}
        for kind, (told, ids) in sorted(found.items(), key=lambda each: -len(each[1][1]))
    ]  # fmt: skip


def _shared(connection: Connection, failed: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """What the tasks of each kind share, that few completed ones are compared with."""
    if not failed:
        return {}
    found: dict[str, Shared] = defaultdict(Shared)
    parameters = [(kind, json.loads(text)) for kind, text in failed]
    for kind, each in parameters:
        found[kind].add(each)
    newest = connection.execute(select(func.max(attempts.c.id))).scalar() or 0
    query = _COMPLETED.where(attempts.c.id > newest - LATELY_ATTEMPTS).limit(MOST_COMPARED)
    completed = [("", json.loads(text)) for text in connection.execute(query).scalars()]
    for kind, each in (*completed, *parameters):
        for name, shared in found.items():
            if name != kind and shared.values:
                shared.others(each)
    counts = Counter(kind for kind, _ in failed)
    return {kind: each.told(counts[kind]) for kind, each in found.items()}


def given_back(connection: Connection) -> list[dict[str, Any]]:
    """Waiting tasks that a worker lately could not run where it is, by what it said."""
    newest = connection.execute(select(func.max(attempts.c.id))).scalar() or 0
    found = connection.execute(_GIVEN_BACK, {"after": newest - LATELY_ATTEMPTS})
    # The state is looked at here: asked for there, it would have every waiting task looked at.
    rows = (each for each in found if each.state == State.PENDING)
    return _grouped((row.task_id, f"{row.worker_id} {headline(row.error)}") for row in rows)


def _grouped(told: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Tasks by what was said of them, the most frequent first."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for task_id, text in told:
        found[text][task_id] = None
    ordered = sorted(found.items(), key=lambda each: -len(each[1]))
    return [
        {"error": text, "count": len(ids), "task_ids": list(ids)[:MOST_NAMED]}
        for text, ids in ordered
    ]
