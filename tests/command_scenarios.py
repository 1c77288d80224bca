"""Scenarios of what is written beside the CSVs: secrets, `manager.json`, results that are kept as
files, backups, and databases that are put in another one's place.

Each says what must hold as soon as the power is back, before anything is recovered (`stands`).
`BESIDE` are scenarios as all others; in `PLACED` the power is lost around databases too.
What is not here: rows (`crash_scenarios.py`), what must hold of every scenario (`crash_proof.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from crash_proof import demand, kept, query
from crash_scenarios import (
    BACKUP,
    CSV,
    STOCK,
    Desk,
    Room,
    Scenario,
    by_rename,
    cells,
    no_manager,
    one_lane,
    opened,
    prepare,
    result,
    rows_of,
    saying,
    signature,
    silent,
    sweep_files,
)
from faults import Tell
from serving import QUICK

from sqlqueue import keys
from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, HomeError, QueueError
from sqlqueue.home import OUTPUT_MARKER, Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.server import Options, Server
from sqlqueue.progress import shown
from sqlqueue.protocol import SubmitResult
from sqlqueue.recovering import Wish, recover
from sqlqueue.store import backup
from sqlqueue.store.audit import verify_database
from sqlqueue.worker import outcome, place
from sqlqueue.worker.outcome import Order
from sqlqueue.worker.place import Place

Run = Callable[[Home, Disk, Tell], None]
Told = Collection[str]


def last(told: Told, what: str) -> str | None:
    """What was told of it last, or nothing."""
    found = [each.removeprefix(what).strip() for each in told if each.startswith(what)]
    return found[-1] if found else None


# --- secrets ------------------------------------------------------------------------------------

SECRETS: Final = "these are the secrets:"


def with_secrets(room: Room) -> list[bytes]:
    keys.create(room.home)
    return []


def rotate(home: Home, disk: Disk, tell: Tell) -> None:
    """What `token --rotate` does."""
    with HomeLock(home, "sqlqueue token --rotate"):
        keys.rotate(home, disk)
    tell(f"{SECRETS} {secrets_of(home)}")


def make_secrets(home: Home, disk: Disk, tell: Tell) -> None:
    """What `init` and `token` do where there is no home."""
    home.create(disk)
    keys.create(home, disk)
    tell(f"{SECRETS} {secrets_of(home)}")


def secrets_of(home: Home) -> str:
    found = keys.load(home)
    return f"{found.owner} {found.worker} {found.fingerprint}"


def secrets_stand(room: Room, told: Told) -> None:
    """Each that has its name is whole, and a token that was printed opens the door."""
    wanted, names = last(told, SECRETS), (keys.CERTIFICATE, keys.OWNER, keys.WORKER)
    if wanted is None and not all((room.home.path / each).exists() for each in names):
        return
    try:
        found = secrets_of(room.home)
    except HomeError as error:
        found = error.message
    demand(wanted in (None, found) and " " in found, f"what was told is no secret: {found}")


# --- where a manager listens --------------------------------------------------------------------


def serve(home: Home, disk: Disk, _tell: Tell) -> None:
    """Until a person has removed `manager.json` and it is there again."""
    keys.create(home, disk)
    with HomeLock(home, "serve"):
        asyncio.run(_serve(home, Options(limits=QUICK, disk=disk)))


async def _serve(home: Home, options: Options) -> None:
    server = Server(home, options)
    running = asyncio.create_task(server.run())
    await _named(home, running)
    home.manager_file.unlink()
    await _named(home, running)
    server.stop("the scenario is at its end")
    await running


async def _named(home: Home, running: asyncio.Task[int]) -> None:
    async with asyncio.timeout(30):
        while not home.manager_file.exists() and not running.done():
            await asyncio.sleep(0.001)


# --- results that are kept as files -------------------------------------------------------------

LARGE: Final = "in a file of its own:"
WEIGHTS: Final = "w" * 700


@contextmanager
def little_room_in_messages() -> Iterator[None]:
    most = outcome.MAX_METRICS_BYTES
    outcome.MAX_METRICS_BYTES = 300  # type: ignore[misc]
    try:
        yield
    finally:
        outcome.MAX_METRICS_BYTES = most  # type: ignore[misc]


def weights(order: Order, disk: Disk, tell: Tell) -> dict[str, Any]:
    """A metric that is too large for a message, as a child returns it."""
    with little_room_in_messages():
        fitting = outcome.fit({"weights": WEIGHTS}, [Path(order.checkpoint)], disk)
    tell(f"{LARGE} {order.signature}")
    return fitting


def large_metrics_stand(room: Room, told: Told) -> None:
    whose = last(told, LARGE)
    if whose is not None:
        file = room.home.checkpoints / whose / "returned-0.json"
        whole = file.exists() and file.read_bytes() == json.dumps(WEIGHTS).encode()
        demand(whole, f"{file.name} does not hold what was measured")


@contextmanager
def state_in(root: Path) -> Iterator[None]:
    """The user's state folder lies in the room."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(root / "state")
    try:
        yield
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if before is not None:
            os.environ["XDG_STATE_HOME"] = before


