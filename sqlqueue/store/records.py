"""Output directories in SQL: the record of what each CSV is, and the rows that belong in it.

Every function takes a connection inside a transaction.  What is not here: the files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, tuple_

from sqlqueue.store import reading
from sqlqueue.store.csv_file import EMPTY, Record
from sqlqueue.store.prepared import Prepared, among, listed
from sqlqueue.store.schema import (
    csv_rows,
    output_directories,
    results,
    set_aside,
    task_output_dirs,
    tasks,
)

_DIRECTORY = output_directories.c
_LINK = task_output_dirs.c
_ROW = csv_rows.c
_LINKS = Prepared(
    select(_LINK.signature, _DIRECTORY.id, _DIRECTORY.path)
    .join(output_directories, _DIRECTORY.id == _LINK.directory_id)
    .where(among(_LINK.signature, "signatures"))
    .order_by(_LINK.id)
)
STANDING = select(_ROW.signature, _ROW.directory_id)
"""The links whose row stands in the CSV."""
_NUMBER_ROW = Prepared(
    csv_rows.insert().values({each.name: bindparam(each.name) for each in csv_rows.columns})
)
_RECORD_COLUMNS = (
    *("columns", "row_count", "length_bytes", "checksum", "look"),
    *("next_length_bytes", "next_checksum"),
)
_SAVE = Prepared(
    output_directories.update()
    .where(_DIRECTORY.id == bindparam("key"))
    .values({name: bindparam(f"to_{name}") for name in _RECORD_COLUMNS})
)
_LOAD = select(_DIRECTORY.id, _DIRECTORY.path, *(_DIRECTORY[name] for name in _RECORD_COLUMNS))
_LOAD_SOME = Prepared(_LOAD.where(among(_DIRECTORY.id, "keys")))


def directories_of(
    connection: Connection, signatures: Collection[str]
) -> dict[str, list[tuple[int, str]]]:
    """Every directory linked to each of these tasks as (id, stored path), the primary first."""
    found: dict[str, list[tuple[int, str]]] = {each: [] for each in signatures}
    for signature, key, path in _LINKS.all(connection, signatures=listed(signatures)):
        found[signature].append((key, path))
    return found


def add_directory(connection: Connection, path: str, now: float) -> int:
    """Adds an output directory that has no CSV yet; returns its key."""
    statement = output_directories.insert().values(path=path, checksum=EMPTY, created_at=now)
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def directory_keys(connection: Connection, paths: Iterable[str]) -> dict[str, int]:
    """The keys of those stored paths that are known."""
    query = select(_DIRECTORY.path, _DIRECTORY.id).where(_DIRECTORY.path.in_(list(paths)))
    return {row.path: row.id for row in connection.execute(query)}


def load(
    connection: Connection, wanted: Iterable[int] | None = None
) -> dict[int, tuple[str, Record]]:
    """Stored path and record of those directories, or of all."""
    if wanted is None:
        rows: Iterable[Any] = connection.execute(_LOAD)
    else:
        rows = _LOAD_SOME.all(connection, keys=listed(wanted))
    return {key: (path, _record(*values)) for key, path, *values in rows}


def written(connection: Connection, keys: Iterable[int] | None = None) -> set[str]:
    """The stored paths of those directories in which a CSV of ours is, or was."""
    found = load(connection, keys).values()
    return {path for path, record in found if record.columns is not None}


def _record(columns: str | None, rows: int, length: int, checksum: str, *others: Any) -> Record:
    return Record(_names(columns), rows, length, checksum or EMPTY, *others)


@lru_cache(maxsize=1024)
def _names(columns: str | None) -> tuple[str, ...] | None:
    return None if columns is None else tuple(json.loads(columns))


@lru_cache(maxsize=1024)
def _as_text(columns: tuple[str, ...] | None) -> str | None:
    return None if columns is None else json.dumps(columns)


def save(connection: Connection, records: dict[int, Record]) -> None:
    """Writes down what the CSVs are."""
    _SAVE.each(
        connection,
        [
            {
                "key": key,
                "to_columns": _as_text(each.columns),
                "to_row_count": each.row_count,
                "to_length_bytes": each.length_bytes,
                "to_checksum": each.checksum,
                "to_look": each.look,
                "to_next_length_bytes": each.next_length_bytes,
                "to_next_checksum": each.next_checksum,
            }
            for key, each in records.items()
        ],
    )


def move_directory(connection: Connection, key: int, path: str) -> None:
    """From now on the directory is another folder, whose CSV is to be looked at anew."""
    statement = output_directories.update().where(_DIRECTORY.id == key)
    connection.execute(statement.values(path=path, look=""))


def save_looks(connection: Connection, looks: dict[int, str]) -> None:
    """Writes down how CSVs look that are again what is recorded."""
    statement = output_directories.update().where(_DIRECTORY.id == bindparam("key"))
    values = [{"key": key, "look": look} for key, look in looks.items()]
    connection.execute(statement, values)


def unnumber(connection: Connection, key: int) -> None:
    """Forgets which row of a CSV is whose."""
    connection.execute(csv_rows.delete().where(_ROW.directory_id == key))


def standing(
    connection: Connection, signatures: Collection[str], keys: Iterable[int]
) -> set[tuple[str, int]]:
    """The links of those tasks to those directories whose row stands in the CSV: signature and
    directory.

    Looks through the directories' rows: whoever asks is about to write whole CSVs.
    """
    if not signatures:
        return set()
    query = STANDING.where(_ROW.directory_id.in_(list(keys)), _ROW.signature.in_(list(signatures)))
    return {(row.signature, row.directory_id) for row in connection.execute(query)}


def number_rows(connection: Connection, rows: Mapping[int, tuple[int, list[str]]]) -> None:
    """Writes down which row of each CSV is whose: counted from where, and signatures."""
    values = [
        (key, first + offset, signature)
        for key, (first, signatures) in rows.items()
        for offset, signature in enumerate(signatures)
    ]
    _NUMBER_ROW.each_row(connection, [each.name for each in csv_rows.columns], values)


def rows_of(connection: Connection, key: int) -> Iterator[dict[str, Any]]:
    """The values of every row that belongs in a CSV, in the order in which they stand there."""
    query = (
        reading.TASK.add_columns(results.c.metrics)
        .join(results, and_(results.c.signature == tasks.c.signature, results.c.accepted))
        .join(csv_rows, _ROW.signature == tasks.c.signature)
        .where(_ROW.directory_id == key)
        .order_by(_ROW.row_number)
        .execution_options(yield_per=1000)
    )
    for row in connection.execute(query).mappings():
        yield reading.row_values(row)


def undelivered(connection: Connection) -> list[tuple[str, int]]:
    """Links of tasks that have a row which is not in that directory's CSV."""
    query = (
        select(_LINK.signature, _LINK.directory_id)
        .join(results, and_(results.c.signature == _LINK.signature, results.c.accepted))
        .where(tuple_(_LINK.signature, _LINK.directory_id).not_in(STANDING))
        .order_by(_LINK.id)
    )
    return [(row.signature, row.directory_id) for row in connection.execute(query)]


