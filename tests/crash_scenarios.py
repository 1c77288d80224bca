"""What a manager may be doing when it dies: small scenarios, each of which may be run again.

A `Room` is a queue in a folder of its own with two output directories, `a` and `b`, and cells
0 to 5 that are linked as `LINKS` says; a `Desk` is the manager's core on it, in this process.
What is not here: faults (`faults.py`), what must hold afterwards (`crash_proof.py`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from faults import FaultyDisk, Tell

from sqlqueue import keys, protocol, unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.errors import ManagerUnreachable, QueueError, from_wire
from sqlqueue.home import NAME, Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.initialise import initialise
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.manager.intake import Intake
from sqlqueue.protocol import Ack, AddedReply, Reply, Request, SubmitResult
from sqlqueue.store import backup
from sqlqueue.store.csv_file import look_at
from sqlqueue.store.lanes import LIMIT_SECONDS, Lanes
from sqlqueue.worker import outcome
from sqlqueue.worker.delivery import Delivery
from sqlqueue.worker.devices import Device
from sqlqueue.worker.outcome import COMPLETED, Ending, Order
from sqlqueue.worker.place import Place

LINKS: Final = {0: "ab", 1: "ab", 2: "a", 3: "b", 4: "ab", 5: "ab"}
MEMORY: Final = protocol.ExperimentMemory(name="m:f", parameters=[])
CSV: Final = "final_results.csv"
BACKUP: Final = "backup.db"
KEPT: Final = "kept"
"""Told by a worker: cell and value of a result that is durable in a file."""
ALL_ADDED: Final = "all added"
"""Told by `init` when it ends."""


def signature(cell: int) -> str:
    return hashlib.md5(str(cell).encode()).hexdigest()


def result(cell: int, **metrics: Any) -> SubmitResult:
    """The result of a cell, as a worker of which the queue knows nothing hands it in."""
    return SubmitResult(
        task_id=f"p_{cell}_{cell}",
        worker_id="w",
        signature=signature(cell),
        result_data={"value": cell / 3} | metrics,
    )


def cells(which: Mapping[int, Iterable[str]]) -> protocol.AddTasks:
    """Adds cells, each for those directories; a string names one by each letter."""
    new = [
        protocol.NewTask(
            signature=signature(cell),
            phase="p",
            experiment="m:f",
            parameters={"seed": cell},
            seed=cell,
            output_dir=folder,
        )
        for cell, folders in which.items()
        for folder in folders
    ]
    return protocol.AddTasks(tasks=new, experiments=[MEMORY])


def prepare(*folders: str, set_aside: bool = False) -> protocol.PrepareDirectories:
    return protocol.PrepareDirectories(output_dirs=list(folders), set_aside=set_aside)


class Clock:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """The manager's core, asked directly; tells every promise that it gives."""

    kind: type[Committer] = Committer

    def __init__(
        self,
        home: Home,
        disk: Disk | None = None,
        tell: Tell = lambda _: None,
        lock: HomeLock | None = None,
    ) -> None:
        self.clock = Clock()
        self.tell = tell
        self.disk = disk or Disk()
        self.home = home
        self.committer = self.kind(
            home, disk=self.disk, lanes=Lanes(most=1), clock=self.clock, wall=self.clock, lock=lock
        )

    def say(self, *requests: Request) -> list[Reply]:
        """All in one transaction; tells `cell/folders` for each promise."""
        answers = self.committer.process([Job(each, "owner") for each in requests])
        self._reach_ack()
        for job, reply in answers:
            if isinstance(job.request, SubmitResult) and isinstance(reply, Ack):
                self.tell(f"{job.request.task_id.rpartition('_')[2]}/")
            if isinstance(job.request, protocol.AddTasks) and isinstance(reply, AddedReply):
                for each in job.request.tasks:
                    self.tell(f"{each.seed}/{each.output_dir}")
        self._reach_ack()
        return [reply for _, reply in answers]

    def _reach_ack(self) -> None:
        if isinstance(self.disk, FaultyDisk):
            self.disk.reach("ack")

    def later(self, seconds: float = 100.0) -> None:
        """Time passes: suspended directories are tried again, leases judged."""
        self.clock.now += seconds
        self.committer.tick()

    def take_in(self) -> None:
        """What the writer does now and then with results left as files."""
        intake = Intake(self.home, clock=self.clock, disk=self.disk, lanes=Lanes(most=1))
        jobs = intake.jobs(self.committer)
        answers = self.committer.process(jobs)
        self._reach_ack()
        intake.settle(answers)


