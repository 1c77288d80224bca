"""Adding the cells of sweep files: new tasks, wishes of phases, links to directories.

Every function takes a connection inside a transaction.  Idempotent: adding the same cells
again changes nothing.  What is not here: expanding sweep files, claiming directories, rows, what
several wishes come to (`wishing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, literal_column, select, true
from sqlalchemy.dialects.sqlite import Insert, insert

from sqlqueue.lifecycle import MAX_LOSSES, Event, State, move
from sqlqueue.plan.pace import Shape, shape_of
from sqlqueue.plan.quick_json import written
from sqlqueue.protocol import NewTask, PhaseCounts
from sqlqueue.store import pace, wishing
from sqlqueue.store.added import Tally
from sqlqueue.store.prepared import Prepared, among, listed
from sqlqueue.store.recounting import added_together
from sqlqueue.store.schema import (
    phases,
    results,
    task_output_dirs,
    task_phases,
    tasks,
)

Seconds = Callable[[Shape], float | None]


def _insert(table: Table, *names: str) -> Insert:
    return insert(table).values({name: bindparam(name) for name in names})


_ADD_TASK = Prepared(
    _insert(
        tasks, "signature", "task_id", "phase_id", "experiment", "parameters", "runtime_only",
        "seed", "priority", "cost", "max_attempts", "timeout_seconds", "created_at", "shape_id",
    )
)  # fmt: skip
_INSERT_WISH = _insert(
    task_phases, "phase_id", "signature", "priority", "max_attempts", "timeout_seconds",
    "asked_priority", "given",
)  # fmt: skip
_ADD_WISH = Prepared(
    _INSERT_WISH.on_conflict_do_update(
        index_elements=["phase_id", "signature"],
        set_={
            "priority": _INSERT_WISH.excluded.priority,
            "max_attempts": _INSERT_WISH.excluded.max_attempts,
            "timeout_seconds": _INSERT_WISH.excluded.timeout_seconds,
            "given": func.max(task_phases.c.given, _INSERT_WISH.excluded.given),
            "withdrawn": literal_column("0"),
        },
    )
)
_ADD_LINK = Prepared(
    _insert(task_output_dirs, "signature", "directory_id").on_conflict_do_nothing(
        index_elements=["signature", "directory_id"]
    )
)
_LINKS = Prepared(
    select(task_output_dirs.c.signature, task_output_dirs.c.directory_id).where(
        among(task_output_dirs.c.signature, "signatures")
    )
)
_TAKEN = Prepared(select(tasks.c.task_id).where(among(tasks.c.task_id, "task_ids")))
_EXISTING = Prepared(
    select(tasks.c.signature, tasks.c.state, tasks.c.phase_id, results.c.id.is_not(None))
    .select_from(tasks)
    .join(results, (results.c.signature == tasks.c.signature) & results.c.accepted, isouter=True)
    .where(among(tasks.c.signature, "signatures"))
)


@dataclass(frozen=True, slots=True)
class Addition:
    """`due`: links that were made to tasks which have a result.  `shared_with`: of each phase, in
    which others its shared cells appeared first."""

    phases: dict[str, PhaseCounts]
    due: list[tuple[str, int]]
    shared_with: dict[str, dict[str, int]]


def add(
    connection: Connection, new: Sequence[NewTask], directories: Mapping[str, int], now: float,
    *, given: int = 0, seconds: Seconds = lambda _: None,
) -> Addition:  # fmt: skip
    """Adds cells.

    `directories`: the key of each output directory as spelled.  `given`: the `init` that found
    them.  `seconds`: what a cell is likely to take.
    """
    phase_keys = phase_keys_of(connection, {each.phase for each in new})
    existing = _existing(connection, new)
    firsts = _first_of_each(new, existing)
    shapes = {each.signature: _shape(each) for each in firsts}
    with added_together(connection):
        _insert_new(connection, firsts, shapes, phase_keys, now)
        _add_wishes(connection, new, phase_keys, given)
        linked = _add_links(connection, new, directories)
    often = Counter(each.signature for each in new)
    steered = wishing.steered(connection, phase_keys.values())
    wishing.settle(
        connection,
        {each.signature for each in new if phase_keys[each.phase] in steered}
        | {key for key in often if key in existing or often[key] > 1},
    )
    tally = Tally(phase_keys, existing, _restore(connection, existing))
    foreseen = {signature: seconds(shape) for signature, shape in shapes.items()}
    for each in new:
        tally.count(each, foreseen.get(each.signature))
    completed = {signature for signature, row in existing.items() if row["has_result"]}
    due = [link for link in linked if link[0] in completed]
    return Addition(tally.phases(), due, tally.shared_with(connection))


def phase_keys_of(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The keys of those phases, which are made where they do not exist."""
    wanted = sorted(names)
    connection.execute(insert(phases).on_conflict_do_nothing(), [{"name": name} for name in wanted])
    query = select(phases.c.name, phases.c.id).where(phases.c.name.in_(wanted))
    return {row.name: row.id for row in connection.execute(query)}


