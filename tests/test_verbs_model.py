"""Random histories of a queue against a plain model of it: states, attempts, rows, figures.

The model knows nothing of SQL, files or leases in memory; it says what must be true after each
step, restarts of the manager among them.  At the end of each history the queue is audited.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from core import Core, task
from crash_scenarios import Desk, Room
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sqlqueue import protocol
from sqlqueue.lifecycle import MAX_LOSSES
from sqlqueue.protocol import Held, NoTask, TaskReply

WORKERS = st.sampled_from(["u", "v", "w"])
CELLS = st.integers(0, 3)
PHASES = st.sampled_from(["p", "q"])
FOLDERS = st.sampled_from(["a", "b"])
VALUES = st.integers(0, 2)
KINDS = st.sampled_from(["gpu", "cpu"])
SCOPES = st.sampled_from([None, "p", "q"])
SOME = st.sampled_from([None, None, 0, 1])
STATES = st.sampled_from(
    [set(), set(), {"PENDING", "RUNNING"}, {"FAILED"}, {"CANCELLED", "RUNNING"}]
)
LEASES = st.sampled_from([10.0, 60.0])


@dataclass
class Attempt:
    worker: str
    outcome: str | None = None
    lease_seconds: float = 0.0
    deadline: float = 0.0
    value: int | None = None

    def end(self, outcome: str) -> None:
        self.outcome = outcome


@dataclass
class Phase:
    """What was said of a phase as such."""

    paused: bool = False
    asked: int | None = None


@dataclass
class Wish:
    """What a phase wants of a task; `asked`: a person's word."""

    phase: Phase
    priority: int
    most: int
    asked: int | None
    withdrawn: bool = False

    @property
    def urgency(self) -> int:
        return self.priority if self.asked is None else self.asked


@dataclass
class Task:
    """What a task must be."""

    cell: int
    task_id: str
    cost: int
    wishes: dict[str, Wish] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    state: str = "PENDING"
    attempts: list[Attempt] = field(default_factory=list)
    failures: int = 0
    losses: int = 0
    rerun_after: int = 0
    leaving: Attempt | None = None
    """Cancelled, and its worker has not said that it stopped: nobody else gets the task."""

    priority: int = 0
    max_attempts: int = 0
    held: bool = False

    @property
    def wanted_by(self) -> set[str]:
        return {name for name, wish in self.wishes.items() if not wish.withdrawn}

    def settle(self) -> None:
        """What all who want it wish; with nobody, as it was."""
        if open_ := [self.wishes[name] for name in self.wanted_by]:
            self.priority = max(each.urgency for each in open_)
            self.max_attempts = max(each.most for each in open_)
            self.held = all(each.phase.paused for each in open_)

    @property
    def accepted(self) -> Attempt | None:
        """The attempt whose result stands in the CSVs."""
        return next((each for each in self.attempts if each.outcome == "COMPLETED"), None)

    @property
    def again(self) -> bool:
        """Whether it is to run once more, or does."""
        return self.accepted is not None and self.state != "COMPLETED"

    def number_of(self, attempt: Attempt) -> int:
        return next(n for n, each in enumerate(self.attempts, 1) if each is attempt)

    def is_of_before(self, attempt: Attempt) -> bool:
        return any(each is attempt for each in self.attempts[: self.rerun_after])

    @property
    def running(self) -> Attempt | None:
        return next((each for each in self.attempts if each.outcome is None), None)

    def of(self, worker: str) -> Attempt | None:
        """The attempt that a worker means who names none."""
        own = [each for each in self.attempts if each.worker == worker]
        live = [each for each in own if each.outcome is None]
        return (live or own or [None])[-1]  # type: ignore[list-item]

    def numbered(self, worker: str, number: int) -> Attempt | None:
        """The attempt of that number, if it is the worker's."""
        found = self.attempts[number - 1 : number] if number else []
        return next((each for each in found if each.worker == worker), None)

    def is_over(self, attempt: Attempt) -> None:
        """Its worker says so."""
        if attempt is self.leaving:
            self.leaving = None

    def end(self, attempt: Attempt, outcome: str) -> None:
        attempt.end(outcome)
        if outcome == "LOST":
            self.losses += 1
        elif outcome != "RELEASED":
            self.failures += 1
        over = {"LOST": self.losses >= MAX_LOSSES, "RELEASED": False}
        last = over.get(outcome, self.failures >= self.max_attempts)
        at_last = "COMPLETED" if self.again else "FAILED"
        self.state = at_last if last else "PENDING"

    def take_result(self, worker: str, value: int, number: int | None = None) -> bool:
        """Whether it is the one that counts."""
        attempt = self.of(worker) if number is None else self.numbered(worker, number)
        is_known = value in {each.value for each in self.attempts}
        if is_known and (self.state == "COMPLETED" or attempt is None):
            return False
        if attempt is not None and attempt.value == value:
            return False
        named = number if attempt is None else self.number_of(attempt)
        further = self.state == "COMPLETED" or 0 < (named or 0) <= self.rerun_after
        if attempt is None or attempt.value is not None:
            attempt = Attempt(worker)
            self.attempts.append(attempt)
        attempt.value = value
        self.is_over(attempt)
        if further:
            attempt.outcome = "SUPERSEDED"
            return False
        if before := self.accepted:
            before.outcome = "SUPERSEDED"
        attempt.outcome = "COMPLETED"
        if other := self.running:
            other.end("SUPERSEDED")
        self.state = "COMPLETED"
        return True