def a_state_folder(room: Room) -> list[bytes]:
    """As every user has one."""
    (room.root / "state").mkdir()
    return []


def elsewhere(_home: Home, disk: Disk) -> Place:
    return place.remote("node7:7433", None, disk)


def worker_elsewhere(home: Home, disk: Disk, tell: Tell) -> None:
    """It shares no home with its manager."""
    with state_in(home.root):
        no_manager(elsewhere)(home, disk, tell)


# --- what a person does meanwhile ---------------------------------------------------------------

SAVED: Final = "a person saved:"
FIRST: Final = b"mine;all;mine\n1;2;3\n"
MORE: Final = b"and;then;more\n"


def being_edited(room: Room) -> list[bytes]:
    """Their file stands in the place of ours; what they are about to save lies beside."""
    by_rename(room.csv("a"), FIRST)
    _saving(room).write_bytes(FIRST + MORE)
    return [FIRST]


def _saving(room: Room) -> Path:
    return room.root / "a" / "~saving.tmp"


def saved_just_then(home: Home, disk: Disk, tell: Tell) -> None:
    """Saved between the manager's look at the file and the moving of it."""
    real, saving = disk.set_aside, _saving(Room(home.root))

    def set_aside(source: Path, target: Path) -> None:
        late = source.name == CSV and saving.exists()
        if late:
            saving.replace(source)
        real(source, target)
        if late:
            tell(f"{SAVED} {MORE.decode().strip()}")

    disk.set_aside = set_aside  # type: ignore[method-assign]
    with opened(home, disk, tell) as desk:
        desk.later()
        desk.say(result(2), result(4))


def saved_stands(room: Room, told: Told) -> None:
    if last(told, SAVED) is not None:
        demand(kept(room, FIRST + MORE), "lost what a person saved")


def before_init(room: Room) -> list[bytes]:
    (room.root / "a").mkdir()
    room.csv("a").write_bytes(FIRST)
    return [FIRST]


def claimed_stand(room: Room, told: Told) -> None:
    """A directory for which a cell was added is known to be there: it has its marker."""
    for folder in {each.split("/")[1] for each in told if "/" in each} - {""}:
        there = (room.root / folder / OUTPUT_MARKER).exists()
        demand(there, f"{folder} is taken for a disk that is not mounted")


# --- databases ----------------------------------------------------------------------------------

BACKED_UP: Final = "backed up"
REBUILT: Final = "rebuilt"
OLDER: Final = (0, 1)
"""The cells whose results are in the backup that is there already."""
GARBAGE: Final = b"not a database any more\n" * 500


def back_up(*, force: bool = False) -> Run:
    """What `backup FILE` does."""

    def run(home: Home, disk: Disk, tell: Tell) -> None:
        target = home.root / BACKUP
        if force or not target.exists():
            backup.back_up(home.database, target, force=force, disk=disk, advance=silent)
            tell(BACKED_UP)

    return run


def backup_stands(room: Room, told: Told) -> None:
    file = room.root / BACKUP
    if BACKED_UP in told or file.exists():
        holds(file, map(signature, STOCK))


def some_backup_stands(room: Room, told: Told) -> None:
    """The older or the newer one."""
    holds(room.root / BACKUP, map(signature, STOCK if BACKED_UP in told else OLDER))


def holds(file: Path, wanted: Iterable[str]) -> None:
    """The database is there, whole, and has those results."""
    try:
        findings = [str(each) for each in verify_database(file)]
    except DatabaseError as error:
        findings = [error.message]
    demand(not findings, f"{file.name} is not whole: {findings}")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as base:
        found = {key for (key,) in base.execute("SELECT signature FROM results WHERE accepted")}
    demand(found >= set(wanted), f"{file.name} lacks results")


def damaged_beside_its_log(room: Room) -> list[bytes]:
    """A process was killed while a log was there; then the database became garbage."""
    log, aside = room.home.path / "queue.db-wal", room.root / "log"
    with closing(sqlite3.connect(room.home.database)) as base, base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("UPDATE tasks SET state = 'PENDING'")
        base.execute("DELETE FROM results")
        base.commit()
        shutil.copy(log, aside)
    room.home.database.write_bytes(GARBAGE)
    aside.rename(log)
    return [GARBAGE, log.read_bytes()]


