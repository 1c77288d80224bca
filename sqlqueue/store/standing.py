"""What stands already of the cells of a batch: tasks, wishes of phases, links to directories.

Asked in few statements however many cells there are: where all is as it should be, which is so
for nearly all cells of a sweep that is given again, the database counts and tells no rows.
Every function takes a connection inside a transaction.  What is not here: new tasks (`adding.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, bindparam, func, literal_column, select
from sqlalchemy.dialects.sqlite import Insert, insert

from sqlqueue.protocol import NewTask
from sqlqueue.store.prepared import Prepared, among, listed
from sqlqueue.store.schema import results, task_output_dirs, task_phases, tasks

_WISH: Final = task_phases.c
_LINK: Final = task_output_dirs.c


class Stands(NamedTuple):
    """A task that is there, or is about to be: where it stands, and what its wishes come to."""

    state: str
    phase_id: int
    has_result: int
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    held: int

    def is_as_wished(self, wish: Wish) -> bool:
        """Whether one more such wish, of a phase that nobody steers, changes nothing."""
        return self[3:] == (wish.priority, wish.max_attempts, wish.timeout_seconds, 0)


class Wish(NamedTuple):
    """What a sweep file says of cells of a phase."""

    phase_id: int
    priority: int
    max_attempts: int
    timeout_seconds: float | None

    def is_said_by(self, first: NewTask) -> bool:
        """Whether the cell by which a task was made says the same."""
        return self[1:] == (first.priority, first.max_attempts, first.timeout_seconds)


def insertion(table: Table, names: Iterable[str]) -> Insert:
    """Of a row with those values."""
    return insert(table).values({name: bindparam(name) for name in names})


_WISH_NAMES: Final = (
    *("phase_id", "signature", "priority", "max_attempts", "timeout_seconds"),
    *("asked_priority", "given"),
)
_NEW_WISH: Final = Prepared(insertion(task_phases, _WISH_NAMES))
_INSERT_WISH: Final = insertion(task_phases, _WISH_NAMES)
_WISH_ANEW: Final = Prepared(
    _INSERT_WISH.on_conflict_do_update(
        index_elements=["phase_id", "signature"],
        set_={
            "priority": _INSERT_WISH.excluded.priority,
            "max_attempts": _INSERT_WISH.excluded.max_attempts,
            "timeout_seconds": _INSERT_WISH.excluded.timeout_seconds,
            "given": func.max(_WISH.given, _INSERT_WISH.excluded.given),
            "withdrawn": literal_column("0"),
        },
    )
)
_AS_SAID: Final = (
    _WISH.phase_id == bindparam("of_phase"),
    among(_WISH.signature, "signatures"),
    _WISH.priority == bindparam("of_priority"),
    _WISH.max_attempts == bindparam("of_attempts"),
    _WISH.timeout_seconds.is_not_distinct_from(bindparam("of_timeout")),
    _WISH.withdrawn == literal_column("0"),
)
_GIVEN_AGAIN: Final = Prepared(
    task_phases.update().where(*_AS_SAID).values(given=func.max(_WISH.given, bindparam("by_init")))
)
_WISHED: Final = Prepared(select(_WISH.signature).where(*_AS_SAID))
_EXISTING: Final = Prepared(
    select(
        tasks.c.signature, tasks.c.state, tasks.c.phase_id, results.c.id.is_not(None),
        tasks.c.priority, tasks.c.max_attempts, tasks.c.timeout_seconds, tasks.c.held,
    )
    .select_from(tasks)
    .join(results, (results.c.signature == tasks.c.signature) & results.c.accepted, isouter=True)
    .where(among(tasks.c.signature, "signatures"))
)  # fmt: skip
_LINK_NAMES: Final = ("signature", "directory_id")
_ADD_LINK: Final = Prepared(insertion(task_output_dirs, _LINK_NAMES))
_LINKED: Final = (
    _LINK.directory_id == bindparam("of_directory"),
    among(_LINK.signature, "signatures"),
)
_LINKS: Final = Prepared(select(func.count()).select_from(task_output_dirs).where(*_LINKED))
_LINKED_ONES: Final = Prepared(select(_LINK.signature).where(*_LINKED))


def existing(connection: Connection, signatures: Iterable[str]) -> dict[str, Stands]:
    """Those that are tasks already."""
    found = _EXISTING.all(connection, signatures=listed(signatures))
    return {signature: Stands(*rest) for signature, *rest in found}


# --- wishes -------------------------------------------------------------------------


def wishes_of(new: Iterable[NewTask], phase_keys: Mapping[str, int]) -> dict[Wish, list[str]]:
    """The cells that are wanted alike; of what a phase says twice of a cell the last holds."""
    last: dict[tuple[int, str], tuple[int, int, int, float | None]] = {}
    for each in new:
        phase = phase_keys[each.phase]
        said = (phase, each.priority, each.max_attempts, each.timeout_seconds)
        last[phase, each.signature] = said
    found: dict[tuple[int, int, int, float | None], list[str]] = {}
    for (_, signature), said in last.items():
        found.setdefault(said, []).append(signature)
    return {Wish(*said): signatures for said, signatures in found.items()}


def wish(
    connection: Connection,
    wishes: Mapping[Wish, Sequence[str]],
    stand: Mapping[str, Stands],
    asked: Mapping[int, int],
    given: int,
) -> list[tuple[Wish, str]]:
    """Has the phases want their cells; returns those wishes that were not so before.

    `stand`: the tasks that were there before.  `asked`: what a person asked of whole phases.
    """
    changed: list[tuple[Wish, str]] = []
    for each, signatures in wishes.items():
        old = [key for key in signatures if key in stand]
        other = [key for key in signatures if key not in stand]
        anew = _not_as_said(connection, each, old, given)
        for statement, keys in ((_NEW_WISH, other), (_WISH_ANEW, anew)):
            phase, *rest = each
            # In the order of the indexes, so that each of their pages is gone to once.
            rows = [(phase, key, *rest, asked.get(phase), given) for key in sorted(keys)]
            statement.each_row(connection, _WISH_NAMES, rows)
            changed += [(each, key) for key in keys]
    return changed


def _not_as_said(
    connection: Connection, said: Wish, signatures: Sequence[str], given: int
) -> Sequence[str]:
    """Of these tasks, those that the phase does not want in just that way yet."""
    if not signatures:
        return ()
    values = {
        "of_phase": said.phase_id,
        "of_priority": said.priority,
        "of_attempts": said.max_attempts,
        "of_timeout": said.timeout_seconds,
        "signatures": listed(signatures),
    }
    if _GIVEN_AGAIN.change(connection, by_init=given, **values) == len(signatures):
        return ()
    there = {key for (key,) in _WISHED.all(connection, **values)}
    return [key for key in signatures if key not in there]


# --- links --------------------------------------------------------------------------


def link(
    connection: Connection, pairs: Iterable[tuple[str, int]], new: Collection[str] = ()
) -> list[tuple[str, int]]:
    """Links tasks to directories by key; returns the links that were not there before.

    `new`: tasks that had none.
    """
    wanted = dict.fromkeys(pairs)
    old: dict[int, list[str]] = {}
    for signature, directory in wanted:
        if signature not in new:
            old.setdefault(directory, []).append(signature)
    there = {
        (signature, directory)
        for directory, signatures in old.items()
        for signature in _linked(connection, directory, signatures)
    }
    made = [each for each in wanted if each not in there]
    _ADD_LINK.each_row(connection, _LINK_NAMES, sorted(made, key=itemgetter(0)))
    return made


def _linked(connection: Connection, directory: int, signatures: list[str]) -> Collection[str]:
    """Those of these tasks that are linked to the directory."""
    values = {"of_directory": directory, "signatures": listed(signatures)}
    if _LINKS.all(connection, **values)[0][0] == len(signatures):
        return signatures
    return {key for (key,) in _LINKED_ONES.all(connection, **values)}
