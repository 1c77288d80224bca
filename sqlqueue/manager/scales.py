"""What all connections together make the manager keep in memory, and who pays for it.

Promises: the sum of requests on their way and answers not read stays near its bound, however
many connections share it; whoever is dropped lost no result, since none of it was acked.
What is not here: the bounds of one connection (`connection.py`).  Lives in the loop's thread.
"""

from __future__ import annotations

import logging

from sqlqueue.manager.connection import Connection

log = logging.getLogger(__name__)


class Scales:
    """When it is too much, the worker over TCP that holds most is dropped.  It may come again."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Connection, int] = {}
        self._total_bytes = 0

    def weigh(self, connection: Connection) -> None:
        now_bytes, before_bytes = connection.held_bytes, self._held.pop(connection, 0)
        self._total_bytes += now_bytes - before_bytes
        if now_bytes:
            self._held[connection] = now_bytes
        if self._total_bytes > self._limit_bytes:
            self._drop_heaviest()

    def _drop_heaviest(self) -> None:
        paying = [each for each in self._held if each.role != "owner" and each.is_open]
        if paying:
            heaviest = max(paying, key=self._held.__getitem__)
            log.warning("%s holds too much of the manager's memory: dropped", heaviest.peer)
            heaviest.abort()
            self.weigh(heaviest)
