"""Which phase stands in which sweep files, and what phases want that no file does any more.

A home remembers in which files a phase stood when they were given; where it stands in several, one
of them alone does not say what is gone.  Every function takes a connection inside a transaction.
What is not here: reading sweep files, deciding what becomes of cells (`manager/pruning.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.protocol import PhaseStands
from sqlqueue.store import adding, selecting
from sqlqueue.store.counting import EVERY
from sqlqueue.store.planned import phase_files, tallies
from sqlqueue.store.schema import meta, phases, task_phases, tasks
from sqlqueue.store.selecting import Chosen
from sqlqueue.store.wishing import BITE_TASKS

Files = Mapping[str, Sequence[str]]
"""The phases that stand in each file."""

_ADD: Final = insert(phase_files).on_conflict_do_nothing()
_COUNTER: Final = "inits"


def next_given(connection: Connection) -> int:
    """The number of an `init`, larger than those of all that began before."""
    query = select(meta.c.value).where(meta.c.key == _COUNTER)
    number = int(connection.execute(query).scalar() or 0) + 1
    statement = insert(meta).values(key=_COUNTER, value=str(number))
    connection.execute(
        statement.on_conflict_do_update(index_elements=["key"], set_={"value": str(number)})
    )
    return number


def stands(connection: Connection, files: Files) -> dict[str, PhaseStands]:
    """Of every phase: whether a file given has it, or had it; in which others it stood; how many
    cells it wants."""
    now = {name for names in files.values() for name in names}
    before: dict[str, set[str]] = defaultdict(set)
    query = select(phases.c.name, phase_files.c.path).join(
        phase_files, phase_files.c.phase_id == phases.c.id
    )
    for name, path in connection.execute(query):
        before[name].add(path)
    wanted = _wanted(connection)
    return {
        name: PhaseStands(
            given=name in now or not before[name].isdisjoint(files),
            elsewhere=sorted(before[name].difference(files)),
            wanted=wanted.get(key, 0),
        )
        for name, key in selecting.phase_keys(connection).items()
    }


def _wanted(connection: Connection) -> dict[int, int]:
    tally = tallies.c
    query = (
        select(tally.phase_id, func.sum(tally.cells).label("cells"))
        .where(tally.phase_id != EVERY)
        .group_by(tally.phase_id)
    )
    return {row.phase_id: row.cells for row in connection.execute(query)}


def remember(connection: Connection, files: Files) -> None:
    """These phases stand in these files.  One that has left a file is remembered there only while
    it stands nowhere else."""
    keys = adding.phase_keys_of(connection, {name for names in files.values() for name in names})
    rows = [
        {"phase_id": keys[name], "path": path} for path, names in files.items() for name in names
    ]
    if rows:
        connection.execute(_ADD, rows)
    stand = {(row["phase_id"], row["path"]) for row in rows}
    known = select(phase_files.c.phase_id, phase_files.c.path)
    stood = {(key, path) for key, path in connection.execute(known)}
    for key, path in sorted(stood - stand):
        elsewhere = any(other == key for other, _ in stood - {(key, path)})
        if path in files and elsewhere:
            row = (phase_files.c.phase_id == key) & (phase_files.c.path == path)
            connection.execute(delete(phase_files).where(row))
            stood.discard((key, path))


def gone(
    connection: Connection, names: Collection[str], given: int, after: int
) -> tuple[dict[str, list[Chosen]], int | None]:
    """What these phases want and neither the `init` of that number found nor a later one, of the
    tasks after that key: by phase, and where the rest begins.  Of cells that no `init` ever noted
    (0: of an older version, or recovered) it is not known where they stand."""
    wish = task_phases.c
    keys = {key: each for each, key in selecting.phase_keys(connection).items() if each in names}
    query = (
        select(tasks.c.signature, tasks.c.task_id, tasks.c.state, tasks.c.rerun_after)
        .add_columns(wish.phase_id)
        .join(task_phases, wish.signature == tasks.c.signature)
        .where(tasks.c.id > after, tasks.c.id <= after + BITE_TASKS)
        .where(wish.withdrawn.is_(False), wish.given > 0, wish.given < given)
        .where((wish.phase_id + 0).in_(list(keys)))  # by a sum no index finds all of a phase's
        .order_by(tasks.c.id)
    )
    found: dict[str, list[Chosen]] = defaultdict(list)
    for signature, task_id, state, rerun_after, key in connection.execute(query):
        found[keys[key]].append(Chosen.of(signature, task_id, keys[key], state, rerun_after))
    last = connection.execute(select(func.max(tasks.c.id))).scalar() or 0
    return found, after + BITE_TASKS if after + BITE_TASKS < last else None
