"""Keeping in touch: heartbeats renew leases, announcements settle what a worker holds, silence
ends an attempt.  Functions of the notebook, a request and the transaction's context.

However much one message names, or one moment ends, the database is asked about a bounded part of
it; the rest comes next time.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.manager import taking_in
from sqlqueue.manager.leases import is_among
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Ack, Reply
from sqlqueue.store import queue, reading
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

_MAY_RESUME: Final = (Outcome.LOST, Outcome.RELEASED)

MOST_METRICS_BYTES: Final = 64 * 1024
MOST_AT_ONCE: Final = 500
"""Attempts without a lease that one message is looked up for, and attempts ended at once."""

STARTED_ANEW: Final = "its worker started anew without it"

log = logging.getLogger("sqlqueue.manager")


def heartbeat(book: Notebook, request: protocol.Heartbeat, context: Context) -> Reply:
    book.hear(request.worker_id, context)
    held = [
        each if isinstance(each, protocol.Held) else protocol.Held(task_id=each)
        for each in request.tasks
    ]
    silent = [each for each in held if not _renew(book, each, request.worker_id, context)]
    known = silent[:MOST_AT_ONCE]
    cancel = [each.task_id for each in known if not _resume(book, each, request.worker_id, context)]
    return Ack(cancel=cancel)


def _renew(book: Notebook, held: protocol.Held, worker_id: str, context: Context) -> bool:
    """Renews a lease, if there is one."""
    lease = book.leases.renew(held.task_id, worker_id, held.attempt, context.now)
    if lease is not None and held.step is not None:
        lease.hear(held.step, held.total, _small(held.metrics), context.now)
    return lease is not None


def _resume(book: Notebook, held: protocol.Held, worker_id: str, context: Context) -> bool:
    """Takes up an attempt again that was thought lost; whether its worker may go on."""
    task = reading.find(context.connection, held.task_id)
    if task is None:
        return True  # another queue's, or a restored database: its result is still welcome
    attempts = reading.attempts_of(context.connection, task.signature)
    attempt = reading.matching(attempts, held.attempt, worker_id)
    if attempt is None:
        return False
    if attempt.outcome is None:
        return True  # begun, or taken up again, in this very transaction
    of_before = attempt.number <= task.rerun_after
    free = task.state is State.PENDING and task.task_id not in book.leases.leaving
    if not free or attempt.outcome not in _MAY_RESUME or of_before:
        return False
    queue.resume(context.connection, task, attempt)
    book.grant_after(attempt, context)
    return True


def _small(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a running attempt reports is kept in memory for `status`: not megabytes of it."""
    return metrics if len(json.dumps(metrics)) <= MOST_METRICS_BYTES else {}


def announce(book: Notebook, request: protocol.Announce, context: Context) -> Reply:
    book.hear(request.worker_id, context, request.host, request.device, request.worker_type)
    queue.announce(
        context.connection,
        {
            "worker_id": request.worker_id,
            "host": request.host,
            "device": request.device,
            "worker_type": request.worker_type,
            "pid": request.pid,
            "announced_at": context.wall,
        },
    )
    _disown(book, request, context)
    held = protocol.Heartbeat(worker_id=request.worker_id, tasks=list(request.holds))
    return heartbeat(book, held, context)


def _disown(book: Notebook, request: protocol.Announce, context: Context) -> None:
    """Gives back what stands in a worker's name and it does not hold: some now, the rest soon."""
    holds = {(each.task_id, each.attempt) for each in request.holds}
    most = len(holds) + MOST_AT_ONCE
    for attempt in reading.running_of_worker(context.connection, request.worker_id, most):
        if not is_among(attempt, holds):
            task = taking_in.find(attempt.task_id, context)
            taking_in.give_back(book, task, attempt, STARTED_ANEW, context)
    context.after.append(lambda: book.leases.disown(request.worker_id, holds))


def expire(book: Notebook, context: Context) -> int:
    """Ends attempts whose lease is over, those that are over longest first; returns how many."""
    lapsed = book.leases.lapsed(context.now)[:MOST_AT_ONCE]
    for lease in lapsed:
        attempt = lease.attempt
        task = reading.find(context.connection, attempt.task_id)
        book.drop_after(attempt, context)
        if task is None or task.state is not State.RUNNING:
            continue
        if lease.disowned:
            taking_in.give_back(book, task, attempt, STARTED_ANEW, context)
        else:
            _lose(task, attempt, context)
    return len(lapsed)


def _lose(task: TaskRow, attempt: Attempt, context: Context) -> None:
    error = f"not heard of for {attempt.lease_seconds:g} s"
    report = Report(attempt.worker_id, context.wall, error=error)
    state = queue.fail(context.connection, task, attempt, Outcome.LOST, report)
    context.after.append(lambda: taking_in.log_failed(task, attempt, Outcome.LOST, state, error))