@contextmanager
def opened(home: Home, disk: Disk | None = None, tell: Tell = lambda _: None) -> Iterator[Desk]:
    desk = Desk(home, disk, tell)
    desk.committer.open()
    try:
        yield desk
    finally:
        desk.committer.close()


def submit(desk: Desk, *of: int, **metrics: Any) -> list[type[Reply]]:
    """Submits the results of cells in one batch; of what kind the answers are."""
    return [type(each) for each in desk.say(*(result(cell, **metrics) for cell in of))]


def rows(*of: int) -> set[tuple[int, str]]:
    """Where the rows of cells belong."""
    return {(cell, folder) for cell in of for folder in LINKS[cell]}


# --- rooms ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """A queue in a folder."""

    root: Path

    @property
    def home(self) -> Home:
        return Home(self.root / NAME)

    def csv(self, folder: str) -> Path:
        return self.root / folder / CSV

    def bare(self) -> Room:
        """A folder."""
        self.root.mkdir()
        return self

    def empty(self) -> Room:
        """A queue without cells."""
        self.bare().home.create()
        with opened(self.home):
            pass
        return self

    def fresh(self) -> Room:
        """A queue with all cells and no result."""
        self.empty()
        with opened(self.home) as desk:
            desk.say(prepare("a", "b"))
            desk.say(cells(LINKS))
        return self

    def stocked(self) -> Room:
        """The same with the results of 0 and 1, and 5, which has a metric of its own."""
        self.fresh()
        with opened(self.home) as desk:
            desk.say(result(0), result(1))
            desk.say(result(5, other="x,y"))
        return self

    def backed_up(self) -> Room:
        """The same, and a backup from before the result of 5."""
        self.fresh()
        with opened(self.home) as desk:
            desk.say(result(0), result(1))
            file = self.root / BACKUP
            backup.back_up(self.home.database, file, force=False, disk=Disk(), advance=silent)
            desk.say(result(5, other="x,y"))
        forget_place(file)
        return self

    def settle(self) -> None:
        """Is not to know that it is a copy."""
        if self.home.database.exists():
            forget_place(self.home.database)

    def copy(self, root: Path) -> Room:
        """The same queue somewhere else, at rest."""
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root, symlinks=True, copy_function=Copier())
        made = Room(root)
        made.settle()
        self._teach_looks(made)
        return made

    def _teach_looks(self, made: Room) -> None:
        """Copies of files that look as recorded do so too."""
        if not made.home.database.exists():
            return
        with closing(sqlite3.connect(made.home.database)) as base, suppress(sqlite3.Error), base:
            for key, path, look in base.execute("SELECT id, path, look FROM output_directories"):
                if look and look == look_at(Disk(), self.csv(path)):
                    change = look_at(Disk(), made.csv(path)), key
                    base.execute("UPDATE output_directories SET look = ? WHERE id = ?", change)


def silent(_done: int, _all: int) -> None:
    """Nobody watches how a copy grows."""


def forget_place(database: Path) -> None:
    """It does not say any more where it stood."""
    with closing(sqlite3.connect(database)) as base, suppress(sqlite3.Error), base:
        base.execute("DELETE FROM meta WHERE key = 'place'")


class Copier:
    """Copies files; two names of one file stay so, and sockets stay behind."""

    def __init__(self) -> None:
        self._copies: dict[int, str] = {}

    def __call__(self, source: str, target: str) -> None:
        found = os.stat(source)
        if stat.S_ISSOCK(found.st_mode):
            return
        if found.st_nlink == 1:
            shutil.copy2(source, target)
        elif found.st_ino in self._copies:
            os.link(self._copies[found.st_ino], target)
        else:
            self._copies[found.st_ino] = target
            shutil.copy2(source, target)


