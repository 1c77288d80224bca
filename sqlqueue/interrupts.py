"""Ctrl-C at a moment of our choosing.

Promises: inside `deferred` the first interrupt waits for the next `check`, the second
does not wait; afterwards the handlers are as they were.  SIGTERM and a closed terminal
count as Ctrl-C.  What is not here: what is left to do after one.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Inside, `handler` gets the signals that end a command; those ignored stay ignored."""
    before = {
        each: signal.signal(each, handler)
        for each in SIGNALS
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Yields `check`: raises `KeyboardInterrupt` there, and only there, after a signal."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    with handling(note):
        yield check
