"""Requests for a task that wait, because there is none now and they said how long.

Promises: who came first is asked again first; nobody waits longer than it said; when there
may be tasks again, a bounded number is asked again, and each that gets one calls the next.
What is not here: asking (`server.py`).  Lives in the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlqueue import protocol
from sqlqueue.manager.question import Question


class WaitingRoom:
    """The waiting, in the order in which they came."""

    def __init__(self, out_of_time: Callable[[Question], None]) -> None:
        self._out_of_time = out_of_time
        self._timers: dict[Question, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def enter(self, question: Question) -> None:
        loop = asyncio.get_running_loop()
        self._timers[question] = loop.call_at(question.deadline, self._expire, question)

    def call(self, count: int) -> list[Question]:
        """The first `count` of those who can still hear; those who cannot are sent away."""
        called: list[Question] = []
        for question in tuple(self._timers):
            if len(called) == count:
                break
            self._timers.pop(question).cancel()
            if question.connection.hung_up():
                question.connection.abort()
            else:
                called.append(question)
        return called

    def _expire(self, question: Question) -> None:
        del self._timers[question]
        self._out_of_time(question)


def may_wait(question: Question, reply: protocol.Reply, now: float) -> bool:
    """Whether this is the answer to hold back: nothing to do yet, and time left."""
    nothing = isinstance(reply, protocol.NoTask) and not (reply.done or reply.end)
    return nothing and now < question.deadline
