"""What `init` would do: counts per phase, without writing anything.

Reads the database as it is, or none at all; what it has to remember of a million cells lies in
a temporary table of the reading connection, which SQLite keeps outside the database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, Table, Text, exists, func, select, text
from sqlalchemy.dialects.sqlite import insert

from sqlqueue.home import Home
from sqlqueue.lifecycle import MAX_LOSSES, State
from sqlqueue.plan.pace import shape_of
from sqlqueue.plan.task import Task
from sqlqueue.protocol import PhaseCounts, PhaseStands
from sqlqueue.store import engine, filing, pace, records
from sqlqueue.store.added import reused
from sqlqueue.store.directories import refuse_unclaimable
from sqlqueue.store.schema import phases, results, task_phases, tasks

BATCH: Final = 1000

_seen = Table(
    "seen",
    MetaData(),
    Column("phase", Text, primary_key=True),
    Column("signature", Text, primary_key=True),
    prefixes=["TEMPORARY"],
)
_Key = tuple[str, str]
_GONE: Final = (
    select(phases.c.name, tasks.c.state, func.count())
    .select_from(task_phases)
    .join(phases, phases.c.id == task_phases.c.phase_id)
    .join(tasks, tasks.c.signature == task_phases.c.signature)
    .where(
        task_phases.c.withdrawn.is_(False),
        task_phases.c.given > 0,
        ~exists().where(
            _seen.c.phase == phases.c.name, _seen.c.signature == task_phases.c.signature
        ),
    )
    .group_by(phases.c.name, tasks.c.state)
)


@dataclass(slots=True)
class Survey:
    """What `init` would find; see `Added`.  `gone`: what is wanted by a phase and among no cells,
    by phase and state, of every phase.  `reused`: by phase, experiment and code."""

    phases: dict[str, PhaseCounts] = field(default_factory=dict)
    shared_with: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    stands: dict[str, PhaseStands] = field(default_factory=dict)
    gone: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reused: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def survey(
    home: Home, output_dirs: Iterable[str], cells: Callable[[], Iterable[Task]],
    files: filing.Files, *, set_aside: bool,
) -> Survey:  # fmt: skip
    """Counts per phase as `init` of these cells would print them.

    Raises `DirectoryError` for directories that it would refuse.
    """

    def counted(connection: Connection) -> Survey:
        written = records.written(connection)
        refuse_unclaimable(home, output_dirs, written, set_aside=set_aside)
        _seen.create(connection)
        return _Surveyor(connection).survey(iter(cells()), files)

    if home.database.exists():
        with engine.Reader(home) as reader:
            return reader.read(counted)
    memory = engine.open_memory()
    try:
        with memory.connect() as connection:
            return counted(connection)
    finally:
        memory.dispose()


class _Surveyor:
    """Looks at cells, some at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._paces = pace.known_paces(connection, pace.known_shapes(connection))
        self._tally: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
        self._again: set[str] = set()
        self._found = Survey()

    def survey(self, stream: Iterator[Task], files: filing.Files) -> Survey:
        while batch := list(islice(stream, BATCH)):
            self._try_again(batch)
            cells: dict[_Key, Task] = {}
            for each in batch:
                cells.setdefault((each.phase, each.signature), each)
            self._classify(cells)
        found = self._found
        found.phases = {phase: PhaseCounts(**counts) for phase, counts in self._tally.items()}
        found.stands = filing.stands(self._connection, files)
        for phase, state, count in self._connection.execute(_GONE):
            found.gone[phase][state] += count
        return found

    def _try_again(self, batch: list[Task]) -> None:
        for phase, signature in _tried_again(self._connection, batch):
            if signature not in self._again:
                self._tally[phase]["again"] += 1
            self._again.add(signature)

    def _classify(self, cells: dict[_Key, Task]) -> None:
        signatures = {signature for _, signature in cells}
        stored = _stored(self._connection, signatures)
        first = {key: phase for key, (phase, _) in stored.items()}
        counted = _earlier(self._connection, signatures, first)
        self._reuse(
            {
                key: each.experiment
                for key, each in cells.items()
                if key not in counted and stored.get(key[1], ("", False))[1]
            }
        )
        for phase, signature in cells:
            if (phase, signature) in counted:
                continue
            self._tally[phase]["cells"] += 1
            if signature in first:
                self._known(phase, first[signature], stored.get(signature, ("", False))[1])
            else:
                first[signature] = phase
                self._new(cells[phase, signature], self._tally[phase])
        rows = [{"phase": phase, "signature": signature} for phase, signature in cells]
        self._connection.execute(insert(_seen).on_conflict_do_nothing(), rows)

    def _reuse(self, completed: dict[_Key, str]) -> None:
        for each in reused(self._connection, completed) if completed else []:
            self._found.reused[each.phase, each.experiment, each.code] += each.count

    def _known(self, phase: str, first: str, completed: bool) -> None:
        if first == phase:
            self._tally[phase]["known"] += 1
        else:
            self._tally[phase]["shared"] += 1
            self._found.shared_with[phase][first] += 1
        self._tally[phase]["completed"] += completed

    def _new(self, cell: Task, counts: dict[str, Any]) -> None:
        counts["new"] += 1
        shape = shape_of(cell.experiment, cell.parameters, cell.runtime_only, cell.cost)
        seconds = self._paces.usually(shape)
        if seconds is not None:
            counts["foreseen"] += 1
            counts["work_seconds"] += seconds


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
