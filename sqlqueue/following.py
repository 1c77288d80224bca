"""`logs`: the captured output of an attempt, once, or followed while it grows.

Promises: a pipe gets the bytes as they are and nothing else, remarks go to standard error; nothing
that an experiment prints steers a terminal; changes nothing.  What is not here: where the output
lies (`captures.py`), what a terminal may show (`coloured.py`).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlqueue.captures import Capture, NoOutput, opened
from sqlqueue.coloured import Coloured
from sqlqueue.errors import EXIT_DONE, UsageError
from sqlqueue.figures import duration, thousands
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.lifecycle import FINISHED
from sqlqueue.shell import notice
from sqlqueue.tables import page_of

if TYPE_CHECKING:
    from sqlqueue.store.tries import Tried, Try

READ_SECONDS: Final = 0.2
"""Between two looks at the output."""
LOOK_SECONDS: Final = 1.0
SELDOM_SECONDS: Final = 10.0
"""Between two looks at the queue, and where each needs a copy of the database."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed.  `attempt` None: the last; `tail` None: all of it."""

    attempt: int | None = None
    follow: bool = False
    tail: int | None = None


class Paper:
    """Standard output: a terminal gets text, anything else the bytes."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._colours = page_of(sys.stdout).colours
        self._text = Coloured(self._colours)

    def add(self, capture: Capture) -> None:
        """What is there and was not shown yet."""
        for piece in capture.pieces():
            if self._is_terminal:
                sys.stdout.write(self._text.feed(piece))
            else:
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()

    def end(self) -> None:
        """An attempt's output ends, and its colours with it."""
        if self._is_terminal:
            sys.stdout.write(self._text.feed(b"", final=True))
            sys.stdout.flush()
        self._text = Coloured(self._colours)


def show(home: Home, task_id: str, wish: Wish) -> int:
    """Shows it; the exit status.  Raises `QueueError` where there is nothing to show."""
    paper = Paper()
    try:
        if wish.follow:
            _follow(home, task_id, wish, paper)
        else:
            _once(home, task_id, wish, paper)
    except KeyboardInterrupt:
        paper.end()
    return EXIT_DONE


def looked(home: Home, task_id: str) -> Tried:
    """The task and its attempts as they are now."""
    home.queue_id()
    from sqlqueue.store import engine, tries

    with engine.Reader(home) as reader:
        return reader.read(lambda connection: tries.of_task(connection, task_id))


def _once(home: Home, task_id: str, wish: Wish, paper: Paper) -> None:
    tried = looked(home, task_id)
    if not tried.tries:
        raise NoOutput(f"{task_id} is {tried.state}: no attempt has begun yet; --follow waits")
    attempt = _chosen(tried, wish.attempt)
    with opened(home, task_id, attempt) as capture:
        _begin(task_id, attempt, capture, wish.tail)
        paper.add(capture)
    paper.end()


def _chosen(tried: Tried, number: int | None) -> Try:
    """The attempt of that number, or the last."""
    if number is None:
        return tried.tries[-1]
    for each in tried.tries:
        if each.number == number:
            return each
    numbers = [each.number for each in tried.tries]
    there = f"1 to {numbers[-1]}" if numbers else "none yet"
    raise UsageError(f"--attempt {number}: {tried.task_id} has no such attempt; it has {there}")


def _begin(task_id: str, attempt: Try, capture: Capture, tail: int | None) -> None:
    """Says what is shown, and whether some of it is missing."""
    if tail is not None:
        capture.skip_to_last(tail)
    where = f"{attempt.worker_id} ({attempt.device})" if attempt.device else attempt.worker_id
    notice(f"{task_id} attempt {attempt.number} on {where}: {_how(attempt)}")
    if capture.left_out:
        notice(
            f"about {thousands(capture.left_out)} bytes in the middle were left out when it was "
            "captured; its beginning and its end are there"
        )


def _how(attempt: Try) -> str:
    if attempt.outcome is None:
        return "running"
    took = "" if attempt.seconds is None else f" after {duration(attempt.seconds)}"
    return f"{attempt.outcome}{took}"


# --- following --------------------------------------------------------------------------


def _follow(home: Home, task_id: str, wish: Wish, paper: Paper) -> None:
    """One attempt after another, until the task is finished, or the attempt named has ended."""
    pause_seconds = SELDOM_SECONDS if on_network(home.path) else LOOK_SECONDS
    tail, shown = wish.tail, 0
    while (attempt := _awaited(home, task_id, wish.attempt, shown, pause_seconds)) is not None:
        _grow(home, task_id, attempt, tail, paper, pause_seconds)
        if wish.attempt is not None:
            return
        tail, shown = None, attempt.number


def _awaited(
    home: Home, task_id: str, named: int | None, shown: int, pause_seconds: float
) -> Try | None:
    """The attempt named, else the last one, after one was shown the next; None: none comes."""
    told = False
    while True:
        tried = looked(home, task_id)
        new = [each for each in tried.tries if each.number > shown]
        if named is not None and (tried.tries or tried.state in FINISHED):
            return _chosen(tried, named)
        if new:
            return new[0] if shown else new[-1]
        if tried.state in FINISHED:
            notice(f"{task_id} is {tried.state}")
            return None
        if not told:
            notice(f"{task_id} is {tried.state}: waiting for attempt {shown + 1} (Ctrl-C ends)")
            told = True
        time.sleep(pause_seconds)


def _grow(
    home: Home, task_id: str, attempt: Try, tail: int | None, paper: Paper, pause_seconds: float
) -> None:
    """Shows an attempt's output until it has ended."""
    with _opened_at_last(home, task_id, attempt, pause_seconds) as capture:
        _begin(task_id, attempt, capture, tail)
        while attempt.outcome is None:
            looked_at = time.monotonic()
            while time.monotonic() - looked_at < pause_seconds:
                paper.add(capture)
                time.sleep(READ_SECONDS)
            now = _chosen(looked(home, task_id), attempt.number)
            if now.outcome is not None:
                notice(f"attempt {now.number} ended: {_how(now)}")
            attempt = now
        paper.add(capture)
    paper.end()


def _opened_at_last(home: Home, task_id: str, attempt: Try, pause_seconds: float) -> Capture:
    """Its output, once there is some; raises `NoOutput`."""
    while True:
        try:
            return opened(home, task_id, attempt)
        except NoOutput as error:
            if attempt.outcome is not None or not error.may_come:
                raise
        time.sleep(pause_seconds)
        attempt = _chosen(looked(home, task_id), attempt.number)
