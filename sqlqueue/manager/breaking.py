"""The circuit breaker: pauses a phase in which one kind of failure hits cell after cell.

It trips when so many different cells of a phase failed alike and none of the phase was completed
in between.  What does not say anything of the phase does not count: attempts lost, given back or
cancelled.  What runs goes on.  How large a cell is decides whether it fits into memory and time,
and on a GPU the largest come first: such failures count only once no smaller one is to come.
Functions of the notebook and the transaction's context.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from sqlqueue.lifecycle import Outcome
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan.breaker import Trip
from sqlqueue.plan.kind import said
from sqlqueue.store import breaker, steering, wishing
from sqlqueue.store.breaker import Paused

OF_SIZE: Final = (Outcome.OOM, Outcome.TIMEOUT)

log = logging.getLogger("sqlqueue.manager")


def failed(book: Notebook, signature: str, outcome: Outcome, error: str, context: Context) -> None:
    """A cell failed: the breaker trips for each phase in which that is one too many."""
    if not book.breaker_cells:
        return
    told, connection = said(outcome.value, error), context.connection
    for key, cells in breaker.note(connection, signature, told.kind).items():
        if cells < book.breaker_cells:
            continue
        if outcome in OF_SIZE and breaker.smaller_to_come(connection, key, told.kind):
            continue
        tripped = breaker.trip(connection, key, told, cells, context.wall)
        wishing.settle_some(connection)
        _tell(tripped, context)


def _tell(tripped: Paused, context: Context) -> None:
    told = Trip(tripped.phase, tripped.kind, tripped.outcome, tripped.error, tripped.cells).told
    context.after.append(lambda: log.warning("%s", told))


def completed(signatures: Sequence[str], context: Context) -> None:
    """Cells were completed: their phases work, and their failures are counted anew."""
    breaker.forget(context.connection, signatures)


def tried_again(signatures: Sequence[str], context: Context, dry_run: bool) -> list[str]:
    """A person tries tasks again: their phases count anew, and go on where the breaker had paused
    them.  Returns that in words."""
    phases = breaker.paused_for(context.connection, signatures)
    if not dry_run:
        breaker.forget(context.connection, signatures)
        if phases:
            steering.pause_phases(context.connection, phases.values(), False)
            wishing.settle_some(context.connection)
    goes_on = "would go on" if dry_run else "goes on"
    return [f"phase {name} {goes_on}: the breaker had paused it" for name in phases]
