"""The one thread that writes: takes whatever waits, has it committed together, answers.

Group commit without a timer: a batch is what arrived while the last one was being synced, so a
lone client waits for nobody.  What is not here: the transaction (`committer.py`), sockets.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import ManagerStopping, QueueError, StorageFailure
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager import live
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.manager.intake import Intake
from sqlqueue.protocol import Reply
from sqlqueue.store import summary
from sqlqueue.store.lanes import LIMIT_SECONDS, Lanes

__all__ = ["Job", "Writer"]

MOST_JOBS: Final = 1000
LOOK_SECONDS: Final = 30.0
_TICK: Final = object()
_STOP: Final = object()
_ALONE: Final = (protocol.Repair, protocol.Audit, protocol.PrepareDirectories)
"""Messages that need a commit of their own, before what follows them."""

_QUIET: Final = (protocol.Heartbeat, protocol.StatusRequest, protocol.RequestTask, protocol.Audit)
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
    ) -> None:
        self.home = home
        self._answered = answered
        lanes = Lanes(limit_seconds)
        self._committer = Committer(home, disk=disk, lanes=lanes, clock=clock, wall=wall, lock=lock)
        self._intake = Intake(home, clock=clock, disk=disk)
        self._clock = clock
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._taken: list[Any] = []
        """What was taken from it and has no answer yet."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._opened: Future[None] = Future()
        self._alone = on_network(home.path)
        self._stopping = False
        self._fatal: QueueError | None = None
        self._generation = 0
        self._all_done = False

    # --- from any thread --------------------------------------------------------------

    def start(self) -> None:
        """Opens, recovers and begins to serve; raises `QueueError` when it cannot."""
        self._thread.start()
        self._opened.result()

    def put(self, job: Job) -> None:
        """Leaves a job; its answer comes through `answered`."""
        self._waiting.put(job)

    def tick(self) -> None:
        """Time has passed: leases are judged after whatever waits was heard."""
        self._waiting.put(_TICK)

    def stop(self) -> None:
        """Answers what was left before; returns when the thread has ended."""
        self._waiting.put(_STOP)
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

    def status(self) -> dict[str, Any]:
        """The figures of `status`, read beside the writing.

        Where the writer must own the database alone, they are read by the writer itself.
        """
        if self._alone:
            figures = summary.with_folders(self.home, self._asked())
        else:
            figures = summary.figures(self.home, own_writer=True)
        return live.with_live(figures, self._committer.book, self._clock(), self.home)

    def _asked(self) -> dict[str, Any]:
        look: Look = Future()
        self._waiting.put(look)
        try:
            return look.result(LOOK_SECONDS)
        except TimeoutError:
            raise StorageFailure("the manager is busy; ask again") from None

    # --- the thread itself --------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._committer.open()
            self._all_done = self._committer.all_done()
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
        while not self._stopping:
            batch = list(self._drain())
            jobs = [each for each in batch if isinstance(each, Job)]
            looks = [each for each in batch if isinstance(each, Future)]
            self._taken = [*jobs, *looks]
            self._stopping = _STOP in batch
            self._process(jobs)
            for look in looks:
                self._show(look)
                self._taken.remove(look)
            if _TICK in batch and not self._stopping:
                self._tick()
            if self._committer.damage is not None:
                raise self._committer.damage
        self._refuse_rest()

    def _show(self, look: Look) -> None:
        try:
            look.set_result(self._committer.figures())
        except StorageFailure as error:
            look.set_exception(error)

    def _drain(self) -> Iterator[Any]:
        """The next thing that waits, and whatever waits behind it, up to a stop."""
        item = self._waiting.get()
        yield item
        for _ in range(MOST_JOBS - 1):
            if item is _STOP:
                return
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return
            yield item

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
            self._all_done = self._committer.all_done()

    def _tick(self) -> None:
        try:
            if self._committer.tick():
                self._look_around()
            if jobs := self._intake.jobs(self._committer):
                self._answer(self._committer.process(jobs))
        except StorageFailure as error:
            log.error("%s", error.message)

    def _give_up(self, error: QueueError) -> None:
        """Nobody is left without an answer, and whoever runs this hears of it at once."""
        self._fatal = error
        for item in self._taken:
            self._refuse(item)
        self._refuse_rest()
        self._answered([])

    def _refuse_rest(self) -> None:
        """What came after the stop is refused, not lost: its sender asks again later."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._refuse(self._waiting.get_nowait())

    def _refuse(self, item: Any) -> None:
        if isinstance(item, Job):
            self._answered([(item, protocol.error_reply(self.refusal))])
        elif isinstance(item, Future):
            item.set_exception(self.refusal)
