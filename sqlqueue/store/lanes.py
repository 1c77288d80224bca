"""Disk calls side by side, each with a time limit, in threads of their own.

A call on a dead network filesystem never returns and cannot be interrupted.  So each runs in
a lane, a daemon thread; one that is over its limit is given up on and its lane left behind,
and the caller goes on.  `stuck` says whether such a call is still under way: until it is
over, nobody may touch what it was working on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from sqlqueue.errors import DirectoryUnavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
_Work = tuple[Future[Any], Callable[[], Any]]

LIMIT_SECONDS: Final = 10.0
MOST_LANES: Final = 16


class Hung(DirectoryUnavailable):
    """A disk call did not return in time."""


class Lanes:
    """A few threads that do disk calls; used from one thread only."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS, most: int = MOST_LANES) -> None:
        self.limit_seconds = limit_seconds
        self._most = most
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._lanes = 0
        self._stuck: dict[Hashable, Future[Any]] = {}

    def run(
        self, calls: Mapping[K, Callable[[], T]], extra_seconds: float = 0.0
    ) -> dict[K, T | BaseException]:
        """Does all calls; each key gets what its call returned or raised, or `Hung`."""
        self._widen(len(calls))
        futures: dict[K, Future[Any]] = {}
        for key, call in calls.items():
            futures[key] = Future()
            self._waiting.put((futures[key], call))
        limit = time.monotonic() + self.limit_seconds + extra_seconds
        return {key: self._outcome(key, future, limit) for key, future in futures.items()}

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

    def close(self) -> None:
        """Lets the idle lanes end; stuck ones end with the process."""
        for _ in range(self._lanes):
            self._waiting.put(None)
        self._lanes = 0

    def _outcome(self, key: Hashable, future: Future[Any], limit: float) -> Any:
        try:
            error = future.exception(max(0.0, limit - time.monotonic()))
        except TimeoutError:
            if not future.cancel():  # else it never began, and never will
                self._stuck[key] = future
                self._lanes -= 1
            return Hung(f"no answer from the disk for {self.limit_seconds:g} s")
        return error if error is not None else future.result()

    def _widen(self, wanted: int) -> None:
        while self._lanes < min(wanted, self._most):
            threading.Thread(target=self._serve, name="lane", daemon=True).start()
            self._lanes += 1

    def _serve(self) -> None:
        while (work := self._waiting.get()) is not None:
            future, call = work
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del work, future, call
