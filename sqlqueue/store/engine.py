"""The only place that opens the database: pragmas, filesystem, version, migrations.

Promises: a database that is foreign, damaged or newer than this code is refused with a
`DatabaseError` and not touched; migrations run in one transaction each; a commit is on
stable storage when it returns.  What is not here: any statement about tasks.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final

from sqlalchemy import Connection, Engine, ExceptionContext, NullPool, create_engine, event

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.store import detaching

HEAD: Final = "0001"
"""The newest migration; a test compares it with the folder."""

BUSY_MILLISECONDS: Final = 10_000


def migrations_folder() -> Path:
    """Where the migrations are: inside the package of a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise DatabaseError(f"the migrations are missing beside {package}; install sqlqueue again")


def open_writer(home: Home) -> Engine:
    """The engine of the one process that holds the home's lock; migrates if needed."""
    _check(home.database)
    engine = _engine(home.database, read_only=False, shared=not on_network(home.path))
    try:
        _migrate(engine, home.database)
        Disk().fsync_dir(home.path)  # a database that is new has its name there for good
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_reader(home: Home, *, own_writer: bool = False) -> Engine:
    """A read-only engine, good beside a running manager; raises if there is nothing to read.

    Leaves no trace: see `_reading`.  `own_writer`: this process holds the writer's engine; the
    first to open the log's index decides for the whole process whether it may be written.
    """
    if not home.database.exists():
        raise DatabaseError(f"{home.database}: missing; `sqlqueue init FILES...` creates it")
    if not own_writer:
        _check(home.database)
        if on_network(home.path):
            return _private(home)
    _refuse_version(home.database, home.database)
    return _engine(home.database, read_only=True, trace=own_writer)


def _refuse_version(path: Path, named: Path) -> None:
    version = _version(path)
    if version != HEAD:
        raise DatabaseError(
            f"{named}: is of version {version}, this sqlqueue reads {HEAD}; "
            "`sqlqueue init` or `sqlqueue serve` brings it up to date"
        )


def _private(home: Home) -> Engine:
    """A copy of the database, which nobody else has open: where its owner locks it, and the
    locks of other hosts are not to be relied upon.  Gone with the engine."""
    folder = Path(mkdtemp(prefix="sqlqueue-look-"))
    engine = _engine(folder / home.database.name, read_only=True, trace=False)
    event.listen(engine, "engine_disposed", lambda _: rmtree(folder, ignore_errors=True))
    try:
        detaching.copied(home.database, folder / home.database.name)
        _refuse_version(folder / home.database.name, home.database)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_memory() -> Engine:
    """An empty database in memory, for plans that are not to leave a trace."""
    from sqlqueue.store.schema import metadata

    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    return engine


def _engine(path: Path, *, read_only: bool, shared: bool = True, trace: bool = True) -> Engine:
    plain = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        address = plain if trace else _reading(path)
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            _write_pragmas(connection, shared)

    if read_only:

        @event.listens_for(engine, "handle_error")
        def _on_error(context: ExceptionContext) -> None:
            if isinstance(context.original_exception, sqlite3.Error):  # not a Ctrl-C
                raise _unreadable(path, context.original_exception) from None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _reading(path: Path) -> str:
    """How to open the database for a look that writes nothing, not even beside it.

    Left to itself SQLite makes the two files of its write-ahead log where a clean stop removed
    them, and tidies them after a crash.  With no log there, the file is taken for unchanging:
    chosen anew for each connection, since a manager may start meanwhile.
    """
    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    how = ("&readonly_shm=1" if index.exists() else "") if log.exists() else "&immutable=1"
    return f"{path.as_uri()}?mode=ro{how}"


def _write_pragmas(connection: Any, shared: bool) -> None:
    """WAL where its shared memory is safe; otherwise the file is owned alone.

    There the journal stays and is emptied: one that was taken over must not remove, by its
    name, the journal of whoever came after it.
    """
    if not shared:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA journal_mode = {'WAL' if shared else 'TRUNCATE'}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -65536")


def _check(path: Path) -> None:
    """Refuses what is not an SQLite database before SQLite gets to touch it.

    Never where this process has the database open: a process that closes a file gives up every
    lock that it holds on it (POSIX), and the next stranger to close the database would take its
    log, with what was committed since, for nobody's and remove it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DatabaseError(f"{path}: cannot be read: {error.strerror}") from None
    if head and not head.startswith(b"SQLite format 3\0"):
        raise DatabaseError(
            f"{path}: is not an SQLite database; move it away and put a backup in its place, "
            "or run `sqlqueue init` again to start an empty queue"
        )
    if head:
        _check_length(path, head)


def _check_length(path: Path, head: bytes) -> None:
    """Refuses a database whose end is missing, of which SQLite would lose what is left.

    Its head says how many pages there are; with a journal beside it, that is for SQLite to judge.
    """
    if any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal")):
        return
    page_bytes = int.from_bytes(head[16:18], "big")
    expected = int.from_bytes(head[28:32], "big") * (65536 if page_bytes == 1 else page_bytes)
    found = path.stat().st_size
    if found < max(expected, 100):
        raise DatabaseError(
            f"{path}: is cut short: {found} bytes of {expected}; put a backup in its place"
        )


def _version(path: Path) -> str | None:
    """The migration that the database stands at; None when it is empty."""
    try:
        with closing(sqlite3.connect(_reading(path), uri=True)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
            if not names:
                return None
            if "alembic_version" not in names:
                raise DatabaseError(
                    f"{path}: is a database, but not sqlqueue's; move it away or choose "
                    "another home with --home"
                )
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(found[0]) if found else None
    except sqlite3.DatabaseError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> DatabaseError:
    passing = isinstance(error, sqlite3.OperationalError)
    cure = "try again" if passing else "put a backup in its place"
    return DatabaseError(f"{path}: cannot be read as a database ({error}); {cure}")


def _migrate(engine: Engine, path: Path) -> None:
    """Runs the migrations that are missing; nothing is imported when none is."""
    version = _version(path) if path.exists() else None
    if version == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise DatabaseError(
            f"{path}: was written by a newer sqlqueue (version {version}, this one knows up to "
            f"{HEAD}); install that version or a later one"
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
