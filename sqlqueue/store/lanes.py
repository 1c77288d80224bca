"""Disk calls with a time limit, in threads of their own, side by side where that is quicker.

A call on a dead network filesystem never returns and cannot be interrupted.  So each runs in
a lane, a daemon thread; one that is over its limit is given up on and its lane left behind,
and the caller goes on.  `stuck` says whether such a call is still under way: until it is
over, nobody may touch what it was working on.

Calls that are over at once are done one after the other in one lane: on a quick disk it costs
more to wake a thread than to sync a file.  As soon as they take longer, other lanes help.

The limit of a call runs from its beginning: of thousands, the last ones wait long for their
turn on a disk that answers.  When every lane hangs, what still waits is not begun.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlqueue.errors import DirectoryUnavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

LIMIT_SECONDS: Final = 10.0
SLOW_SECONDS: Final = 2.0
"""A call that takes longer is spoken of before it is over, or over its limit."""
MOST_LANES: Final = 16
HELP_SECONDS: Final = 0.002
"""So long the calls that one lane has not begun wait for it alone."""


class Hung(DirectoryUnavailable):
    """A disk call did not return in time."""


@dataclass(eq=False, slots=True)
class _Work:
    """A call, and when a lane took it up."""

    call: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    began: float | None = None

    def do(self) -> None:
        """Does it, unless it was given up on before."""
        if not self.future.set_running_or_notify_cancel():
            return
        self.began = time.monotonic()
        try:
            self.future.set_result(self.call())
        except BaseException as error:
            self.future.set_exception(error)

    def left(self, limit_seconds: float, since: float) -> float:
        """Seconds until it is over the limit; one not taken up counts as begun at `since`."""
        return (self.began or since) + limit_seconds - time.monotonic()


class Lanes:
    """A few threads that do disk calls; used from one thread only, `slow` apart."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS, most: int = MOST_LANES) -> None:
        self.limit_seconds = limit_seconds
        self._most = most
        self._waiting: queue.SimpleQueue[deque[_Work] | None] = queue.SimpleQueue()
        self._lanes = 0
        self._stuck: dict[Hashable, Future[Any]] = {}
        self._awaited: Mapping[Any, _Work] = {}

    def run(
        self, calls: Mapping[K, Callable[[], T]], extra_seconds: float = 0.0
    ) -> dict[K, T | BaseException]:
        """Does all calls; each key gets what its call returned or raised, or `Hung`."""
        works = {key: _Work(call) for key, call in calls.items()}
        limit = self.limit_seconds + extra_seconds
        self._awaited = works
        self._begin(list(works.values()))
        outcomes = {key: self._outcome(key, work, limit) for key, work in works.items()}
        self._awaited = {}
        return outcomes

    def one(self, key: Hashable, call: Callable[[], T], extra_seconds: float = 0.0) -> T:
        """Does one call; raises what it raised, or `Hung`."""
        outcome = self.run({key: call}, extra_seconds)[key]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def stuck(self, key: Hashable) -> bool:
        """Whether a call given up on under this key has still not returned."""
        future = self._stuck.get(key)
        if future is not None and future.done():
            del self._stuck[key]
            self._lanes += 1  # it is back, and serves again
            return False
        return future is not None

    def slow(self) -> dict[Any, float]:
        """The calls waited for just now that take long, and for how many seconds already."""
        now = time.monotonic()
        waits = {k: now - (w.began or now) for k, w in self._awaited.items() if not w.future.done()}
        return {key: seconds for key, seconds in waits.items() if seconds >= SLOW_SECONDS}

    def close(self) -> None:
        """Lets the idle lanes end; stuck ones end with the process."""
        for _ in range(self._lanes):
            self._waiting.put(None)
        self._lanes = 0

    def _begin(self, works: list[_Work]) -> None:
        """One lane begins; others help when it is not soon over."""
        if not works:
            return
        left = deque(works)
        self._widen(1)
        self._waiting.put(left)
        if len(works) == 1:
            return
        wait([each.future for each in works], HELP_SECONDS)
        helpers = min(len(left), self._most - 1)
        self._widen(helpers + 1)
        for _ in range(helpers):
            self._waiting.put(left)

    def _outcome(self, key: Hashable, work: _Work, limit_seconds: float) -> Any:
        """They begin in the order in which they are asked for: all before this one are over."""
        since = time.monotonic()
        if self._lanes == 0:
            limit_seconds = 0.0
        while True:
            try:
                error = work.future.exception(max(0.0, work.left(limit_seconds, since)))
            except TimeoutError:
                if work.left(limit_seconds, since) <= 0:
                    return self._given_up(key, work)
            else:
                return error if error is not None else work.future.result()

    def _given_up(self, key: Hashable, work: _Work) -> Hung:
        if not work.future.cancel():  # else it never began, and never will
            self._stuck[key] = work.future
            self._lanes -= 1
        return Hung(f"no answer from the disk for {self.limit_seconds:g} s")

    def _widen(self, wanted: int) -> None:
        while self._lanes < min(wanted, self._most):
            threading.Thread(target=self._serve, name="lane", daemon=True).start()
            self._lanes += 1

    def _serve(self) -> None:
        while (works := self._waiting.get()) is not None:
            with contextlib.suppress(IndexError):  # there is no more
                while True:
                    works.popleft().do()
            del works