def _existing(connection: Connection, new: Sequence[NewTask]) -> dict[str, dict[str, Any]]:
    """State, phase and whether there is a result, of those cells that are tasks already."""
    found = _EXISTING.all(connection, signatures=listed({each.signature for each in new}))
    return {
        signature: {"state": State(state), "phase_id": phase, "has_result": bool(has_result)}
        for signature, state, phase, has_result in found
    }


def _first_of_each(new: Sequence[NewTask], existing: Mapping[str, Any]) -> list[NewTask]:
    """The first cell of each signature that is no task yet."""
    firsts: dict[str, NewTask] = {}
    for each in new:
        if each.signature not in existing:
            firsts.setdefault(each.signature, each)
    return list(firsts.values())


def _insert_new(
    connection: Connection,
    new: list[NewTask],
    shapes: Mapping[str, Shape],
    phase_keys: Mapping[str, int],
    now: float,
) -> None:
    if not new:
        return
    ids = _assign_ids(connection, new, phase_keys)
    shape_ids = pace.shape_ids(connection, shapes.values())
    rows = [
        {
            "signature": each.signature,
            "task_id": ids[each.signature],
            "phase_id": phase_keys[each.phase],
            "experiment": each.experiment,
            "parameters": written(each.parameters),
            "runtime_only": written(each.runtime_only),
            "seed": each.seed,
            "priority": each.priority,
            "cost": each.cost,
            "max_attempts": each.max_attempts,
            "timeout_seconds": each.timeout_seconds,
            "created_at": now,
            "shape_id": shape_ids[shapes[each.signature].key],
        }
        for each in new
    ]
    _ADD_TASK.each(connection, rows)


def _shape(task: NewTask) -> Shape:
    return shape_of(task.experiment, task.parameters, task.runtime_only, task.cost)


def _assign_ids(
    connection: Connection, new: list[NewTask], phase_keys: Mapping[str, int]
) -> dict[str, str]:
    """`{phase}_{n}_{seed}`: n is the next number in the phase whose id is free."""
    query = select(phases.c.name, phases.c.next_number).where(phases.c.name.in_(phase_keys))
    numbers = {row.name: row.next_number for row in connection.execute(query)}
    ids: dict[str, str] = {}
    waiting = new
    while waiting:
        proposed: dict[str, NewTask] = {}
        for each in waiting:
            proposed[_next_id(each, numbers, proposed, ids)] = each
        taken = {key for (key,) in _TAKEN.all(connection, task_ids=listed(proposed))}
        ids |= {each.signature: key for key, each in proposed.items() if key not in taken}
        waiting = [each for key, each in proposed.items() if key in taken]
    statement = phases.update().where(phases.c.name == bindparam("of_phase"))
    connection.execute(
        statement.values(next_number=bindparam("number")),
        [{"of_phase": name, "number": number} for name, number in numbers.items()],
    )
    return ids


def _next_id(
    task: NewTask, numbers: dict[str, int], proposed: Mapping[str, Any], ids: Mapping[str, str]
) -> str:
    assigned = set(ids.values()) if ids else ()
    while True:
        number = numbers[task.phase]
        numbers[task.phase] = number + 1
        seed = "" if task.seed is None else f"_{task.seed}"
        found = f"{task.phase}_{number}{seed}"
        if found not in proposed and found not in assigned:
            return found


def _add_wishes(
    connection: Connection, new: Sequence[NewTask], phase_keys: Mapping[str, int], given: int
) -> None:
    asked = wishing.asked_of_phases(connection, phase_keys.values())
    wishes = [
        {
            "phase_id": phase_keys[each.phase],
            "signature": each.signature,
            "priority": each.priority,
            "max_attempts": each.max_attempts,
            "timeout_seconds": each.timeout_seconds,
            "asked_priority": asked.get(phase_keys[each.phase]),
            "given": given,
        }
        for each in new
    ]
    _ADD_WISH.each(connection, wishes)


def _add_links(
    connection: Connection, new: Sequence[NewTask], directories: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Links cells to their directories; returns the links that were not there before."""
    return link(connection, ((each.signature, directories[each.output_dir]) for each in new))


def link(connection: Connection, pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Links tasks to directories by key; returns the links that were not there before."""
    wanted = dict.fromkeys(pairs)
    signatures = listed({signature for signature, _ in wanted})
    there = set(_LINKS.all(connection, signatures=signatures))
    missing = [each for each in wanted if each not in there]
    if missing:
        rows = [{"signature": signature, "directory_id": key} for signature, key in missing]
        _ADD_LINK.each(connection, rows)
    return missing


def _restore(connection: Connection, existing: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """What a sweep file wants again is pending again: what was cancelled, and what failed if it
    is allowed more attempts now.  Returns their signatures."""
    again: set[str] = set()
    more = (tasks.c.failures < tasks.c.max_attempts) & (tasks.c.losses < MAX_LOSSES)
    for state, condition in ((State.CANCELLED, true()), (State.FAILED, more)):
        found = [key for key, row in existing.items() if row["state"] == state]
        if found:
            statement = (
                tasks.update()
                .where(tasks.c.signature.in_(found), condition)
                .values(state=move(state, Event.RESTORE).value)
                .returning(tasks.c.signature)
            )
            again |= set(connection.execute(statement).scalars())
    return again