# --- scenarios ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """`template`: the state to begin with.  `edit`: what a person does to it; returns every
    text of theirs that must not be lost.  `run`: what the manager then does; may be repeated.
    `after`: cell -> folders whose CSV has its row at the end.

    `again`: cells that run once more, so that they have two results at the end.
    `stands`: raises unless what was told holds, before anything is recovered.  `restart`: what
    is begun anew after a death, if that is no manager.  `databases`: the power is lost around
    the names and copies of databases too.  `lost`: no manager starts until `run` has ended.
    """

    name: str
    template: str
    run: Callable[[Home, Disk, Tell], None]
    after: dict[int, str]
    edit: Callable[[Room], list[bytes]] = lambda _room: []
    stands: Callable[[Room, Collection[str]], None] = lambda _room, _told: None
    restart: Callable[[Home, Disk, Tell], None] | None = None
    databases: bool = False
    lost: bool = False
    again: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name


STOCK: Final = {0: "ab", 1: "ab", 5: "ab"}
FULL: Final = ("stocked", "backed_up")
"""The rooms that begin with these rows."""


def saying(*batches: tuple[Request, ...]) -> Callable[[Home, Disk, Tell], None]:
    def run(home: Home, disk: Disk, tell: Tell) -> None:
        with opened(home, disk, tell) as desk:
            for batch in batches:
                desk.say(*batch)

    return run


def _init(home: Home, disk: Disk, tell: Tell) -> None:
    with opened(home, disk, tell) as desk:
        desk.say(prepare("a", "b", "deep/c"))
        desk.say(cells(LINKS), cells({0: "ab"}))
        desk.say(result(0))


SWEEP: Final = """
defaults: {experiment: "measured:measure"}
p: {output_dir: a, combinations: {where: [here], seed: [0, 1]}}
q: {output_dir: deep/c, combinations: {where: [there], seed: [0, 1]}}
"""
EXPERIMENT: Final = "def measure(seed: int, where: str) -> dict: ..."


def sweep_files(home: Home, disk: Disk, tell: Tell) -> None:
    """The whole of the command `init`; it ends as a person sees it."""
    files = {"sweep.yaml": SWEEP, "measured.py": EXPERIMENT}
    for name, text in files.items():
        (home.root / name).write_text(text)
    with one_lane():
        initialise(home, [home.root / "sweep.yaml"], tell_nobody, no_progress, disk=disk)
    tell(ALL_ADDED)


def tell_nobody(_text: str) -> None:
    """Nobody waits for another command here."""


@contextmanager
def no_progress(_cells: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


@contextmanager
def one_lane() -> Iterator[None]:
    """Disk calls one after the other, so that they come in the same order every time."""
    most = Lanes.__init__.__defaults__
    Lanes.__init__.__defaults__ = (LIMIT_SECONDS, 1)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        Lanes.__init__.__defaults__ = most  # type: ignore[attr-defined]


def _new_home(home: Home, disk: Disk, tell: Tell) -> None:
    home.create(disk)
    keys.create(home, disk)
    keys.load(home)
    disk.write_beside(home.manager_file, b'{"pid": 1}\n', 0o600)
    with opened(home, disk, tell):
        pass
    disk.write_beside(home.manager_file, b'{"pid": 22222}\n', 0o600)


def _worker(home: Home, disk: Disk, tell: Tell) -> None:
    """A worker's way: request, run, submit under the attempt's number."""
    with opened(home, disk, tell) as desk:
        request = protocol.RequestTask(worker_id="w", request_id="r1", worker_type="cpu")
        (task,) = desk.say(request)
        if isinstance(task, protocol.TaskReply):
            data = {"value": task.seed}
            desk.say(
                SubmitResult(
                    task_id=task.task_id, worker_id="w", attempt=task.attempt, result_data=data
                )
            )


class Here(Place):
    """A place whose last resort is in the room too."""

    def own_folders(self) -> list[Path]:
        return [self.home.unsubmitted, self.root / "state" / unsubmitted.FOLDER]


class AtDesk:
    """What a worker's client is to a worker, without a socket."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def request(self, message: Request) -> Reply:
        (reply,) = self.desk.say(message)
        if isinstance(reply, protocol.Error):
            raise from_wire(reply.code, reply.message, reply.retryable)
        return reply


def here(home: Home, _disk: Disk) -> Place:
    """The home that it shares with the manager."""
    return Here(home, home.root.resolve(), home.queue_id())


Measured = Callable[[Order, Disk, Tell], dict[str, Any]]


def nothing_large(_order: Order, _disk: Disk, _tell: Tell) -> dict[str, Any]:
    return {}


