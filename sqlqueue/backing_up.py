"""`backup`: a copy of the database in one file, beside a running manager too.

Promises: every result that was acked before it began is in it; it is checked before it gets
its name.  What is not here: copying (`store/backup.py`), and putting one back
(`recovering.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, UsageError
from sqlqueue.home import Home

if TYPE_CHECKING:
    from sqlqueue.store.backup import Holdings

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


def back_up(home: Home, file: Path, force: bool, progress: Progress) -> Holdings:
    """Writes the backup; says what it holds."""
    home.queue_id()
    from sqlqueue.store import backup, condition

    if not condition.refuse(home):
        raise DatabaseError(f"{home.database}: missing; `sqlqueue init FILES...` creates it")
    if any(Home(each).exists() for each in Path(os.path.realpath(file)).parents):
        raise UsageError(f"{file}: is inside the home of a queue; a backup belongs elsewhere")
    pages = home.database.stat().st_size // 4096
    with progress(pages, "Copying pages") as advance:
        done = 0

        def to(now: int, _total: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        return backup.back_up(home.database, file.absolute(), force=force, disk=Disk(), advance=to)
