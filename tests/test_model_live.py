"""Random histories of a live queue against the model: real processes, the socket, SIGKILL.

The model is that of `test_verbs_model.py`; here the queue is a manager process that is killed
and stopped, whose answers get lost, that is asked by ten at once, while tasks come from `init`
and results lie in files.  Only its clock is the test's.  After each step the states, attempts
and CSVs, the figures of `status` and the leases of each worker must be what the model says.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from core import Core
from crash_scenarios import Room
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from remote_core import RemoteCore
from tally import count
from test_verbs_model import CELLS, FOLDERS, PHASES, VALUES, WORKERS, History, empty_queue
from zygote import Zygote

from sqlqueue import keys, protocol
from sqlqueue.protocol import Held
from support import environment

TROUBLES = st.sampled_from(["not read", "cut off", "asked tenfold"])
ENDINGS = st.sampled_from(["SIGKILL", "SIGTERM"])


class LiveHistory(History):
    """The same steps and more, done to a process."""

    zygote: Zygote
    done: ClassVar[Counter[str]] = Counter()
    core: RemoteCore

    def opened(self, room: Room) -> Core:
        core = RemoteCore(room, self.zygote)
        core.on_restart = self.all_leases_anew
        return core

    def teardown(self) -> None:
        if hasattr(self, "core"):
            self.done += self.core.counts
        super().teardown()

    # --- a person ------------------------------------------------------------------------

    @rule(
        cells=st.lists(CELLS, min_size=1, max_size=4, unique=True),
        phase=PHASES,
        folder=FOLDERS,
        most=st.integers(1, 3),
        alone=st.booleans(),
    )
    def init(self, cells: list[int], phase: str, folder: str, most: int, alone: bool) -> None:
        """From a sweep file; `alone`: while no manager runs."""
        sweep = {
            "output_dir": folder,
            "experiment": "m:f",
            "max_attempts": most,
            "combinations": [{"seed": cells}],
        }
        file = self.folder / "sweep.yaml"
        file.write_text(json.dumps({phase: sweep}))
        if alone:
            self.core.kill()
        self.core.command("--home", str(self.core.room.home.path), "init", str(file))
        if alone:
            self.core.start()
            self.all_leases_anew()
        self.added(dict.fromkeys(cells, 1), phase, folder, (0, most))

    # --- clients -------------------------------------------------------------------------

    @rule(how=TROUBLES, after=st.integers(0, 12))
    def trouble(self, how: str, after: int) -> None:
        """What will become of the next question."""
        self.core.trouble = (how, after / 1000)

    def undisturbed(self) -> None:
        self.core.trouble = None

    @rule(worker=WORKERS, cell=CELLS, value=VALUES, number=st.integers(0, 3))
    def submit_numbered(self, worker: str, cell: int, value: int, number: int) -> None:
        """For whatever attempt: its own, another's, one that is over, one that never was."""
        if known := self.at(cell):
            self.core.submit(known.task_id, worker, data={"value": value}, attempt=number)
            self.came(known, worker, value, number)

    @rule(worker=WORKERS, cells=st.lists(CELLS, max_size=3, unique=True))
    def reconnects(self, worker: str, cells: list[int]) -> None:
        """Says what it holds; the rest in its name is released."""
        named = [known for cell in cells if (known := self.at(cell))]
        held = [self._held(known, worker, True) for known in named]
        holds = [each if isinstance(each, Held) else Held(task_id=each) for each in held]
        reply = self.core.ok(protocol.Announce(worker_id=worker, holds=holds))
        for each in self.tasks.values():
            if (attempt := each.running) and attempt.worker == worker and each not in named:
                each.end(attempt, "RELEASED")
            gone = each.leaving
            if (
                gone
                and gone.worker == worker
                and (each not in named or each.of(worker) is not gone)
            ):
                gone.deadline = self.now
        assert reply.cancel == [each.task_id for each in named if not self._heard(each, worker)]

    @rule(worker=WORKERS, cell=CELLS, value=VALUES, dies=st.booleans())
    def leave_a_file(self, worker: str, cell: int, value: int, dies: bool) -> None:
        """A result lies in the home until the manager looks there: now and then, and first."""
        if (known := self.at(cell)) is None:
            return
        file = self.core.leave(cell, known.task_id, worker, value)
        if dies:
            self.core.kill()
            self.core.start()
            self.all_leases_anew()
        else:
            looks = False
            while not looks:
                assert file.exists()
                looks = self.core.looks_within(4.0)
                self.wait(4.0)
        assert not file.exists()
        self.came(known, worker, value)

    # --- time and death ------------------------------------------------------------------

    @rule(how=ENDINGS)
    @precondition(lambda self: bool(self.tasks))
    def restart(self, how: str) -> None:
        if how == "SIGKILL":
            self.core.kill()
        else:
            self.core.stop()
        self.rows_are_as_expected()
        self.core.start()
        self.all_leases_anew()

    # --- what must hold ------------------------------------------------------------------

    @invariant()
    def leases_are_as_expected(self) -> None:
        """Who runs what, as the manager itself keeps it in mind; what was cancelled too."""
        if not hasattr(self, "core"):
            return
        count("model steps")
        self.done["steps"] += 1
        found = {
            each["worker_id"]: {(task["task_id"], task["attempt"]) for task in each["tasks"]}
            for each in self.core.figures()["workers"]
            if each["tasks"]
        }
        expected: dict[str, set[tuple[str, int]]] = {}
        for each in self.tasks.values():
            if attempt := each.running or each.leaving:
                number = each.number_of(attempt)
                expected.setdefault(attempt.worker, set()).add((each.task_id, number))
        assert found == expected


@pytest.fixture(scope="module")
def live() -> Iterator[type[LiveHistory]]:
    """The machine with what all its histories share: an empty queue, a zygote."""
    with empty_queue() as root, tempfile.TemporaryDirectory() as state:
        keys.create(Room(root).home)
        (root / "m.py").write_text("def f(seed: int) -> dict:\n    return {'value': seed}\n")
        LiveHistory.empty = root
        LiveHistory.zygote = Zygote(environment(Path(state)))
        LiveHistory.done.clear()
        yield LiveHistory
        LiveHistory.zygote.end()


def run(live: type[LiveHistory], examples: int, steps: int) -> None:
    test: Any = live.TestCase
    test.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        phases=[Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    test("runTest").debug()
    print(dict(live.done))


def test_random_histories_of_a_live_queue(live: type[LiveHistory]) -> None:
    run(live, examples=4, steps=30)


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_many_random_histories_of_a_live_queue(live: type[LiveHistory]) -> None:
    run(live, examples=150, steps=50)
    assert live.done["steps"] > 5000