def no_manager(
    place_of: Callable[[Home, Disk], Place] = here,
    answer: QueueError | None = None,
    measured: Measured = nothing_large,
) -> Callable[[Home, Disk, Tell], None]:
    """Runs a task while no manager is there, or one that gives that answer; another worker hands
    in what was left.  `measured`: metrics beside its value."""

    def run(home: Home, disk: Disk, tell: Tell) -> None:
        place = place_of(home, disk)
        value = 1.0 if isinstance(disk, FaultyDisk) else 2.0  # this run's own
        with opened(home, disk, tell) as desk:
            delivery = Delivery(place, disk)
            delivery.adopt(["w"])
            _hand_in(delivery, desk)
            desk.take_in()
            task = _task(desk, "w")
        if task is None:
            return
        delivery = Delivery(place, disk)
        order = place.order(task, "w", Device("cpu", "cpu", "cpu"))
        ending = Ending(COMPLETED, {"value": value} | measured(order, disk, tell))
        kept = f"{KEPT} {task.seed} {value}"
        with suppress(OSError):
            outcome.write(order, ending, disk)
            tell(kept)
        report = outcome.message(order, ending)
        assert report is not None
        delivery.settle(report, answer or ManagerUnreachable(), order)
        if any(home.root.rglob(f"{unsubmitted.FOLDER}/[!.]*.json")):
            tell(kept)
        with opened(home, disk, tell) as desk:
            _hand_in(delivery, desk)
            desk.take_in()

    return run


def _hand_in(delivery: Delivery, desk: Desk) -> None:
    for _ in range(3):
        if delivery.flush(cast(Any, AtDesk(desk))):
            return
        desk.later()


def _task(desk: Desk, worker: str) -> protocol.TaskReply | None:
    """The next task, however often the database fails."""
    for _ in range(3):
        (task,) = desk.say(protocol.RequestTask(worker_id=worker, request_id="r1"))
        if isinstance(task, protocol.TaskReply):
            return task
    return None


def _leave_files(room: Room) -> list[bytes]:
    queue = room.home.queue_id()
    unsubmitted.write(room.root / "a" / unsubmitted.FOLDER, result(2), queue)
    unsubmitted.write(room.home.unsubmitted, result(4), queue)
    return []


def _take_in(home: Home, disk: Disk, tell: Tell) -> None:
    with opened(home, disk, tell) as desk:
        desk.take_in()


# --- rows that are replaced -------------------------------------------------------------------

NEWER: Final = 100


def newer(cell: int, **metrics: Any) -> SubmitResult:
    """The result of mended code."""
    return SubmitResult(
        task_id=f"p_{cell}_{cell}",
        worker_id="mended",
        signature=signature(cell),
        result_data={"value": NEWER + cell} | metrics,
        code_version="mended",
    )


def once_more(*of: int, beside: tuple[int, ...] = (), **metrics: Any) -> Any:
    """Runs cells once more that have results of before; their new ones come in one batch, and
    those of others in it too."""

    def run(home: Home, disk: Disk, tell: Tell) -> None:
        words = [f"seed={','.join(map(str, of))}", "code=unknown"]
        with opened(home, disk, tell) as desk:
            (reply,) = desk.say(protocol.Rerun(select=words))
            if isinstance(reply, protocol.SteeredReply):  # else they are still completed
                desk.say(*(newer(each, **metrics) for each in of), *map(result, beside))

    return run


def newer_stand(of: tuple[int, ...]) -> Callable[[Room, Collection[str]], None]:
    """Once it was acked, a new row is there and the old one is not, nor both nor none ever."""

    def stands(room: Room, told: Collection[str]) -> None:
        from crash_proof import demand

        for cell in of:
            for folder in LINKS[cell]:
                lines = rows_of(room.csv(folder).read_bytes())
                found = [row["value"] for row in lines if row["signature"] == signature(cell)]
                new = str(NEWER + cell)
                allowed = [[new]] if f"{cell}/" in told else [[new], [repr(cell / 3)]]
                demand(found in allowed, f"rows of {cell} in {folder}: {found}")

    return stands


# --- what a person does to a CSV ----------------------------------------------------------------


def by_rename(path: Path, data: bytes) -> None:
    """As a spreadsheet saves: a new file takes the name."""
    beside = path.with_name("~lock.tmp")
    beside.write_bytes(data)
    beside.replace(path)


def replaced(room: Room) -> list[bytes]:
    mine = b"mine;all;mine\n1;2;3\n"
    by_rename(room.csv("a"), mine)
    return [mine]


def in_another_order(room: Room) -> list[bytes]:
    head, *rows = room.csv("a").read_bytes().splitlines(keepends=True)
    turned = b"".join([head, *reversed(rows)])
    by_rename(room.csv("a"), turned)
    return [turned]


def shortened(room: Room) -> list[bytes]:
    data = room.csv("a").read_bytes()[:-9]
    room.csv("a").write_bytes(data)
    return [data]


