"""The proof: whatever becomes of a scenario at its N-th call, no result is lost, doubled or torn.

`dies` kills a real process at one call, `fails` lets one call fail.  `film` runs a scenario once
and keeps a copy of the disk at each moment at which it could die (`test_crash.py` shows that a
copy is what a death leaves); from these come the loss of power, and deaths in the recovery.
All then demand what the promise says; `Broken` names what does not hold.  What is not here:
faults, scenarios, tests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crash_scenarios import ALL_ADDED, KEPT, Room, Scenario, opened, promised, rows_of, signature
from faults import (
    DEATHS,
    HALVES,
    MOMENTS,
    Ended,
    FaultyDisk,
    Plan,
    Tell,
    faulty_commits,
    in_a_child,
)
from power import (
    BUT_LOCKS,
    OWN,
    POLICIES,
    Image,
    Left,
    NotingDisk,
    Platter,
    Tree,
    after_power_loss,
    image_of,
    inodes_of,
    make,
)
from sqlalchemy import Engine
from tally import count

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, QueueError
from sqlqueue.home import Home
from sqlqueue.store import engine
from sqlqueue.store.audit import verify
from sqlqueue.store.csv_file import look_at

MEMORY: Final = Path("/dev/shm")
"""A filesystem in memory, where there is one: the real calls, without the waiting."""

CONTENT: Final = (
    "SELECT signature, task_id, state, rerun_after FROM tasks",
    "SELECT * FROM task_output_dirs",
    "SELECT signature, metrics, accepted FROM results",
    "SELECT path, columns, length_bytes, checksum, next_checksum FROM output_directories",
    "SELECT signature, number, outcome FROM attempts",
)
"""What of the database matters to a recovery."""

RESULTS: Final = "SELECT metrics FROM results WHERE signature = '{signature}'"
AT_THE_END: Final = "at the end"


class Broken(AssertionError):
    """The promise does not hold."""


def demand(condition: object, what: str) -> None:
    if not condition:
        raise Broken(what)


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A folder in memory with the rooms that scenarios begin with."""
    base = MEMORY if MEMORY.is_dir() else None
    one_compiler()
    with tempfile.TemporaryDirectory(dir=base, prefix="sqlqueue-") as folder:
        yield Workshop(Path(folder))


def one_compiler() -> None:
    """All databases of this process share what SQLAlchemy compiled: thousands are opened here."""
    if getattr(engine._engine, "shared", False):
        return
    make_engine, first = engine._engine, list[Any]()

    def sharing(*arguments: Any, **options: Any) -> Engine:
        made: Any = make_engine(*arguments, **options)
        if not first:
            first.append(made)
        made.dialect = first[0].dialect
        made._compiled_cache = first[0]._compiled_cache
        return made  # type: ignore[no-any-return]

    sharing.shared = True  # type: ignore[attr-defined]
    engine._engine = sharing


@dataclass(frozen=True)
class Still:
    """The disk at one moment: a copy of the room as a death at that moment would leave it.

    `durable` and `now`: what was on stable storage then, and what was there.
    """

    at: int
    mode: str
    room: Room
    told: tuple[str, ...]
    durable: Image
    now: Image

    def copy(self, root: Path) -> tuple[Room, Image]:
        """The room once more, and what of it is durable."""
        room = self.room.copy(root)
        return room, self.durable.moved(inodes_of(self.room.root, root))


Work = Callable[[Home, Disk, Tell], None]