def init_and_lose(room: Room) -> list[bytes]:
    """The cells of sweep files, the results of two, and then no database."""
    sweep_files(room.home, Disk(), lambda _: None)
    tasks = query(room, "SELECT task_id, signature FROM tasks LIMIT 2")
    with opened(room.home) as desk:
        for name, key in tasks:
            desk.say(SubmitResult(name, "w", {"value": 1 / 3}, signature=key))
    room.home.database.unlink()
    return []


def recovers(home: Home, disk: Disk, tell: Tell) -> None:
    """The command `recover`, from the backup if there is one, else from the sweep files."""
    base, sweep = home.root / BACKUP, home.root / "sweep.yaml"
    wish = Wish([], base) if base.exists() else Wish([sweep])
    with one_lane():
        recover(home, wish, lambda _total, _what: shown(0), disk)
    tell(REBUILT)


def rebuilt_stands(room: Room, told: Told) -> None:
    """The database that was made is the one there, with all that stands in the CSVs."""
    if REBUILT in told:
        rows = (row for each in room.root.rglob(CSV) for row in rows_of(each.read_bytes()))
        holds(room.home.database, (row["signature"] for row in rows))


def paused_elsewhere(room: Room) -> list[bytes]:
    """The manager of another host stopped in a transaction that is half in the database."""
    database, journal = room.home.database, room.home.path / "queue.db-journal"
    with closing(sqlite3.connect(database)) as base:
        base.isolation_level = None
        base.execute("PRAGMA journal_mode = DELETE")
        base.execute("PRAGMA cache_size = 1")
        base.execute("BEGIN IMMEDIATE")
        for table in ("results", "task_output_dirs", "task_phases", "attempts", "tasks"):
            base.execute(f"DELETE FROM {table}")
        halves = database.read_bytes(), journal.read_bytes()
        base.execute("ROLLBACK")
    database.write_bytes(halves[0])
    journal.write_bytes(halves[1])
    return []


def take_over(home: Home, disk: Disk, tell: Tell) -> None:
    """From a host whose locks are not to be relied upon."""
    with HomeLock(home, "serve", take_over=True) as lock:
        lock.taken_from, lock.from_elsewhere = "another host", True
        desk = Desk(home, disk, tell, lock)
        desk.committer.open()
        try:
            desk.say(result(2))
        finally:
            desk.committer.close()


# --- all of them ----------------------------------------------------------------------------------

BESIDE: Final = (
    Scenario("new secrets", "bare", make_secrets, {}, stands=secrets_stand),
    Scenario("other secrets", "empty", rotate, {}, with_secrets, stands=secrets_stand),
    Scenario(
        "init that moves aside",
        "empty",
        saying((prepare("a", "b", set_aside=True),), (cells({2: "a", 3: "b"}),), (result(2),)),
        {2: "a"},
        before_init,
        claimed_stand,
    ),
    Scenario(
        "a CSV saved while it is moved",
        "stocked",
        saved_just_then,
        STOCK | {2: "a", 4: "ab"},
        being_edited,
        saved_stands,
    ),
    Scenario(
        "a large metric",
        "fresh",
        no_manager(measured=weights),
        {0: "ab"},
        stands=large_metrics_stand,
    ),
    Scenario("a result that is refused", "fresh", no_manager(answer=QueueError("no")), {0: "ab"}),
    Scenario(
        "a worker elsewhere",
        "fresh",
        worker_elsewhere,
        {0: "ab"},
        a_state_folder,
        restart=worker_elsewhere,
    ),
)
"""As all others."""

PLACED: Final = (
    Scenario("a backup", "stocked", back_up(), STOCK, stands=backup_stands, databases=True),
    Scenario(
        "a backup in another's place",
        "backed_up",
        back_up(force=True),
        STOCK,
        stands=some_backup_stands,
        databases=True,
    ),
    Scenario(
        "recovering from a backup",
        "backed_up",
        recovers,
        STOCK,
        damaged_beside_its_log,
        rebuilt_stands,
        databases=True,
        lost=True,
    ),
    Scenario(
        "recovering from sweep files",
        "bare",
        recovers,
        {},
        init_and_lose,
        rebuilt_stands,
        databases=True,
        lost=True,
    ),
    Scenario(
        "a take-over", "stocked", take_over, STOCK | {2: "a"}, paused_elsewhere, databases=True
    ),
)
"""The power is lost around databases that are copied and put in place."""

SERVING: Final = Scenario("a manager that listens", "empty", serve, {})
"""In more than one thread: its calls are not the same ones every time."""