class History(RuleBasedStateMachine):
    """Steps of workers, of a person, of time; each done to the queue and to the model."""

    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sqlqueue-model-"))
        self.tasks: dict[int, Task] = {}
        self.rows: dict[str, list[tuple[str, int]]] = {}
        self.numbers: Counter[str] = Counter()
        self.phases: dict[str, Phase] = {}
        self.paused = False
        self.drained: set[str] = set()

    @initialize()
    def begin(self) -> None:
        shutil.copytree(self.empty, self.folder, dirs_exist_ok=True)
        self.core = self.opened(Room(self.folder))

    def opened(self, room: Room) -> Core:
        return Core.begin(room)

    def teardown(self) -> None:
        if hasattr(self, "core"):
            self.core.end()
        shutil.rmtree(self.folder)

    @property
    def now(self) -> float:
        return self.core.now

    def at(self, cell: int) -> Task | None:
        return self.tasks.get(cell)

    # --- a person ---------------------------------------------------------------------

    @rule(
        cells=st.lists(CELLS, min_size=1, max_size=4),
        phase=PHASES,
        folder=FOLDERS,
        priority=st.integers(0, 2),
        most=st.integers(1, 3),
    )
    def add(self, cells: list[int], phase: str, folder: str, priority: int, most: int) -> None:
        wish = {"priority": priority, "max_attempts": most}
        self.core.add(*(task(cell, phase, folder, cost=cell % 3, **wish) for cell in cells))
        self.added({cell: cell % 3 for cell in cells}, phase, folder, (priority, most))

    def added(self, costs: dict[int, int], phase: str, folder: str, wish: tuple[int, int]) -> None:
        self.rows.setdefault(folder, [])
        self.phases.setdefault(phase, Phase())
        for cell, cost in costs.items():
            if cell not in self.tasks:
                number = self.numbers[phase]
                self.numbers[phase] += 1
                self.tasks[cell] = Task(cell, f"{phase}_{number}_{cell}", cost)
            self._wanted(self.tasks[cell], phase, folder, wish)

    def _wanted(self, known: Task, phase: str, folder: str, wish: tuple[int, int]) -> None:
        before, whole = known.wishes.get(phase), self.phases[phase]
        known.wishes[phase] = Wish(whole, *wish, before.asked if before else whole.asked)
        known.settle()
        if folder not in known.folders:
            known.folders.append(folder)
            if known.accepted:
                self.rows[folder].append((known.task_id, self._accepted(known)))
        if known.state == "CANCELLED":
            known.state = "PENDING"
        if known.state == "FAILED" and known.failures < known.max_attempts:
            known.state = "FAILED" if known.losses >= MAX_LOSSES else "PENDING"

    @staticmethod
    def _accepted(known: Task) -> int:
        assert known.accepted is not None
        assert known.accepted.value is not None
        return known.accepted.value

    # --- a person steers --------------------------------------------------------------------

    def meant(self, phase: str | None, cell: int | None, states: set[str]) -> dict[str, Any]:
        """The words of a selector."""
        words = [f"phase={phase}"] if phase else []
        words += [f"seed={cell}.0"] if cell is not None else []
        words += [f"state={','.join(sorted(states)).lower()}"] if states else []
        return {"select": words} if words else {"all": True}

    def fitting(self, phase: str | None, cell: int | None, states: set[str]) -> list[Task]:
        return [
            each
            for each in self.tasks.values()
            if (phase is None or phase in each.wishes)
            and cell in (None, each.cell)
            and (not states or each.state in states)
        ]

    def understood(self, phase: str | None) -> bool:
        """Whether the queue knows what the words of the model mean."""
        return bool(self.tasks) and (phase is None or phase in self.phases)

    @rule(phase=SCOPES, cell=SOME, states=STATES)
    def retry(self, phase: str | None, cell: int | None, states: set[str]) -> None:
        if not self.understood(phase):
            return
        found = self.fitting(phase, cell, states)
        words = self.meant(phase, cell, states)
        self.core.ok(protocol.Retry(**words))
        for each in found:
            again = each.state in ("FAILED", "CANCELLED")
            if again or phase or "all" in words:
                for wish in self.scope(each, phase):
                    wish.withdrawn = False
                each.settle()
            if again:
                each.state, each.failures, each.losses = "PENDING", 0, 0

    @staticmethod
    def scope(known: Task, phase: str | None) -> list[Wish]:
        return [wish for name, wish in known.wishes.items() if phase in (None, name)]

    @rule(phase=SCOPES, cell=SOME, states=STATES)
    def cancel(self, phase: str | None, cell: int | None, states: set[str]) -> None:
        if not self.understood(phase):
            return
        found = self.fitting(phase, cell, states)
        words = self.meant(phase, cell, states)
        planned = self.core.ok(protocol.Cancel(**words, dry_run=True))
        done = self.core.ok(protocol.Cancel(**words))
        open_ = [each for each in found if each.state not in ("COMPLETED", "CANCELLED")]
        unwanted = [each for each in open_ if phase is None or each.wanted_by <= {phase}]
        assert planned.done == Counter(each.state for each in unwanted)
        assert done.next is planned.next is None
        for each in open_:
            for wish in [] if each.again else self.scope(each, phase):
                wish.withdrawn = True
            each.settle()
        for each in unwanted:
            if attempt := each.running:
                attempt.end("CANCELLED")
                each.leaving = attempt
            each.state = "COMPLETED" if each.again else "CANCELLED"

    @rule(phase=SCOPES, cell=SOME)
    def rerun(self, phase: str | None, cell: int | None) -> None:
        if not self.understood(phase):
            return
        found = self.fitting(phase, cell, set())
        words = self.meant(phase, cell, set())
        done = [each for each in found if each.state == "COMPLETED" and each.wanted_by]
        planned = self.core.ok(protocol.Rerun(**words, dry_run=True))
        assert planned.done == ({"COMPLETED": len(done)} if done else {})
        self.core.ok(protocol.Rerun(**words))
        for each in done:
            each.state, each.failures, each.losses = "PENDING", 0, 0
            each.rerun_after = len(each.attempts)

    @rule(phase=SCOPES, cell=SOME, priority=st.sampled_from([-1, 3, None]))
    def prioritise(self, phase: str | None, cell: int | None, priority: int | None) -> None:
        if not self.understood(phase):
            return
        found = self.fitting(phase, cell, set())
        words = self.meant(phase, cell, set())
        self.core.ok(protocol.SetPriority(**words, priority=priority))
        for each in found:
            if each.state != "COMPLETED":
                for wish in self.scope(each, phase):
                    wish.asked = priority
                each.settle()
        if phase and cell is None:
            self.phases[phase].asked = priority

    @rule(phase=SCOPES)
    def pause(self, phase: str | None) -> None:
        if self.understood(phase):
            self._hold(protocol.Pause, phase, True)

    @rule(phase=SCOPES)
    def resume(self, phase: str | None) -> None:
        if self.understood(phase):
            self._hold(protocol.Resume, phase, False)

    def _hold(self, kind: Any, phase: str | None, paused: bool) -> None:
        self.core.ok(kind(**self.meant(phase, None, set())))
        if phase is None:
            self.paused = paused
            if not paused:
                self.drained.clear()
        named = [phase] if phase else [] if paused else list(self.phases)
        for name in named:
            self.phases[name].paused = paused
        for each in self.tasks.values():
            each.settle()

    @rule(worker=WORKERS)
    def drain(self, worker: str) -> None:
        self.core.ok(protocol.Drain(select=[f"worker={worker}"]))
        self.drained.add(worker)

    @rule(worker=WORKERS)
    def end_drain(self, worker: str) -> None:
        request = protocol.Resume(select=[f"worker={worker}"])
        self.undisturbed()
        if worker in self.drained:
            self.core.ok(request)
            self.drained.remove(worker)
        else:
            self.core.refused(request, "usage")

    def undisturbed(self) -> None:
        """The next question is asked once: a second time it would be refused, and rightly."""

    # --- workers ------------------------------------------------------------------------

    @rule(worker=WORKERS, kind=KINDS, lease=LEASES)
    def take(self, worker: str, kind: str, lease: float) -> None:
        reply = self.core.request(worker, worker_type=kind, lease_seconds=lease)
        for each in self.tasks.values():
            if each.leaving and each.leaving.worker == worker:
                each.leaving = None
        waiting = [each for each in self.tasks.values() if each.state == "PENDING"]
        free = [each for each in waiting if not each.held and not each.leaving]
        pending = [] if self.paused else free
        if worker in self.drained or not pending:
            open_ = waiting or any(each.running for each in self.tasks.values())
            assert isinstance(reply, NoTask), reply
            assert reply.done is (bool(self.tasks) and not open_)
            assert bool(reply.end) is (worker in self.drained)
            paused = self.paused or any(each.paused for each in self.phases.values())
            assert bool(reply.waits) is (bool(waiting) and paused and not reply.end)
            return
        assert isinstance(reply, TaskReply)
        sign = 1 if kind == "cpu" else -1
        order = list(self.tasks)
        first = min(
            pending,
            key=lambda each: (-each.priority, sign * each.cost, order.index(each.cell)),
        )
        first.attempts.append(Attempt(worker, None, lease, self.now + lease))
        first.state = "RUNNING"
        assert (reply.task_id, reply.attempt) == (first.task_id, len(first.attempts))
        assert reply.output_dirs == first.folders

    @rule(worker=WORKERS, cell=CELLS, value=VALUES)
    def submit(self, worker: str, cell: int, value: int) -> None:
        if known := self.at(cell):
            self.core.submit(known.task_id, worker, data={"value": value})
            self.came(known, worker, value)

    def came(self, known: Task, worker: str, value: int, number: int | None = None) -> None:
        """A result is in."""
        if known.take_result(worker, value, number):
            for folder in known.folders:
                self._row(folder, known.task_id, value)

    def _row(self, folder: str, task_id: str, value: int) -> None:
        """At the end, or in the place of the row that the task has."""
        rows = self.rows[folder]
        places = [number for number, (name, _) in enumerate(rows) if name == task_id]
        if places:
            rows[places[0]] = (task_id, value)
        else:
            rows.append((task_id, value))

    @rule(worker=WORKERS, cell=CELLS, outcome=st.sampled_from(["FAILED", "OOM", "TIMEOUT"]))
    def fail(self, worker: str, cell: int, outcome: Any) -> None:
        if known := self.at(cell):
            message = protocol.TaskFailed(
                task_id=known.task_id, worker_id=worker, error="no", outcome=outcome
            )
            self._over(known, message, outcome)

    @rule(worker=WORKERS, cell=CELLS)
    def release(self, worker: str, cell: int) -> None:
        if known := self.at(cell):
            message = protocol.Release(task_id=known.task_id, worker_id=worker)
            self._over(known, message, "RELEASED")

    def _over(self, known: Task, message: Any, outcome: str) -> None:
        attempt = known.of(message.worker_id)
        if attempt is None:
            self.core.refused(message, "illegal_move")
            return
        self.core.ok(message)
        known.is_over(attempt)
        if attempt.outcome is None:
            known.end(attempt, outcome)

    @rule(worker=WORKERS, cells=st.lists(CELLS, max_size=4), numbered=st.booleans())
    def beat(self, worker: str, cells: list[int], numbered: bool) -> None:
        named = [known for cell in cells if (known := self.at(cell))]
        reply = self.core.beat(
            *(self._held(each, worker, numbered) for each in named), worker=worker
        )
        stopped = [each.task_id for each in named if not self._heard(each, worker)]
        assert reply.cancel == stopped

    @staticmethod
    def _held(known: Task, worker: str, numbered: bool) -> str | Held:
        attempt = known.of(worker)
        if not numbered or attempt is None:
            return known.task_id
        return Held(task_id=known.task_id, attempt=known.attempts.index(attempt) + 1)

    def _heard(self, known: Task, worker: str) -> bool:
        """Whether the worker may go on."""
        attempt = known.of(worker)
        if attempt is None:
            return False
        resumable = attempt.outcome in ("LOST", "RELEASED") and not known.is_of_before(attempt)
        if resumable and known.state == "PENDING" and not known.leaving:
            attempt.outcome, known.state = None, "RUNNING"
        if attempt.outcome is None:
            attempt.deadline = self.now + attempt.lease_seconds
        return attempt.outcome is None

    @rule(worker=WORKERS)
    def starts_anew(self, worker: str) -> None:
        self.core.ok(protocol.Announce(worker_id=worker))
        for each in self.tasks.values():
            if (attempt := each.running) and attempt.worker == worker:
                each.end(attempt, "RELEASED")
            if each.leaving and each.leaving.worker == worker:
                each.leaving.deadline = self.now

    # --- time -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([4.0, 12.0, 64.0]))
    def wait(self, seconds: float) -> None:
        self.core.pass_time(seconds)
        self.lapse()

    def lapse(self) -> None:
        """Leases that are over by now."""
        for each in self.tasks.values():
            if (attempt := each.running) and attempt.deadline <= self.now:
                each.end(attempt, "LOST")
            if each.leaving and each.leaving.deadline <= self.now:
                each.leaving = None

    @rule()
    @precondition(lambda self: bool(self.tasks))
    def restart(self) -> None:
        self.core.restart()
        self.all_leases_anew()

    def all_leases_anew(self) -> None:
        for each in self.tasks.values():
            each.leaving = None
            if attempt := each.running:
                attempt.deadline = self.now + attempt.lease_seconds

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def states_are_as_expected(self) -> None:
        if hasattr(self, "core"):
            found = self.core.sql(
                "SELECT task_id, state, failures, losses, priority, max_attempts, held FROM tasks"
            )
            assert {name: tuple(rest) for name, *rest in found} == {
                each.task_id: (
                    each.state,
                    each.failures,
                    each.losses,
                    each.priority,
                    each.max_attempts,
                    each.held,
                )
                for each in self.tasks.values()
            }

    @invariant()
    def attempts_are_as_expected(self) -> None:
        if hasattr(self, "core"):
            found: dict[str, list[tuple[str, str | None]]] = {}
            query = (
                "SELECT task_id, worker_id, outcome FROM attempts JOIN tasks USING (signature) "
                "ORDER BY number"
            )
            for task_id, worker, outcome in self.core.sql(query):
                found.setdefault(task_id, []).append((worker, outcome))
            assert found == {
                known.task_id: [(each.worker, each.outcome) for each in known.attempts]
                for known in self.tasks.values()
                if known.attempts
            }

    @invariant()
    def rows_are_as_expected(self) -> None:
        for folder, expected in self.rows.items():
            lines = self.core.rows(folder)[1:]
            found = [(line.split(b",")[1].decode(), int(line.split(b",")[-1])) for line in lines]
            assert found == expected

    @invariant()
    def figures_are_as_counted(self) -> None:
        if hasattr(self, "core"):
            figures = self.core.figures()
            states = Counter(each.state for each in self.tasks.values())
            assert figures["totals"] == counted(states)
            assert figures["rerunning"] == sum(each.again for each in self.tasks.values())
            open_ = states["PENDING"] + states["RUNNING"]
            assert figures["done"] is (bool(self.tasks) and not open_)
            self._phases(figures["phases"])
            self._directories(figures["directories"])
            figures.pop("work", None)
            json.dumps(figures, allow_nan=False)

    def _phases(self, found: list[dict[str, Any]]) -> None:
        for each in found:
            wanted = [known for known in self.tasks.values() if each["phase"] in known.wanted_by]
            assert each["paused"] is self.phases[each["phase"]].paused
            expected = counted(Counter(known.state for known in wanted))
            assert {name: each[name] for name in expected} == expected

    def _directories(self, found: list[dict[str, Any]]) -> None:
        assert {each["output_dir"] for each in found} == set(self.rows)
        for each in found:
            folder = each["output_dir"]
            linked = [known for known in self.tasks.values() if folder in known.folders]
            expected = counted(Counter(known.state for known in linked))
            assert {name: each[name] for name in expected} == expected
            again = sum(known.again for known in linked)
            assert each["rows"] == len(self.rows[folder]) == expected["completed"] + again


def counted(states: Counter[str]) -> dict[str, int]:
    names = ("pending", "running", "completed", "failed", "cancelled")
    return {"total": states.total()} | {name: states[name.upper()] for name in names}


@contextmanager
def empty_queue() -> Iterator[Path]:
    """A queue without tasks, to be copied: making the tables takes longer than a history."""
    with tempfile.TemporaryDirectory() as name:
        room = Room(Path(name))
        room.home.create()
        desk = Desk(room.home)
        desk.committer.open()
        desk.committer.close()
        yield room.root


@pytest.fixture
def empty() -> Iterator[Path]:
    with empty_queue() as made:
        yield made


def test_random_histories_are_as_the_model_says(empty: Path) -> None:
    History.empty = empty
    test = History.TestCase
    test.settings = settings(
        max_examples=8,
        stateful_step_count=40,
        deadline=None,
        phases=[Stage.reuse, Stage.generate],  # to shrink takes minutes: each step is on disk
        suppress_health_check=list(HealthCheck),
    )
    test("runTest").debug()
