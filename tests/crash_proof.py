"""The proof: whatever becomes of a scenario at its N-th call, no result is lost, doubled or torn.

`dies`, `dies_again`, `fails` each run one scenario with one fault and then demand what the
promise says; `Broken` names what does not hold.  What is not here: faults, scenarios, tests.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crash_scenarios import Room, Scenario, opened, promised, rows_of, signature
from faults import DEATHS, HALVES, Ended, FaultyDisk, Plan, Tell, faulty_commits, in_a_child
from power import NotingDisk, Platter
from tally import count

from sqlqueue.disk import Disk
from sqlqueue.errors import StorageFailure
from sqlqueue.home import Home
from sqlqueue.store.audit import verify
from sqlqueue.store.csv_file import look_at

MEMORY: Final = Path("/dev/shm")
"""A filesystem in memory, where there is one: the real calls, without the waiting."""

CONTENT: Final = (
    "SELECT signature, task_id, state FROM tasks",
    "SELECT * FROM task_output_dirs",
    "SELECT signature, metrics, accepted FROM results",
    "SELECT path, columns, length_bytes, checksum, next_checksum FROM output_directories",
    "SELECT signature, number, outcome FROM attempts",
)
"""What of the database matters to a recovery."""

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
    with tempfile.TemporaryDirectory(dir=base, prefix="sqlqueue-") as folder:
        yield Workshop(Path(folder))


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
        return room, texts, self._child(scenario.run, room.home, Plan(at, mode))

    def _child(
        self,
        work: Callable[[Home, Disk, Tell], None],
        home: Home,
        plan: Plan,
        real: Disk | None = None,
    ) -> Ended:
        def run(tell: Tell) -> None:
            with faulty_commits(plan):
                work(home, FaultyDisk(plan, real), tell)

        ended = in_a_child(run)
        count("kills", ended.killed)
        return ended

    def dies(self, scenario: Scenario, at: int, mode: str) -> None:
        """A death at one call; afterwards everything that was promised is there."""
        room, texts, ended = self.died(scenario, at, mode)
        demand(ended.killed or mode == AT_THE_END, f"call {at} never came")
        if not texts:
            stands_whole(room, promised(ended.told, scenario))
        self.settle(room, scenario, texts, ended.told)

    def loses_power(self, scenario: Scenario, at: int, mode: str, policy: str) -> None:
        """The machine dies with the process; afterwards what was promised is still there."""
        room, texts = self.room(scenario)
        platter = Platter(room.root, self.root / "platter")
        platter.begin()
        ended = self._child(scenario.run, room.home, Plan(at, mode), self.real(platter))
        demand(ended.killed or mode == AT_THE_END, f"call {at} never came")
        platter.lose(policy)
        count("power cuts")
        if not texts:
            stands_whole(room, promised(ended.told, scenario))
        self.settle(room, scenario, texts, ended.told)

    def dies_again(self, scenario: Scenario, at: int, mode: str) -> int:
        """The same, and then a death at every call of the recovery; how many those were."""
        deaths_again = 0
        for again in DEATHS:
            number = 1
            while self._dies_again(scenario, Plan(at, mode), Plan(number, again)):
                deaths_again, number = deaths_again + 1, number + 1
        return deaths_again

    def _dies_again(self, scenario: Scenario, first: Plan, second: Plan) -> bool:
        room, texts, ended = self.died(scenario, first.at, first.mode)
        recovery = self._child(recover, room.home, second)
        self.settle(room, scenario, texts, ended.told)
        return recovery.killed

    def states(self, scenario: Scenario) -> list[tuple[int, str]]:
        """The deaths of a scenario, one of those that leave the same on disk."""
        found: dict[str, tuple[int, str]] = {}
        for at, mode in deaths(self.calls(scenario)):
            room, _, ended = self.died(scenario, at, mode)
            found.setdefault(fingerprint(room) + repr(sorted(ended.told)), (at, mode))
        return list(found.values())

    def settle(self, room: Room, scenario: Scenario, texts: list[bytes], told: list[str]) -> None:
        """What must hold after a death; where the same is on disk, it is asked once."""
        key = f"{scenario} {fingerprint(room)} {sorted(told)}"
        if key not in self.settled:
            settles(room, scenario, texts, promised(told, scenario))
            self.settled.add(key)

    # --- errors -----------------------------------------------------------------------

    def fails(self, scenario: Scenario, at: int, mode: str, stays: bool = False) -> None:
        """An error at one call, or from it on in one folder; the process lives."""
        room, texts = self.room(scenario)
        plan = Plan(at, mode, stays)
        told: list[str] = []
        with faulty_commits(plan):
            try:
                scenario.run(room.home, FaultyDisk(plan), told.append)
            except (OSError, StorageFailure):
                demand(
                    plan.where not in ("a", "b", "c"),
                    f"an error in {plan.where} stopped the others",
                )
            demand(plan.came, f"call {at} never came")
        count("injected errors")
        settles(room, scenario, texts, promised(told, scenario))


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


def settles(
    room: Room, scenario: Scenario, texts: list[bytes], promises: set[tuple[int, str]]
) -> None:
    """Recovery agrees with what was promised; the scenario once more brings the rest."""
    recover(room.home, Disk(), lambda _: None)
    count("recoveries")
    agrees(room, promises, texts)
    aside = [each.name for each in room.root.rglob("*set-aside*")]
    demand(texts or not aside, f"what is ours was taken for a person's: {aside}")
    scenario.run(room.home, Disk(), lambda _: None)
    wanted = {(cell, folder) for cell, folders in scenario.after.items() for folder in folders}
    agrees(room, promises | wanted, texts)
    for cell, folder in wanted:
        demand(_count(room, cell, folder) == 1, f"{cell} is not in {folder} at the end")
    nothing_new(room)


def agrees(room: Room, promises: set[tuple[int, str]], texts: list[bytes]) -> None:
    """Database and CSVs agree, what was promised is there once, a person's bytes are kept."""
    findings = [str(each) for each in verify(room.home)]
    demand(not findings, "\n".join(findings))
    for cell, folder in promises:
        found = _count(room, cell, folder)
        demand(found == 1, f"{found} rows of {cell} in {folder}")
    for text in texts:
        demand(_kept(room, text), f"lost what a person wrote: {text[:60]!r}")