def deleted(room: Room) -> list[bytes]:
    room.csv("a").unlink()
    return []


def extended(room: Room) -> list[bytes]:
    with room.csv("a").open("ab") as file:
        file.write(b"a remark of mine\n,,and more")
    return [b"a remark of mine\n,,and more"]


def widened_by_hand(room: Room) -> list[bytes]:
    lines = room.csv("a").read_bytes().splitlines(keepends=True)
    wide = b"".join(each.replace(b"\n", b",note\n") for each in lines)
    room.csv("a").write_bytes(wide)
    return [wide]


def nothing_of_ours(room: Room) -> list[bytes]:
    """Before the first result: a file of the person's, made after `init`."""
    room.csv("a").write_bytes(b"already,here\n")
    return [b"already,here\n"]


EDITS: Final = (replaced, in_another_order, shortened, deleted, extended, widened_by_hand)

MAIN: Final = (
    Scenario("the first result", "fresh", saying((result(0),)), {0: "ab"}),
    Scenario(
        "further results",
        "stocked",
        saying((result(2),), (result(4),)),
        STOCK | {2: "a", 4: "ab"},
    ),
    Scenario(
        "a batch",
        "stocked",
        saying((result(2), result(3), result(4))),
        STOCK | {2: "a", 3: "b", 4: "ab"},
    ),
    Scenario(
        "a new metric",
        "stocked",
        saying((result(4, new=1.5),), (result(2),)),
        STOCK | {2: "a", 4: "ab"},
    ),
)
MORE: Final = (
    Scenario("a new home", "bare", _new_home, {}),
    Scenario("sweep files", "bare", sweep_files, {}),
    Scenario("init", "empty", _init, {0: "ab"}),
    Scenario(
        "a link to completed tasks",
        "stocked",
        saying((prepare("c"),), (cells({0: "c", 1: "c", 2: "c"}),), (result(2),)),
        STOCK | {0: "abc", 1: "abc", 2: "ac"},
    ),
    Scenario("a worker", "fresh", _worker, {0: "ab"}),
    Scenario("an absent manager", "fresh", no_manager(), {0: "ab"}),
    Scenario("files left by workers", "stocked", _take_in, STOCK | {2: "a", 4: "ab"}, _leave_files),
    Scenario(
        "a file before the first result",
        "fresh",
        saying((result(0),)),
        {0: "ab"},
        nothing_of_ours,
    ),
)
HANDS: Final = tuple(
    Scenario(
        f"a CSV {edit.__name__}",
        "stocked",
        saying((result(2), result(4))),
        STOCK | {2: "a", 4: "ab"},
        edit,
    )
    for edit in EDITS
)
REPAIRS: Final = tuple(
    Scenario(
        f"repair of a CSV {edit.__name__}", "stocked", saying((protocol.Repair(),)), STOCK, edit
    )
    for edit in EDITS
)
ONCE_MORE: Final = (
    Scenario(
        "a row replaced", "stocked", once_more(0), STOCK, again=(0,), stands=newer_stand((0,))
    ),
    Scenario(
        "rows replaced in a batch",
        "stocked",
        once_more(0, 1, beside=(2, 3)),
        STOCK | {2: "a", 3: "b"},
        again=(0, 1),
        stands=newer_stand((0, 1)),
    ),
    Scenario(
        "a row replaced by a wider one",
        "stocked",
        once_more(5, new=1.5),
        STOCK,
        again=(5,),
        stands=newer_stand((5,)),
    ),
    Scenario(
        "a row replaced in a CSV that was extended",
        "stocked",
        once_more(1),
        STOCK,
        extended,
        again=(1,),
    ),
)
ALL: Final = MAIN + MORE + ONCE_MORE + HANDS + REPAIRS


def rows_of(data: bytes) -> list[dict[str, str]]:
    """The rows of a CSV, read by somebody else's reader."""
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def promised(told: Iterable[str], scenario: Scenario) -> set[tuple[int, str]]:
    """Cell and folder of every row that was promised: of submissions, and of links to results."""
    pairs = [each.split("/", 1) for each in told if "/" in each]
    submitted = {int(cell) for cell, folder in pairs if not folder}
    done = submitted | (set(STOCK) if scenario.template in FULL else set())
    rows = {(cell, name) for cell in submitted for name in LINKS[cell]}
    return rows | {(int(cell), name) for cell, name in pairs if name and int(cell) in done}