def remember_set_aside(
    connection: Connection, key: int, path: str, reason: str, now: float
) -> None:
    """Notes where a person's file is being moved to, before it is moved."""
    statement = set_aside.insert().values(directory_id=key, path=path, reason=reason, at=now)
    connection.execute(statement)


def set_aside_paths(connection: Connection) -> list[str]:
    """Where files were moved to, the oldest first."""
    query = select(set_aside.c.path).order_by(set_aside.c.id)
    return list(connection.execute(query).scalars())


def row_counts(connection: Connection) -> dict[int, tuple[int, int]]:
    """Per directory: how many rows are numbered, and the highest number."""
    query = select(_ROW.directory_id, func.count(), func.max(_ROW.row_number)).group_by(
        _ROW.directory_id
    )
    return {key: (count, highest) for key, count, highest in connection.execute(query)}


def link_count(connection: Connection) -> int:
    """How many links there are."""
    return int(connection.execute(select(func.count()).select_from(task_output_dirs)).scalar_one())


def task_counts(connection: Connection) -> tuple[int, int]:
    """How many tasks there are, and how many of them have a result."""
    total = connection.execute(select(func.count()).select_from(tasks)).scalar_one()
    done = select(func.count()).select_from(results).where(results.c.accepted)
    return int(total), int(connection.execute(done).scalar_one())