def _count(room: Room, cell: int, folder: str) -> int:
    file = room.csv(folder)
    rows = rows_of(file.read_bytes()) if file.exists() else []
    return sum(row["signature"] == signature(cell) for row in rows)


def _kept(room: Room, text: bytes) -> bool:
    files = [
        each for each in room.root.rglob("*") if each.is_file() and "queue.db" not in each.name
    ]
    return any(text in each.read_bytes() for each in files)


def nothing_new(room: Room) -> None:
    """The same result again left no second result, and nothing lies about."""
    twice = query(room, "SELECT signature FROM results GROUP BY signature HAVING count(*) > 1")
    demand(not twice, f"stored twice: {twice}")
    left = [str(each) for each in room.root.rglob(".final_results.csv.new*")]
    demand(not left, f"left behind: {left}")


def fingerprint(room: Room) -> str:
    """What is on disk; of times and inodes, only whether they are as recorded."""
    digest = hashlib.sha256()
    for path in sorted(room.root.rglob("*")):
        if path.is_file() and "queue.db" not in path.name:
            name = path.relative_to(room.root).as_posix().split("set-aside")[0]
            digest.update(f"{name}\0{path.stat().st_nlink}\0".encode() + path.read_bytes())
    for each in CONTENT:
        digest.update(repr(query(room, each)).encode())
    for folder, look in query(room, "SELECT path, look FROM output_directories"):
        digest.update(b"=" if look == look_at(Disk(), room.csv(folder)) else b"!")
    return digest.hexdigest()
