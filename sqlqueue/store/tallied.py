"""Proof that the counts which the database keeps by itself are what counting comes to.

What is not here: keeping them (`counting.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, text

from sqlqueue.store.counting import EVERY, KEY, key_of

_TASKS: Final = (
    f"SELECT {EVERY} AS phase_id, {key_of('tasks')}, count(*) FROM tasks GROUP BY 1, 2, 3, 4, 5"
)
_WISHES: Final = (
    f"SELECT task_phases.phase_id, {key_of('tasks')}, count(*) FROM task_phases "
    "JOIN tasks ON tasks.signature = task_phases.signature "
    "WHERE task_phases.withdrawn = 0 GROUP BY 1, 2, 3, 4, 5"
)
_LINKS: Final = (
    "SELECT task_output_dirs.directory_id, tasks.state, count(*) FROM task_output_dirs "
    "JOIN tasks ON tasks.signature = task_output_dirs.signature GROUP BY 1, 2"
)
_COUNTED: Final = {
    f"SELECT phase_id, {KEY}, cells FROM tallies WHERE cells <> 0": f"{_TASKS} UNION ALL {_WISHES}",
    "SELECT directory_id, state, cells FROM directory_tallies WHERE cells <> 0": _LINKS,
}


def wrong(connection: Connection) -> Iterator[str]:
    """What is counted wrongly: of which phase or directory, in which state."""
    for kept, counted in _COUNTED.items():
        what = "directory" if counted == _LINKS else "phase"
        query = (
            f"SELECT * FROM (SELECT * FROM ({kept}) EXCEPT SELECT * FROM ({counted})) UNION "
            f"SELECT * FROM (SELECT * FROM ({counted}) EXCEPT SELECT * FROM ({kept}))"
        )
        for row in connection.execute(text(query)):
            yield f"the tasks of {what} {row[0]} that are {row[1]} are not as many as is noted"