@dataclass
class Workshop:
    """Makes rooms, and proves scenarios in them."""

    root: Path
    real: Callable[[Platter], Disk] = NotingDisk
    settled: set[str] = field(default_factory=set)
    _templates: dict[str, Room] = field(default_factory=dict)
    _counts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def room(self, scenario: Scenario) -> tuple[Room, list[bytes]]:
        """The state that the scenario begins with, and what a person wrote into it."""
        room = self.template(scenario.template).copy(self.root / "room")
        return room, scenario.edit(room)

    def template(self, name: str) -> Room:
        """A room that others are copies of."""
        if name not in self._templates:
            room = Room(self.root / f"template-{name}")
            getattr(room, name)()
            self._templates[name] = room
        return self._templates[name]

    def calls(self, scenario: Scenario) -> list[tuple[str, str]]:
        """Every call of the scenario when nothing goes wrong."""
        if scenario.name not in self._counts:
            room, _ = self.room(scenario)
            plan = Plan()
            with faulty_commits(plan):
                scenario.run(room.home, FaultyDisk(plan), lambda _: None)
            self._counts[scenario.name] = plan.calls
        return self._counts[scenario.name]

    # --- deaths -----------------------------------------------------------------------

    def died(self, scenario: Scenario, at: int, mode: str) -> tuple[Room, list[bytes], Ended]:
        """The room after a process died in it, what a person wrote, and what was promised."""
        room, texts = self.room(scenario)
        plan = Plan(at, mode)

        def run(tell: Tell) -> None:
            with faulty_commits(plan):
                scenario.run(room.home, FaultyDisk(plan), tell)

        ended = in_a_child(run)
        count("kills", ended.killed)
        demand(ended.killed or mode == AT_THE_END, f"call {at} never came")
        return room, texts, ended

    def dies(self, scenario: Scenario, at: int, mode: str) -> None:
        """A death at one call; afterwards everything that was promised is there."""
        room, texts, ended = self.died(scenario, at, mode)
        if not texts:
            stands_whole(room, promised(ended.told, scenario))
        self.settle(room, scenario, texts, ended.told)

    def film(self, scenario: Scenario) -> tuple[list[Still], list[bytes]]:
        """What every death of the scenario leaves, and what a person wrote before."""
        room, texts = self.room(scenario)
        platter = Platter(room.root, but=left_out(scenario))
        return self._filmed(room, scenario.run, platter, "film"), texts

    def film_recovery(self, still: Still, work: Work | None = None) -> list[Still]:
        """What every death of the recovery after a death leaves."""
        room, durable = still.copy(self.root / "again")
        platter = Platter(room.root, durable)
        return self._filmed(room, work or recover, platter, "film-again", still.told)

    def _filmed(
        self, room: Room, work: Work, platter: Platter, name: str, before: tuple[str, ...] = ()
    ) -> list[Still]:
        folder, told = self.root / name, list(before)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        stills: list[Still] = []

        def shoot(at: int, mode: str) -> None:
            copy = room.copy(folder / str(len(stills)))
            now = image_of(room.root, platter.but)
            durable = platter.durable_now(now)
            inodes = inodes_of(room.root, copy.root)
            still = Still(at, mode, copy, tuple(told), durable.moved(inodes), now.moved(inodes))
            stills.append(still)

        plan = Plan(camera=shoot)
        with faulty_commits(plan, platter.note_commit):
            work(room.home, FaultyDisk(plan, self.real(platter)), told.append)
        shoot(len(plan.calls) + 1, AT_THE_END)
        return stills

    def dies_in_recovery(self, scenario: Scenario) -> int:
        """A death in the scenario, and one in the recovery from it; how many such pairs."""
        pairs, seen = 0, set[str]()
        stills, texts = self.film(scenario)
        for still in stills:
            key = fingerprint(still.room) + repr(sorted(still.told))
            if key not in seen:
                seen.add(key)
                again = self.film_recovery(still, scenario.restart)
                for each in again:
                    self._settles_after(each.room, each, scenario, texts)
                pairs += len(again)
        return pairs

    def settle(
        self, room: Room, scenario: Scenario, texts: list[bytes], told: Iterable[str]
    ) -> None:
        """What must hold after a death; where the same is on disk, it is asked once."""
        if scenario.databases:  # a look at what is recorded would mend it
            settles(room, scenario, texts, told)
            return
        key = f"{scenario} {fingerprint(room)} {sorted(told)}"
        if key not in self.settled:
            settles(room, scenario, texts, told)
            self.settled.add(key)

    def _settles_after(
        self, room: Room, still: Still, scenario: Scenario, texts: list[bytes], policy: str = ""
    ) -> None:
        try:
            if policy and not texts:
                stands_whole(room, promised(still.told, scenario))
            self.settle(room, scenario, texts, still.told)
        except Broken as broken:
            raise Broken(f"{policy} {still.mode} {still.at}: {broken}") from None

    # --- loss of power ----------------------------------------------------------------

    def loses_power(self, scenario: Scenario, policies: Iterable[str] = POLICIES) -> int:
        """The machine dies at every call; afterwards what was promised is still there."""
        stills, texts = self.film(scenario)
        return self._without_power(stills, scenario, texts, list(policies))

    def loses_power_in_recovery(
        self, scenario: Scenario, policies: Iterable[str], at: int | None = None
    ) -> int:
        """A process dies, at that call or at any, and in the recovery from that the machine."""
        cuts, seen = 0, set[str]()
        stills, texts = self.film(scenario)
        for still in stills if at is None else [each for each in stills if each.at == at]:
            key = fingerprint(still.room) + repr(sorted(still.told)) + content_key(still)
            if key not in seen:
                seen.add(key)
                again = self.film_recovery(still, scenario.restart)
                cuts += self._without_power(again, scenario, texts, list(policies))
        return cuts

    def _without_power(
        self, stills: list[Still], scenario: Scenario, texts: list[bytes], policies: list[str]
    ) -> int:
        seen: set[str] = set()
        for still in stills:
            beside = [] if scenario.databases else database_content(still.room)
            for policy in policies:
                tree = after_power_loss(still.durable, still.now, policy)
                key = digest(beside, sorted(still.told), sorted(tree.items()))
                if key not in seen:
                    seen.add(key)
                    self._found(still, tree, scenario, texts, policy)
        count("power cuts", len(stills) * len(policies))
        return len(stills) * len(policies)

    def _found(
        self, still: Still, tree: Tree, scenario: Scenario, texts: list[bytes], policy: str
    ) -> None:
        room = still.room.copy(self.root / "found")
        make(room.root, tree, left_out(scenario))
        if scenario.databases:
            room.settle()
        self._settles_after(room, still, scenario, texts, policy)

    # --- errors -----------------------------------------------------------------------

    def fails(self, scenario: Scenario, at: int, mode: str, stays: bool = False) -> None:
        """An error at one call, or from it on in one folder; the process lives."""
        room, texts = self.room(scenario)
        plan = Plan(at, mode, stays)
        told: list[str] = []
        with faulty_commits(plan):
            try:
                scenario.run(room.home, FaultyDisk(plan), told.append)
            except (OSError, QueueError):
                alone = plan.where not in ("a", "b", "c") or scenario.template == "bare"
                demand(alone, f"an error in {plan.where} stopped the others")
            demand(plan.came, f"call {at} never came")
        count("injected errors")
        self.settle(room, scenario, texts, told)


