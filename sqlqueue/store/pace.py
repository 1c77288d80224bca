"""What cells took, kept by shape and kind of device; and the tasks that fit a time.

Every function takes a connection inside a transaction.  Bounded: so many shapes are told apart,
of each the last runs are kept; beyond that, cells are told apart by experiment and cost alone.
What is not here: what durations say of other cells (`plan/pace.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Text, bindparam, cast, func, select
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.lifecycle import State
from sqlqueue.plan.pace import Paces, Seen, Shape
from sqlqueue.store.counting import EVERY
from sqlqueue.store.planned import paces, shapes, tallies
from sqlqueue.store.prepared import Gathered, Prepared
from sqlqueue.store.reading import PENDING
from sqlqueue.store.schema import tasks

MOST_SHAPES: Final = 2000
LAST_RUNS: Final = 9

_ADD_SHAPE: Final = insert(shapes).on_conflict_do_nothing()
_SHAPE_OF: Final = select(tasks.c.shape_id).where(tasks.c.signature == bindparam("signature"))
_PACE: Final = Prepared(
    select(paces.c.runs, paces.c.seconds).where(
        paces.c.shape_id == bindparam("of_shape"), paces.c.kind == bindparam("of_kind")
    )
)
_KEEP: Final = insert(paces)
_KEEP_PACE: Final = Prepared(
    _KEEP.values({each.name: bindparam(each.name) for each in paces.c}).on_conflict_do_update(
        index_elements=["shape_id", "kind"],
        set_={"runs": _KEEP.excluded.runs, "seconds": _KEEP.excluded.seconds},
    )
)
_SHAPES: Final = Gathered(
    select(
        shapes.c.id,
        shapes.c.experiment,
        cast(shapes.c.cost, Text),
        shapes.c.parameters,
        shapes.c.key,
    )
)
_PACES: Final = Gathered(select(paces.c.shape_id, paces.c.kind, paces.c.seconds, paces.c.runs))
_OF_SHAPE: Final = (
    PENDING.where(tasks.c.shape_id == bindparam("shape"), tasks.c.priority == bindparam("urgency"))
    .order_by(tasks.c.id)
    .limit(bindparam("most"))
)


def shape_ids(connection: Connection, wanted: Iterable[Shape]) -> dict[str, int]:
    """The ids of shapes by their keys, of new ones too; those for which there is no room have
    that of their coarse shape."""
    by_key = {each.key: each for each in wanted}
    known = _ids(connection, by_key)
    new = [each for key, each in by_key.items() if key not in known]
    if not new:
        return known
    room = max(0, MOST_SHAPES - connection.execute(select(func.count(shapes.c.id))).scalar_one())
    coarse = {each.key: each.coarse for each in new[room:]}
    added = {each.key: each for each in (*new[:room], *coarse.values())}
    rows = [
        {
            "key": each.key,
            "experiment": each.experiment,
            "cost": each.cost,
            "parameters": json.dumps(each.parameters),
        }
        for each in added.values()
    ]
    connection.execute(_ADD_SHAPE, rows)
    found = _ids(connection, added)
    named = {key: found[each.key] for key, each in coarse.items()}
    return known | found | named


def _ids(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    query = select(shapes.c.key, shapes.c.id).where(shapes.c.key.in_(list(keys)))
    return {row.key: row.id for row in connection.execute(query)}


def learn(connection: Connection, signature: str, kind: str, seconds: float) -> bool:
    """Notes what a task took; whether that tells anything."""
    shape = connection.execute(_SHAPE_OF, {"signature": signature}).scalar()
    return learn_all(connection, [(shape or 0, kind, seconds)])


def learn_all(connection: Connection, took: Iterable[tuple[int, str, float]]) -> bool:
    """Notes what tasks of a shape took on a kind of device, in seconds; whether that tells
    anything."""
    runs: dict[tuple[int, str], list[float]] = {}
    for shape, kind, seconds in took:
        if shape and seconds > 0:
            runs.setdefault((shape, kind), []).append(seconds)
    for (shape, kind), fresh in runs.items():
        found = _PACE.all(connection, of_shape=shape, of_kind=kind)
        before, last = found[0] if found else (0, "[]")
        seen = json.dumps([*json.loads(last), *fresh][-LAST_RUNS:])
        row = {"shape_id": shape, "kind": kind, "runs": before + len(fresh), "seconds": seen}
        _KEEP_PACE.change(connection, **row)
    return bool(runs)


def known_shapes(connection: Connection) -> dict[int, Shape]:
    """Every shape by its id."""
    return {key: _shape(*others) for key, *others in _SHAPES.all(connection)}


@lru_cache(2 * MOST_SHAPES)  # they are asked for again and again, and never change
def _shape(experiment: str, cost: str, parameters: str, key: str) -> Shape:
    return Shape(experiment, float(cost), json.loads(parameters), key)


def known_paces(connection: Connection, known: dict[int, Shape]) -> Paces:
    """What is known of durations."""
    return Paces(
        Seen(known[shape_id], kind, tuple(json.loads(seconds)), runs)
        for shape_id, kind, seconds, runs in _PACES.all(connection)
    )


def shape_id_of(connection: Connection, signature: str) -> int:
    """The shape of a task; 0 when it is not known."""
    return connection.execute(_SHAPE_OF, {"signature": signature}).scalar() or 0


def states(connection: Connection) -> dict[State, int]:
    """How many tasks stand in each state."""
    tally = tallies.c
    query = (
        select(tally.state, func.sum(tally.cells).label("cells"))
        .where(tally.phase_id == EVERY, tally.cells > 0)
        .group_by(tally.state)
    )
    return {State(row.state): row.cells for row in connection.execute(query)}


def waiting(connection: Connection) -> list[tuple[int, int, int]]:
    """What may be handed out, as (shape, priority, number of tasks)."""
    tally = tallies.c
    query = select(tally.shape_id, tally.priority, tally.cells).where(
        tally.phase_id == EVERY,
        tally.state == State.PENDING.value,
        tally.held == 0,
        tally.cells > 0,
    )
    return [(shape, priority, cells) for shape, priority, cells in connection.execute(query)]


def candidates(
    connection: Connection, ordered: Sequence[tuple[int, int]], most: int, without: Collection[str]
) -> list[tuple[int, str]]:
    """Pending tasks of these shapes and priorities as (key, task id), one pair after the other."""
    found: list[tuple[int, str]] = []
    for shape, priority in ordered:
        query: Any = _OF_SHAPE
        if without:
            query = query.where(tasks.c.experiment.not_in(list(without)))
        rows = connection.execute(
            query, {"shape": shape, "urgency": priority, "most": most - len(found)}
        )
        found += [(row.id, row.task_id) for row in rows]
        if len(found) >= most:
            break
    return found
