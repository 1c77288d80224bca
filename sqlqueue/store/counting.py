"""Counts that the database keeps by itself, so that `status` of a million tasks reads few rows.

Triggers: whatever changes or removes a task, a wish or a link, by whichever statement, the counts
are part of the same transaction.  What adds some counts them itself (`recounting.counted`): a table
with a trigger on insertion takes half as long again to fill.  What moves many tasks at once does
so too, and says so in `uncounted` meanwhile.
`tallies` counts tasks by state for each phase that wants them, and under phase 0 each task once;
those that are to run by shape, those that wait by priority and by whether they are held too.
`directory_tallies` counts the links.  A migration holds its own copy.
What is not here: reading them (`estimate.py`, `summary.py`), proving them (`tallied.py`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import DDL, Engine, event

from sqlqueue.store import planned

EVERY: Final = 0
"""The phase under which each task is counted once."""
KEY: Final = "state, shape_id, priority, held"


def key_of(task: str) -> str:
    """What a task is counted by; `task` names its row."""
    return (
        f"{task}.state, "
        f"CASE WHEN {task}.state IN ('PENDING', 'RUNNING') THEN {task}.shape_id ELSE 0 END, "
        f"CASE WHEN {task}.state = 'PENDING' THEN {task}.priority ELSE 0 END, "
        f"CASE WHEN {task}.state = 'PENDING' THEN {task}.held ELSE 0 END"
    )


def _more(source: str) -> str:
    """One more for each row of `source`: phase and key."""
    return (
        f"INSERT INTO tallies (phase_id, {KEY}, cells) {source} "
        f"ON CONFLICT (phase_id, {KEY}) DO UPDATE SET cells = cells + 1;"
    )


def _less(phases: str, key: str) -> str:
    return (
        f"UPDATE tallies SET cells = cells - 1 WHERE phase_id IN ({phases}) AND ({KEY}) = ({key});"
    )


def _more_links(source: str) -> str:
    return (
        f"INSERT INTO directory_tallies (directory_id, state, cells) {source} "
        "ON CONFLICT (directory_id, state) DO UPDATE SET cells = cells + 1;"
    )


def _less_links(directories: str, state: str) -> str:
    return (
        f"UPDATE directory_tallies SET cells = cells - 1 WHERE directory_id IN ({directories}) "
        f"AND state = ({state});"
    )


def _wanted(row: str) -> str:
    """The phases under which a task is counted."""
    return (
        f"SELECT {EVERY} AS phase_id UNION ALL SELECT phase_id FROM task_phases "
        f"WHERE signature = {row}.signature AND withdrawn = 0"
    )


def _linked(row: str) -> str:
    return f"SELECT directory_id FROM task_output_dirs WHERE signature = {row}.signature"


def _task_of(row: str, what: str) -> str:
    return f"SELECT {what} FROM tasks WHERE tasks.signature = {row}.signature"


_WISH_MORE: Final = _more(
    f"SELECT NEW.phase_id, {key_of('tasks')}, 1 FROM tasks WHERE tasks.signature = NEW.signature"
)
_WISH_LESS: Final = _less("OLD.phase_id", _task_of("OLD", key_of("tasks")))
_LINK_MORE: Final = _more_links(
    "SELECT NEW.directory_id, tasks.state, 1 FROM tasks WHERE tasks.signature = NEW.signature"
)
_LINK_LESS: Final = _less_links("OLD.directory_id", _task_of("OLD", "tasks.state"))
_CHANGED: Final = " OR ".join(
    f"OLD.{each} <> NEW.{each}" for each in ("state", "shape_id", "priority", "held")
)

_BY_ITSELF: Final = "NOT EXISTS (SELECT 1 FROM uncounted)"
"""Nobody counts what is changed just now by other means."""

TRIGGERS: Final = {
    "count_task_gone": ("AFTER DELETE ON tasks", _less(str(EVERY), f"SELECT {key_of('OLD')}")),
    "count_task_changed": (
        f"AFTER UPDATE OF state, shape_id, priority, held ON tasks "
        f"WHEN ({_CHANGED}) AND {_BY_ITSELF}",
        _less(f"SELECT phase_id FROM ({_wanted('OLD')})", f"SELECT {key_of('OLD')}")
        + " "
        + _more(f"SELECT phase_id, {key_of('NEW')}, 1 FROM ({_wanted('NEW')}) WHERE true"),
    ),
    "count_task_moved": (
        f"AFTER UPDATE OF state ON tasks WHEN OLD.state <> NEW.state AND {_BY_ITSELF}",
        _less_links(_linked("OLD"), "OLD.state")
        + " "
        + _more_links(f"SELECT directory_id, NEW.state, 1 FROM ({_linked('NEW')}) WHERE true"),
    ),
    "count_wish_gone": ("AFTER DELETE ON task_phases WHEN OLD.withdrawn = 0", _WISH_LESS),
    "count_wish_withdrawn": (
        "AFTER UPDATE OF withdrawn ON task_phases WHEN OLD.withdrawn = 0 AND NEW.withdrawn = 1",
        _WISH_LESS,
    ),
    "count_wish_again": (
        "AFTER UPDATE OF withdrawn ON task_phases WHEN OLD.withdrawn = 1 AND NEW.withdrawn = 0",
        _WISH_MORE,
    ),
    "count_link_gone": ("AFTER DELETE ON task_output_dirs", _LINK_LESS),
    "count_link_moved": (
        "AFTER UPDATE OF directory_id ON task_output_dirs", f"{_LINK_LESS} {_LINK_MORE}"
    ),
}  # fmt: skip


def statements() -> list[str]:
    """What makes the triggers."""
    return [
        f"CREATE TRIGGER {name} {when} BEGIN {act} END" for name, (when, act) in TRIGGERS.items()
    ]


for _each in statements():
    _make = DDL(_each)  # type: ignore[no-untyped-call]
    event.listen(planned.tallies.metadata, "after_create", _make.execute_if(dialect="sqlite"))


def create_all(engine: Engine) -> None:
    """Every table, index and trigger, for a database that is no home's."""
    planned.tallies.metadata.create_all(engine)