def left_out(scenario: Scenario) -> Left:
    """Of which files the power is not lost."""
    return BUT_LOCKS if scenario.databases else OWN


def digest(*things: object) -> str:
    return hashlib.sha256(repr(things).encode()).hexdigest()


def errors(calls: list[tuple[str, str]]) -> list[int]:
    """The calls that can fail."""
    return [number for number, (name, _) in enumerate(calls, start=1) if name not in MOMENTS]


def deaths(calls: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Every death that can come at these calls: which, and how; last, after all of them."""
    return [
        (number, mode)
        for number, (name, _) in enumerate(calls, start=1)
        for mode in DEATHS
        if mode != "halfway" or name in HALVES
    ] + [(len(calls) + 1, AT_THE_END)]


def recover(home: Home, disk: Disk, tell: Tell) -> None:
    """What a manager does when it starts."""
    home.create(disk)
    with opened(home, disk, tell):
        pass


# --- what must hold -----------------------------------------------------------------------


def stands_whole(room: Room, promises: set[tuple[int, str]]) -> None:
    """Before anything is recovered, each row that was promised stands in its CSV, whole."""
    for cell, folder in promises:
        file = room.csv(folder)
        lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
        found = sum(signature(cell).encode() in line for line in lines)
        demand(found == 1, f"{found} whole rows of {cell} in {folder} before recovery")


def query(room: Room, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the database as it is; none where it has no such table yet."""
    if not room.home.database.exists():
        return []
    base = sqlite3.connect(room.home.database)
    try:
        return base.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        base.close()


def settles(room: Room, scenario: Scenario, texts: list[bytes], told: Iterable[str]) -> None:
    """Recovery agrees with what was promised; the scenario once more brings the rest."""
    promises = promised(told, scenario)
    nothing_torn(room)
    scenario.stands(room, list(told))
    if starts(room, scenario):
        agrees(room, promises, texts)
    count("recoveries")
    aside = [each.name for each in room.root.rglob("*set-aside*")]
    demand(texts or not aside, f"what is ours was taken for a person's: {aside}")
    said: list[str] = []
    scenario.run(room.home, Disk(), said.append)
    scenario.stands(room, [*told, *said])
    wanted = {(cell, folder) for cell, folders in scenario.after.items() for folder in folders}
    agrees(room, promises | wanted, texts)
    for cell, folder in wanted:
        demand(_count(room, cell, folder) == 1, f"{cell} is not in {folder} at the end")
    arrived(room, told)
    if ALL_ADDED in told:
        demand(len(query(room, "SELECT 1 FROM tasks")) == 4, "not every cell was added")
    nothing_new(room, scenario.again)


def starts(room: Room, scenario: Scenario) -> bool:
    """Whether a manager does; only one that has lost its database may say that it does not."""
    try:
        recover(room.home, Disk(), lambda _: None)
    except DatabaseError:
        if not scenario.lost:
            raise
        return False
    return True


def agrees(room: Room, promises: set[tuple[int, str]], texts: list[bytes]) -> None:
    """Database and CSVs agree, what was promised is there once, a person's bytes are kept."""
    findings = [str(each) for each in verify(room.home)]
    demand(not findings, "\n".join(findings))
    for cell, folder in promises:
        found = _count(room, cell, folder)
        demand(found == 1, f"{found} rows of {cell} in {folder}")
    for text in texts:
        demand(kept(room, text), f"lost what a person wrote: {text[:60]!r}")


def nothing_torn(room: Room) -> None:
    """Each small file that has its name is whole."""
    for path in room.root.rglob("*.json"):
        if path.name == ".sqlqueue.json" or not path.name.startswith("."):
            demand(_is_json(path.read_bytes()), f"{path.relative_to(room.root)} is torn")


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def arrived(room: Room, told: Iterable[str]) -> None:
    """What a worker kept as a file is in the database once."""
    for each in told:
        if each.startswith(KEPT):
            _, cell, value = each.split()
            found = query(room, RESULTS.format(signature=signature(int(cell))))
            values = [json.loads(metrics)["value"] for (metrics,) in found]
            demand(
                values.count(float(value)) == 1, f"{value} of {cell} was kept; there are {values}"
            )


def _count(room: Room, cell: int, folder: str) -> int:
    file = room.csv(folder)
    rows = rows_of(file.read_bytes()) if file.exists() else []
    return sum(row["signature"] == signature(cell) for row in rows)


def kept(room: Room, text: bytes) -> bool:
    """Whether those bytes stand in any file but the database."""
    own = {f"queue.db{end}" for end in ("", "-wal", "-shm", "-journal")}
    files = [each for each in room.root.rglob("*") if each.is_file() and each.name not in own]
    return any(text in each.read_bytes() for each in files)


def nothing_new(room: Room, again: tuple[int, ...]) -> None:
    """The same result again left no second result, and nothing lies about."""
    two = {signature(cell): 2 for cell in again}
    counts = query(room, "SELECT signature, count(*) FROM results GROUP BY signature")
    twice = [name for name, count in counts if count > two.get(name, 1)]
    demand(not twice, f"stored twice: {twice}")
    left = [str(each) for each in room.root.rglob(".final_results.csv.new*")]
    demand(not left, f"left behind: {left}")


def database_content(room: Room) -> list[list[tuple[Any, ...]]]:
    return [query(room, each) for each in CONTENT]


def content_key(still: Still) -> str:
    """What of its moment is durable, inodes apart."""
    trees = [after_power_loss(still.durable, still.now, policy) for policy in POLICIES]
    return hashlib.sha256(repr([sorted(tree.items()) for tree in trees]).encode()).hexdigest()


def fingerprint(room: Room) -> str:
    """What is on disk; of times and inodes, only whether they are as recorded."""
    digest = hashlib.sha256()
    for path in sorted(room.root.rglob("*")):
        if path.is_file() and not path.name.startswith(OWN):
            name = path.relative_to(room.root).as_posix().split("set-aside")[0]
            digest.update(f"{name}\0{path.stat().st_nlink}\0".encode() + path.read_bytes())
    digest.update(repr(database_content(room)).encode())
    for folder, look in query(room, "SELECT path, look FROM output_directories"):
        digest.update(b"=" if look == look_at(Disk(), room.csv(folder)) else b"!")
    return digest.hexdigest()
