"""What the manager keeps in mind, and what one message may use of a transaction.

Everything here can be lost: after a start it is made anew from the database and from what
workers say.  What is not here: what a message does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from sqlqueue.manager.estimates import Estimates
from sqlqueue.manager.leases import Leases
from sqlqueue.manager.reservations import Reservations
from sqlqueue.plan.shaped import Shaped
from sqlqueue.store.directories import Claims
from sqlqueue.store.outputs import Outputs
from sqlqueue.store.reading import Attempt
from sqlqueue.store.replacing import Values

MOST_WORKERS: Final = 10_000


@dataclass(slots=True)
class Context:
    """One message's share of a transaction.

    `now`: monotonic; `wall`: seconds since 1970, for people.  `rows`: what each directory's CSV
    gets, by signature; of those `again` it may have a row, which is replaced.  `after`: what to
    do once the commit is durable.
    """

    connection: Connection
    now: float
    wall: float
    rows: dict[int, dict[str, Values]] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    after: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class WorkerSeen:
    """A worker as the manager last heard of it."""

    worker_id: str
    host: str
    device: str
    worker_type: str
    heard: float


class Notebook:
    """Every running attempt, every reservation, every worker; the CSVs and their directories."""

    def __init__(self, outputs: Outputs, claims: Claims, breaker_cells: int = 0) -> None:
        self.outputs = outputs
        self.claims = claims
        self.leases = Leases()
        self.reservations = Reservations()
        self.estimates = Estimates()
        self.shaped = Shaped()
        self.workers: dict[str, WorkerSeen] = {}
        self.breaker_cells = breaker_cells
        """So many cells that fail alike pause their phase; 0: none do."""

    def grant_after(self, attempt: Attempt, context: Context) -> None:
        """After the commit, the attempt has a lease."""
        context.after.append(lambda: self.leases.grant(attempt, context.now))

    def drop_after(self, attempt: Attempt, context: Context) -> None:
        """After the commit, the attempt has none."""
        context.after.append(lambda: self.leases.drop(attempt))

    def cancel_after(self, attempt: Attempt, context: Context) -> None:
        """After the commit, the attempt is over, which its worker has yet to hear."""
        context.after.append(lambda: self.leases.cancel(attempt))

    def hear(
        self, worker_id: str, context: Context, host: str = "", device: str = "", kind: str = ""
    ) -> None:
        """Notes that a worker was heard of, and what it says of itself."""
        seen = self.workers.pop(worker_id, None) or WorkerSeen(worker_id, "", "", "gpu", 0.0)
        seen.host, seen.device = host or seen.host, device or seen.device
        seen.worker_type, seen.heard = kind or seen.worker_type, context.now
        self.workers[worker_id] = seen
        if len(self.workers) > MOST_WORKERS:
            del self.workers[next(iter(self.workers))]
