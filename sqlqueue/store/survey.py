"""What `init` would do: counts per phase, without writing anything.

Reads the database as it is, or none at all; what it has to remember of a million cells lies in
a temporary table of the reading connection, which SQLite keeps outside the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Column, Connection, MetaData, Table, Text, select, text
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.home import Home
from sqlqueue.lifecycle import MAX_LOSSES, State
from sqlqueue.plan.task import Task
from sqlqueue.protocol import PhaseCounts
from sqlqueue.store import engine, records
from sqlqueue.store.directories import refuse_unclaimable
from sqlqueue.store.schema import phases, results, tasks

BATCH: Final = 1000

_seen = Table(
    "seen",
    MetaData(),
    Column("phase", Text, primary_key=True),
    Column("signature", Text, primary_key=True),
    prefixes=["TEMPORARY"],
)
_Key = tuple[str, str]


def survey(
    home: Home, output_dirs: Iterable[str], cells: Iterable[Task], *, set_aside: bool
) -> dict[str, PhaseCounts]:
    """Counts per phase as `init` of these cells would print them.

    Raises `DirectoryError` for directories that it would refuse.
    """
    reader = engine.open_reader(home) if home.database.exists() else engine.open_memory()
    try:
        with reader.connect() as connection:
            written = records.written(connection)
            refuse_unclaimable(home, output_dirs, written, set_aside=set_aside)
            _seen.create(connection)
            return _survey(connection, cells)
    finally:
        reader.dispose()


def _survey(connection: Connection, cells: Iterable[Task]) -> dict[str, PhaseCounts]:
    tally: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    stream = iter(cells)
    again: set[str] = set()
    while found := list(islice(stream, BATCH)):
        batch = [(each.phase, each.signature) for each in found]
        for phase, signature in _tried_again(connection, found):
            if signature not in again:
                tally[phase]["again"] += 1
            again.add(signature)
        for phase, kinds in _classified(connection, list(dict.fromkeys(batch))):
            for kind in kinds:
                tally[phase][kind] += 1
    return {phase: PhaseCounts(**counts) for phase, counts in tally.items()}


def _classified(connection: Connection, keys: list[_Key]) -> Iterator[tuple[str, list[str]]]:
    signatures = {signature for _, signature in keys}
    stored = _stored(connection, signatures)
    first = {key: phase for key, (phase, _) in stored.items()}
    counted = _earlier(connection, signatures, first)
    for phase, signature in keys:
        if (phase, signature) in counted:
            continue
        if signature not in first:
            first[signature] = phase
            yield phase, ["cells", "new"]
            continue
        kinds = ["cells", "known" if first[signature] == phase else "shared"]
        yield phase, kinds + ["completed"] * stored.get(signature, ("", False))[1]
    rows = [{"phase": phase, "signature": signature} for phase, signature in keys]
    connection.execute(insert(_seen).on_conflict_do_nothing(), rows)


def _tried_again(connection: Connection, cells: list[Task]) -> Iterator[_Key]:
    """The cells that `adding` would put back: cancelled, or failed and allowed more attempts."""
    statement = select(tasks.c.signature, tasks.c.state, tasks.c.failures).where(
        tasks.c.signature.in_({each.signature for each in cells}),
        (tasks.c.state == State.CANCELLED.value)
        | ((tasks.c.state == State.FAILED.value) & (tasks.c.losses < MAX_LOSSES)),
    )
    failures = {
        key: 0 if state == State.CANCELLED else count
        for key, state, count in connection.execute(statement)
    }
    for each in cells:
        if each.max_attempts > failures.get(each.signature, each.max_attempts):
            yield each.phase, each.signature


def _stored(connection: Connection, signatures: set[str]) -> dict[str, tuple[str, bool]]:
    """First phase, and whether there is a result, of those that are tasks already."""
    query = (
        select(tasks.c.signature, phases.c.name, results.c.id.is_not(None))
        .join(phases, phases.c.id == tasks.c.phase_id)
        .join(
            results, (results.c.signature == tasks.c.signature) & results.c.accepted, isouter=True
        )
        .where(tasks.c.signature.in_(signatures))
    )
    return {key: (phase, bool(done)) for key, phase, done in connection.execute(query)}


def _earlier(connection: Connection, signatures: set[str], first: dict[str, str]) -> set[_Key]:
    """The cells of earlier batches; notes in `first` where each appeared first."""
    query = select(_seen.c.phase, _seen.c.signature).where(_seen.c.signature.in_(signatures))
    rows = connection.execute(query.order_by(text("rowid"))).all()
    for phase, signature in rows:
        first.setdefault(signature, phase)
    return {(phase, signature) for phase, signature in rows}
