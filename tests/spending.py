"""What an act costs, counted: no clock is asked, so that a busy machine cannot tell.

Statements are counted as they are handed to SQLite, rows by the steps of its virtual machine
(a look into a B-tree is one step however large it is, a row that is looked at is several),
syncs at the disk's seam and by commits.  What is not here: how much is too much.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from statements import heard

from sqlqueue.disk import Disk
from sqlqueue.home import Home


@dataclass
class Spent:
    """`commits`: each is one sync of the database's log.  `log_bytes`: what they wrote there."""

    statements: int = 0
    steps: int = 0
    commits: int = 0
    file_syncs: int = 0
    folder_syncs: int = 0
    csv_bytes: int = 0
    log_bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class CountingDisk(Disk):
    """Real disk calls; what matters of them is counted in `spent`."""

    def __init__(self) -> None:
        self.spent = Spent()

    def append(self, fd: int, data: bytes) -> None:
        self.spent.csv_bytes += len(data)
        super().append(fd, data)

    def fsync(self, fd: int) -> None:
        self.spent.file_syncs += 1
        super().fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        self.spent.folder_syncs += 1
        super().fsync_dir(path)


def cost_of(home: Home, disk: CountingDisk, act: Callable[[], Any]) -> Spent:
    """What `act` costs; it is done once."""
    spent = disk.spent = Spent()
    with closing(sqlite3.connect(home.database)) as base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with _counted(spent):
        act()
    disk.spent = Spent()  # what comes now is another's
    spent.log_bytes = home.database.with_name("queue.db-wal").stat().st_size
    return spent


@contextmanager
def _counted(spent: Spent) -> Iterator[None]:
    counting: list[sqlite3.Connection] = []

    def step() -> None:
        spent.steps += 1

    def hear(driver: sqlite3.Connection, _text: str, _values: Any) -> None:
        spent.statements += 1
        if not any(each is driver for each in counting):
            counting.append(driver)
            driver.set_progress_handler(step, 1)

    def commit(_: Connection) -> None:
        spent.commits += 1

    event.listen(Engine, "commit", commit)
    try:
        with heard(hear):
            yield
    finally:
        event.remove(Engine, "commit", commit)
        for each in counting:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                each.set_progress_handler(None, 1)
