"""What a task can be, what can happen to it, and which moves are legal.

One table decides; nothing else does.  A move that is not in the table raises
`IllegalMove` and changes nothing.  What is not here: the database, time, leases.

A task that was completed and is to run once more is PENDING again while its old result
stays accepted; so "has an accepted result" and "is COMPLETED" are two questions.  One that has a
result is never FAILED or CANCELLED: what would end it so has it COMPLETED as it was.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sqlqueue.errors import IllegalMove


class State(StrEnum):
    """Where a task stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Outcome(StrEnum):
    """How an attempt ended; a running attempt has none yet."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    LOST = "LOST"
    RELEASED = "RELEASED"
    CANCELLED = "CANCELLED"
    SUPERSEDED = "SUPERSEDED"


class Event(StrEnum):
    """What can happen to a task."""

    CLAIM = "claim"  # a worker starts an attempt
    RESUME = "resume"  # an attempt thought lost is heard of again before another began
    SUBMIT = "submit"  # a valid result arrives: it always wins
    FAIL = "fail"  # the attempt failed and another is allowed
    EXHAUST = "exhaust"  # the attempt failed and was the last one allowed
    RELEASE = "release"  # the worker gave the task back, or was lost
    CANCEL = "cancel"  # nobody wants it any more
    RESTORE = "restore"  # a person, or a sweep file, wants it again
    RERUN = "rerun"  # a completed task is to run once more
    KEEP = "keep"  # that came to nothing: the result that it has stands


_P, _R, _C, _F, _X = (
    State.PENDING,
    State.RUNNING,
    State.COMPLETED,
    State.FAILED,
    State.CANCELLED,
)

MOVES: Final[dict[tuple[State, Event], State]] = {
    (_P, Event.CLAIM): _R,
    (_P, Event.RESUME): _R,
    (_P, Event.SUBMIT): _C,
    (_P, Event.CANCEL): _X,
    (_R, Event.SUBMIT): _C,
    (_R, Event.FAIL): _P,
    (_R, Event.EXHAUST): _F,
    (_R, Event.RELEASE): _P,
    (_R, Event.CANCEL): _X,
    (_F, Event.SUBMIT): _C,
    (_F, Event.CANCEL): _X,
    (_F, Event.RESTORE): _P,
    (_X, Event.SUBMIT): _C,
    (_X, Event.RESTORE): _P,
    (_C, Event.RERUN): _P,
    (_P, Event.KEEP): _C,
    (_R, Event.KEEP): _C,
}

FINISHED: Final = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
CHARGED: Final = frozenset({Outcome.FAILED, Outcome.OOM, Outcome.TIMEOUT})
"""Outcomes that count against `max_attempts`."""

MAX_ATTEMPTS: Final = 3
MAX_LOSSES: Final = 10
BREAKER_CELLS: Final = 10
"""So many cells that fail alike, and none completed in between, pause their phase."""


def move(state: State, event: Event) -> State:
    """The state after `event`; raises `IllegalMove` when the table has no such move."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove(f"a {state} task cannot {event}") from None
