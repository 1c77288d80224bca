"""The only place that opens the database: pragmas, filesystem, version, migrations.

Promises: a database that is foreign, damaged or newer than this code is refused with a
`DatabaseError` and not touched; migrations run in one transaction each; a commit is on
stable storage when it returns.  What is not here: any statement about tasks.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.store import condition, detaching, looking, prepared
from sqlqueue.store.condition import WAY_OUT
from sqlqueue.store.looking import BUSY_MILLISECONDS

T = TypeVar("T")

HEAD: Final = "0010"
"""The newest migration; a test compares it with the folder."""


def migrations_folder() -> Path:
    """Where the migrations are: inside the package of a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise DatabaseError(f"the migrations are missing beside {package}; install sqlqueue again")


def open_writer(home: Home, disk: Disk | None = None) -> Engine:
    """The engine of the one process that holds the home's lock; migrates if needed."""
    condition.check(home)
    _make_private(home.database, disk or Disk())
    _make_log_durable(home.database, disk or Disk())
    engine = _engine(home.database, read_only=False, shared=not on_network(home.path))
    try:
        _migrate(engine, home.database)
        (disk or Disk()).fsync_dir(home.path)  # a database that is new has its name there for good
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_reader(home: Home, *, own_writer: bool = False) -> Engine:
    """A read-only engine, good beside a running manager; raises if there is nothing to read.

    Leaves no trace: see `looking`.  `own_writer`: this process holds the writer's
    engine; the first to open the log's index decides for the whole process whether it may be
    written.
    """
    if own_writer:
        return _reader(home.database, trace=True)
    if on_network(home.path) and home.database.is_file():
        return _private(home)
    return _plain(home)


class Reader:
    """Looks at a home's database; each is of one state, however the queue changes meanwhile."""

    def __init__(self, home: Home, *, own_writer: bool = False) -> None:
        self._engine = open_reader(home, own_writer=own_writer)
        self._database = home.database
        self._is_apart = own_writer or on_network(home.path)
        """Its own process's, or a copy: nobody writes under it unseen."""

    def read(self, ask: Callable[[Connection], T]) -> T:
        """What `ask` returns; it may be asked again, when somebody wrote meanwhile."""

        def once() -> T:
            with self._engine.begin() as connection:
                return ask(connection)

        with condition.legibly(self._database):
            return once() if self._is_apart else looking.steady(self._database, once)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()


def _plain(home: Home) -> Engine:
    condition.glance(home)
    if not home.database.exists():
        raise DatabaseError(f"{home.database}: missing; `sqlqueue init FILES...` creates it")
    return _reader(home.database)


def _reader(path: Path, *, trace: bool = False) -> Engine:
    version = condition.version(path)
    if version != HEAD:
        raise _other_version(path, version)
    return _engine(path, read_only=True, trace=trace)


def _private(home: Home) -> Engine:
    """A copy that nobody else has open: where hosts share the filesystem the manager has the
    database to itself, and the locks of other hosts are not to be relied upon.  The copy goes
    with the engine."""
    view = Home(Path(mkdtemp(prefix="sqlqueue-look-")))
    try:
        detaching.copy_home(home, view)
        engine = _plain(view)
    except BaseException as error:
        rmtree(view.path, ignore_errors=True)
        if isinstance(error, DatabaseError):
            raise type(error)(error.message.replace(str(view.path), str(home.path))) from None
        raise
    event.listen(engine, "engine_disposed", lambda _: rmtree(view.path, ignore_errors=True))
    return engine


def refuse_newer(path: Path) -> None:
    """Raises for a database of which this sqlqueue cannot tell what it holds."""
    version = condition.version(path)
    if version is not None and version > HEAD:
        raise _other_version(path, version)


def _other_version(path: Path, version: str | None) -> DatabaseError:
    if version is not None and version > HEAD:
        return DatabaseError(
            f"{path}: was written by a newer sqlqueue (version {version}, this one knows up to "
            f"{HEAD}); install that version or a later one"
        )
    return DatabaseError(
        f"{path}: is of version {version}, this sqlqueue reads {HEAD}; "
        "`sqlqueue init` or `sqlqueue serve` brings it up to date"
    )


def open_file(path: Path) -> Engine:
    """A read-only engine for a database that is no home's; raises for what is none."""
    condition.check_file(path)
    return _engine(path, read_only=True, trace=False)


def open_alone(path: Path) -> Engine:
    """A database that nobody else knows of, without a log; migrated, made if need be."""
    engine = _engine(path, read_only=False, shared=False)
    try:
        _migrate(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_memory() -> Engine:
    """An empty database in memory, for plans that are not to leave a trace."""
    from sqlqueue.store.counting import create_all

    engine = create_engine("sqlite://")
    create_all(engine)
    return engine


def _engine(path: Path, *, read_only: bool, shared: bool = True, trace: bool = True) -> Engine:
    plain = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        if not trace:
            return looking.look(path)
        return sqlite3.connect(plain, uri=True, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            _write_pragmas(connection, shared)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        prepared.execute(connection, begin, ())

    return engine


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
    # What a statement may have to undo of itself; messages bound it, and a full temporary
    # folder does not end a commit for which the home has room.
    connection.execute("PRAGMA temp_store = MEMORY")


def _make_private(path: Path, disk: Disk) -> None:
    """The database is this user's alone from its first instant; SQLite gives its log the mode."""
    try:
        if not os.path.lexists(path):
            os.close(disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise DatabaseError(f"{path}: cannot be made private: {error.strerror}") from None


def _make_log_durable(path: Path, disk: Disk) -> None:
    """What SQLite will read back from a log is on stable storage before it takes it for so.

    A commit whose sync failed stands there all the same; what follows it would be lost with it.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        disk.write_again(log)


def _migrate(engine: Engine, path: Path) -> None:
    """Runs the migrations that are missing; nothing is imported when none is."""
    version = condition.version(path) if path.exists() else None
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
        if version > HEAD:
            raise _other_version(path, version)
        raise DatabaseError(f"{path}: is of version {version}, which is unknown; {WAY_OUT}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
