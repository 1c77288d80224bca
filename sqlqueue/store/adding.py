"""Adding the cells of sweep files: new tasks, wishes of phases, links to directories.

Every function takes a connection inside a transaction.  Idempotent: adding the same cells
again changes nothing.  What is not here: expanding sweep files, claiming directories, rows, what
several wishes come to (`wishing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, true
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import MAX_LOSSES, Event, State, move
from sqlqueue.plan.pace import Shape
from sqlqueue.plan.quick_json import written
from sqlqueue.plan.shaped import Shaped
from sqlqueue.protocol import NewTask, PhaseCounts
from sqlqueue.store import pace, standing, wishing
from sqlqueue.store.added import Tally
from sqlqueue.store.prepared import Prepared, among, listed
from sqlqueue.store.recounting import counted
from sqlqueue.store.schema import phases, tasks
from sqlqueue.store.standing import Stands, Wish

Seconds = Callable[[Shape], float | None]

_TASK_NAMES: Final = (
    *("signature", "task_id", "phase_id", "experiment", "parameters", "runtime_only", "seed"),
    *("priority", "cost", "max_attempts", "timeout_seconds", "created_at", "shape_id"),
)
_ADD_TASK: Final = Prepared(standing.insertion(tasks, _TASK_NAMES))
_TAKEN: Final = Prepared(select(tasks.c.task_id).where(among(tasks.c.task_id, "task_ids")))


@dataclass(frozen=True, slots=True)
class Addition:
    """`due`: links that were made to tasks which have a result.  `shared_with`: of each phase, in
    which others its shared cells appeared first."""

    phases: dict[str, PhaseCounts]
    due: list[tuple[str, int]]
    shared_with: dict[str, dict[str, int]]


def add(
    connection: Connection, new: Sequence[NewTask], directories: Mapping[str, int], now: float,
    *, given: int = 0, seconds: Seconds = lambda _: None, shaped: Shaped | None = None,
) -> Addition:  # fmt: skip
    """Adds cells.

    `directories`: the key of each output directory as spelled.  `given`: the `init` that found
    them.  `seconds`: what a cell is likely to take.  `shaped`: shapes of cells of before.
    """
    phase_keys = phase_keys_of(connection, {each.phase for each in new})
    there = standing.existing(connection, dict.fromkeys(each.signature for each in new))
    firsts = _first_of_each(new, there)
    shapes = _shapes(firsts.values(), shaped or Shaped())
    with counted(connection):
        _insert_new(connection, list(firsts.values()), shapes, phase_keys, now)
        asked = wishing.asked_of_phases(connection, phase_keys.values())
        wishes = standing.wishes_of(new, phase_keys)
        wished = standing.wish(connection, wishes, there, asked, given)
        pairs = ((each.signature, directories[each.output_dir]) for each in new)
        linked = standing.link(connection, pairs, firsts)
    _settle(connection, wished, there, firsts, phase_keys)
    tally = Tally(phase_keys, there, _restore(connection, there))
    tally.count(new, {signature: seconds(shape) for signature, shape in shapes.items()})
    completed = {signature for signature, each in there.items() if each.has_result}
    due = [link for link in linked if link[0] in completed]
    return Addition(tally.phases(), due, tally.shared_with(connection))


def phase_keys_of(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The keys of those phases, which are made where they do not exist."""
    wanted = sorted(names)
    connection.execute(insert(phases).on_conflict_do_nothing(), [{"name": name} for name in wanted])
    query = select(phases.c.name, phases.c.id).where(phases.c.name.in_(wanted))
    return {row.name: row.id for row in connection.execute(query)}


def _first_of_each(new: Sequence[NewTask], there: Mapping[str, Any]) -> dict[str, NewTask]:
    """The first cell of each signature that is no task yet."""
    firsts: dict[str, NewTask] = {}
    for each in new:
        if each.signature not in there:
            firsts.setdefault(each.signature, each)
    return firsts


def _shapes(new: Iterable[NewTask], shaped: Shaped) -> dict[str, Shape]:
    return {
        each.signature: shaped.of(each.experiment, each.parameters, each.runtime_only, each.cost)
        for each in new
    }


def _settle(
    connection: Connection,
    wished: Iterable[tuple[Wish, str]],
    there: Mapping[str, Stands],
    firsts: Mapping[str, NewTask],
    phase_keys: Mapping[str, int],
) -> None:
    """Tasks of which wishes changed are what these come to; most are so already."""
    steered = wishing.steered(connection, phase_keys.values())
    doubtful = set()
    for wish, signature in wished:
        if wish.phase_id in steered:
            doubtful.add(signature)
        elif (stands := there.get(signature)) is not None:
            if not stands.is_as_wished(wish):
                doubtful.add(signature)
        elif not wish.is_said_by(firsts[signature]):
            doubtful.add(signature)
    wishing.settle(connection, doubtful)


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
        (
            each.signature, ids[each.signature], phase_keys[each.phase], each.experiment,
            written(each.parameters), written(each.runtime_only), each.seed, each.priority,
            each.cost, each.max_attempts, each.timeout_seconds, now,
            shape_ids[shapes[each.signature].key],
        )
        for each in new
    ]  # fmt: skip
    _ADD_TASK.each_row(connection, _TASK_NAMES, rows)


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


def _restore(connection: Connection, there: Mapping[str, Stands]) -> set[str]:
    """What a sweep file wants again is pending again: what was cancelled, and what failed if it
    is allowed more attempts now.  Returns their signatures."""
    again: set[str] = set()
    more = (tasks.c.failures < tasks.c.max_attempts) & (tasks.c.losses < MAX_LOSSES)
    for state, condition in ((State.CANCELLED, true()), (State.FAILED, more)):
        found = [key for key, each in there.items() if each.state == state]
        if found:
            statement = (
                tasks.update()
                .where(tasks.c.signature.in_(found), condition)
                .values(state=move(state, Event.RESTORE).value)
                .returning(tasks.c.signature)
            )
            again |= set(connection.execute(statement).scalars())
    return again
