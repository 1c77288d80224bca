"""Whose turn it is: what waits for the writer, shared out fairly among those who ask.

One message of each asker in turn, and of the heavy ones one in a batch.  So a message waits for
the batch in hand, for one quick message of each other asker, and if it is heavy itself for one
heavy message of each; not for what somebody else sent ahead.

Promises: the messages of one asker keep their order; the first to come is the first to go when
there is no other.  Thread-safe.  What is not here: what a message does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlqueue import protocol

Item = TypeVar("Item")

BATCH_UNITS: Final = 500
"""Of one transaction: the message that reaches it is the last.  A unit is what handing out one
task or taking in one small result costs, about half a millisecond."""
QUICK_UNITS: Final = 10
"""What costs more is heavy."""
UNIT_BYTES: Final = 16 * 1024
"""Of a message's text; a result is parsed, written and synced."""


def units(request: protocol.Request, size_bytes: int = 0) -> int:
    """What handling a request may cost, at least 1."""
    match request:
        case protocol.RequestTask():
            things = request.count
        case protocol.Heartbeat():
            things = min(len(request.tasks), BATCH_UNITS)
        case protocol.Announce():
            things = min(len(request.holds), BATCH_UNITS)
        case protocol.AddTasks():
            things = len(request.tasks)
        case protocol.ImportRows():
            things = len(request.rows)
        case protocol.PrepareDirectories():
            things = len(request.output_dirs)
        case protocol.Repair() | protocol.Audit() | protocol.Unlink():
            things = BATCH_UNITS
        case protocol.Steer() | protocol.Prune():
            things = BATCH_UNITS
        case _:
            things = 1
    return max(1, things) + size_bytes // UNIT_BYTES


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item]):
    item: Item
    units: int


class Turns(Generic[Item]):
    """What waits, by asker; an asker stands in one of two rings, by its first message."""

    def __init__(self) -> None:
        self._of: dict[Hashable, deque[_Waiting[Item]]] = {}
        self._quick: deque[Hashable] = deque()
        self._heavy: deque[Hashable] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item, asker: Hashable, units: int = 1) -> None:
        """Leaves something to be taken when it is its asker's turn."""
        self.put_all([(item, asker, units)])

    def put_all(self, items: Iterable[tuple[Item, Hashable, int]]) -> None:
        """The same of many, each with its asker and units; whoever waits sees all at once."""
        with self._changed:
            for item, asker, units in items:
                line = self._of.setdefault(asker, deque())
                line.append(_Waiting(item, units))
                if len(line) == 1:
                    self._ring(line[0]).append(asker)
            self._changed.notify()

    def take(self) -> list[Item]:
        """The next batch; waits for something to come, and is empty once nothing will."""
        with self._changed:
            self._changed.wait_for(lambda: self._of or self._closed)
            batch = self._taken(self._quick, BATCH_UNITS)
            return batch + self._taken(self._heavy, 1)

    def close(self) -> None:
        """`take` waits no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _ring(self, first: _Waiting[Item]) -> deque[Hashable]:
        return self._quick if first.units <= QUICK_UNITS else self._heavy

    def _taken(self, ring: deque[Hashable], most_units: int) -> list[Item]:
        taken: list[Item] = []
        left = most_units
        while ring and left > 0:
            asker = ring.popleft()
            line = self._of[asker]
            first = line.popleft()
            taken.append(first.item)
            left -= first.units
            if line:
                self._ring(line[0]).append(asker)
            else:
                del self._of[asker]
        return taken
