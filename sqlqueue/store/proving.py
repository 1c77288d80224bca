"""The audit as a running manager does it, for those who cannot read its database.

With the writer's own connection, while nothing is being written: so one look at each CSV
is enough.  Disk calls go through the lanes, so that a folder that hangs holds nothing up.
Promises: read-only; says what `audit.py` says, in fewer words.  What is not here: mending.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryUnavailable
from sqlqueue.home import Home
from sqlqueue.protocol import Finding
from sqlqueue.store import audit, csv_file, records
from sqlqueue.store.csv_file import Kind, Record
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.recovery import SLOWEST_BYTES_A_SECOND

MOST_FINDINGS: Final = 1000
LONGEST: Final = 1000
"""Characters of one message."""

_WORDS: Final = {
    Kind.ABSENT: "is missing",
    Kind.LONGER: "goes on after its last row",
    Kind.INTENDED: "was being written anew when that was cut short",
    Kind.FOREIGN: "is not what sqlqueue wrote",
    Kind.EXACT: "is there, but no row was written yet",
}


def findings(connection: Connection, home: Home, disk: Disk, lanes: Lanes) -> Iterator[Finding]:
    """Everything that is wrong with the queue."""
    for each in audit.of_database(connection):
        yield Finding(severity=each.severity, where=each.where, message=each.message[:LONGEST])
    for key, (path, record) in sorted(records.load(connection).items()):
        where = f"{path}/{csv_file.NAME}"
        for message in _of_directory(connection, home, disk, lanes, key, path, record):
            yield Finding(severity="error", where=where, message=message)


def _of_directory(
    connection: Connection,
    home: Home,
    disk: Disk,
    lanes: Lanes,
    key: int,
    path: str,
    record: Record,
) -> Iterator[str]:
    if record.columns is not None and _of_rows(connection, key, record) != record.checksum:
        yield "its record is not what the rows in the database make"
    look = partial(csv_file.inspect, disk, home.absolute(path) / csv_file.NAME, record)
    try:
        kind = lanes.one(key, look, record.length_bytes / SLOWEST_BYTES_A_SECOND).kind
    except (OSError, DirectoryUnavailable) as error:
        yield f"cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        if kind is not (Kind.ABSENT if record.columns is None else Kind.EXACT):
            yield _WORDS[kind]


def _of_rows(connection: Connection, key: int, record: Record) -> str:
    checksum = csv_file.EMPTY
    for each in audit.expected(connection, key, record.columns or ()):
        checksum = csv_file.extend(checksum, each)
    return checksum
