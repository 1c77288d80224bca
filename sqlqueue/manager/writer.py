"""The one thread that writes: takes whatever waits, has it committed together, answers.

Group commit without a timer: a batch is what arrived while the last one was being synced, so a
lone client waits for nobody; it is bounded, so nobody waits long for others.  Told to stop, it
answers what waits for as long as that is soon done, and refuses the rest.  What is not here: the
transaction (`committer.py`), whose turn it is (`turns.py`), sockets.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import LockLost, ManagerStopping, QueueError, StorageFailure
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.lifecycle import State
from sqlqueue.manager import live
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.manager.intake import Intake
from sqlqueue.manager.turns import Turns
from sqlqueue.protocol import Reply
from sqlqueue.store import summary
from sqlqueue.store.engine import Reader
from sqlqueue.store.lanes import LIMIT_SECONDS, Lanes

__all__ = ["Job", "Writer"]

STOP_SECONDS: Final = 1.0
"""What waits is still answered for so long; then the batch in hand is the last."""
LOOK_SECONDS: Final = 30.0
_TICK: Final = object()
_ALONE: Final = (
    *(protocol.Repair, protocol.Audit, protocol.PrepareDirectories, protocol.Unlink),
    *(protocol.AddTasks, protocol.ImportRows),
)
"""Messages that need a commit of their own, before what follows them, or are quicker so."""

_QUIET: Final = (
    *(protocol.Heartbeat, protocol.StatusRequest, protocol.RequestTask, protocol.Audit),
    *(protocol.DescribeExperiments, protocol.DescribeTasks, protocol.RememberFiles),
)
"""Messages after which no task can have become available."""

log = logging.getLogger("sqlqueue.manager")

Look = Future[dict[str, Any]]
"""Somebody waits for the figures."""

Answered = Callable[[list[tuple[Job, Reply]]], None]


class Writer:
    """Owns the committer; every method but those of the thread itself is thread-safe."""

    def __init__(
        self,
        home: Home,
        *,
        answered: Answered,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        limit_seconds: float = LIMIT_SECONDS,
        lock: HomeLock | None = None,
        breaker_cells: int = 0,
    ) -> None:
        self.home = home
        self._answered = answered
        lanes = Lanes(limit_seconds)
        self._committer = Committer(
            home, disk=disk, lanes=lanes, clock=clock, wall=wall, lock=lock,
            breaker_cells=breaker_cells,
        )  # fmt: skip
        self._committer.stopping = lambda: self._stop_at is not None
        self._intake = Intake(home, clock=clock, disk=disk)
        self._clock = clock
        self._wall = wall
        self._waiting: Turns[Any] = Turns()
        self._taken: list[Any] = []
        """What was taken from it and has no answer yet."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._opened: Future[None] = Future()
        self._alone = on_network(home.path)
        self._stop_at: float | None = None
        self._busy_since: float | None = None
        self._told: float | None = None
        self._fatal: QueueError | None = None
        self._generation = 0
        self._all_done = False
        self._counts: dict[State, int] = {}

    # --- from any thread --------------------------------------------------------------

    def start(self) -> None:
        """Opens, recovers and begins to serve; raises `QueueError` when it cannot."""
        self._thread.start()
        self._opened.result()

    def put(self, jobs: Iterable[Job]) -> None:
        """Leaves jobs; their answers come through `answered`."""
        self._waiting.put_all((each, each.asker, each.units) for each in jobs)

    def tick(self) -> None:
        """Time has passed: leases are judged after whatever waits was heard."""
        self._waiting.put(_TICK, _TICK)
        since, seconds = self._busy_since, self.busy_seconds()
        if seconds > live.LONG_SECONDS and since != self._told:
            self._told = since
            log.warning("%s; `sqlqueue status` says where", live.BUSY.format(seconds))

    def busy_seconds(self) -> float:
        """How long the thread has been at what it does; 0 while nothing waits."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def stop(self) -> None:
        """Answers what was left before, or refuses it; returns when the thread has ended."""
        self._stop_at = self._clock() + STOP_SECONDS
        self._waiting.close()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def fatal(self) -> QueueError | None:
        """Why the writer gave up by itself, if it did."""
        return self._fatal

    @property
    def refusal(self) -> QueueError:
        """What is said to whoever asks once it has ended: always that asking again may help.

        Theirs is not the fault, and another manager may come.
        """
        if self._fatal is None:
            return ManagerStopping()
        return self._fatal if self._fatal.retryable else StorageFailure(self._fatal.message)

    def generation(self) -> int:
        """Grows whenever a task may have become available."""
        return self._generation

    def all_done(self) -> bool:
        """Whether every task is finished, and there is one."""
        return self._all_done

    def told(self) -> str:
        """What became of the tasks, once all are finished, and what to look at."""
        counts = ", ".join(f"{count} {state.lower()}" for state, count in self._counts.items())
        why = "; `sqlqueue failures` tells why" if self._counts.get(State.FAILED) else ""
        return f"every task is finished: {counts}{why}"

    def status(self) -> dict[str, Any]:
        """The figures of `status`, read beside the writing.

        Where the writer must own the database alone, they are read by the writer itself.
        """
        if self._alone:
            figures = summary.with_folders(self.home, self._asked())
        else:
            figures = summary.figures(self.home, self._reader)
        busy_seconds, book = self.busy_seconds(), self._committer.book
        return live.with_live(figures, book, self._clock(), self.home, busy_seconds)

    @cached_property
    def _reader(self) -> Reader:
        """One for every look: what an engine has compiled is half of what a look costs."""
        return Reader(self.home, own_writer=True)

    def _asked(self) -> dict[str, Any]:
        look: Look = Future()
        self._waiting.put(look, look)
        try:
            return look.result(LOOK_SECONDS)
        except TimeoutError:
            raise StorageFailure("the manager is busy; ask again") from None

    # --- the thread itself --------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._committer.open()
            self._note_done()
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._committer.close()
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        try:
            self._serve()
        except QueueError as error:
            self._give_up(error)
        except Exception as error:
            log.exception("The writer failed")
            self._give_up(StorageFailure(f"the writer failed: {error}"))
        finally:
            self._committer.close()

    def _serve(self) -> None:
        while (batch := self._waiting.take()) and not self._is_late():
            self._busy_since = self._clock()
            self._do(batch)
            self._busy_since = None
        self._refuse(batch)
        self._refuse_rest()

    def _do(self, batch: list[Any]) -> None:
        jobs = [each for each in batch if isinstance(each, Job)]
        looks = [each for each in batch if isinstance(each, Future)]
        self._taken = [*jobs, *looks]
        self._process(jobs)
        for look in looks:
            self._show(look)
            self._taken.remove(look)
        if _TICK in batch and self._stop_at is None:
            self._tick()
        if self._committer.damage is not None:
            raise self._committer.damage

    def _is_late(self) -> bool:
        return self._stop_at is not None and self._clock() >= self._stop_at

    def _show(self, look: Look) -> None:
        try:
            look.set_result(self._committer.figures())
        except StorageFailure as error:
            look.set_exception(error)

    def _process(self, jobs: list[Job]) -> None:
        """In the order in which they came; those that need a commit of their own get it."""
        for alone, group in itertools.groupby(jobs, lambda job: isinstance(job.request, _ALONE)):
            together = list(group)
            for batch in [[job] for job in together] if alone else [together]:
                self._answer(self._committer.process(batch))
                del self._taken[: len(batch)]

    def _answer(self, answers: list[tuple[Job, Reply]]) -> None:
        if any(not isinstance(job.request, _QUIET) for job, _ in answers):
            self._look_around()
        mine, theirs = self._intake.sort(answers)
        self._intake.settle(mine)
        if theirs:
            self._answered(theirs)

    def _look_around(self) -> None:
        self._generation += 1
        with contextlib.suppress(StorageFailure):
            self._note_done()

    def _note_done(self) -> None:
        if self._committer.done:
            self._counts = self._committer.counts()
        self._all_done = self._committer.done

    def _tick(self) -> None:
        try:
            if self._committer.tick():
                self._look_around()
            if jobs := self._intake.jobs(self._committer):
                self._answer(self._committer.process(jobs))
        except LockLost:
            raise  # for good
        except StorageFailure as error:
            log.error("%s", error.message)

    def _give_up(self, error: QueueError) -> None:
        """Nobody is left without an answer, and whoever runs this hears of it at once."""
        self._fatal = error
        self._refuse(self._taken)
        self._refuse_rest()
        self._answered([])

    def _refuse_rest(self) -> None:
        """What is not done any more is refused, not lost: its sender asks again later."""
        self._waiting.close()
        while batch := self._waiting.take():
            self._refuse(batch)

    def _refuse(self, batch: list[Any]) -> None:
        for each in batch:
            if isinstance(each, Future):
                each.set_exception(self.refusal)
        if jobs := [each for each in batch if isinstance(each, Job)]:
            self._answered([(job, protocol.error_reply(self.refusal)) for job in jobs])
