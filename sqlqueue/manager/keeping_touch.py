"""Keeping in touch: heartbeats renew leases, announcements settle what a worker holds, silence
ends an attempt.  Functions of the notebook, a request and the transaction's context.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.manager import taking_in
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Ack, Reply
from sqlqueue.store import queue, reading
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

_MAY_RESUME: Final = (Outcome.LOST, Outcome.RELEASED)

MOST_METRICS_BYTES: Final = 64 * 1024

log = logging.getLogger("sqlqueue.manager")


def heartbeat(book: Notebook, request: protocol.Heartbeat, context: Context) -> Reply:
    book.hear(request.worker_id, context)
    held = [
        each if isinstance(each, protocol.Held) else protocol.Held(task_id=each)
        for each in request.tasks
    ]
    cancel = [each.task_id for each in held if not _renew(book, each, request.worker_id, context)]
    return Ack(cancel=cancel)


def _renew(book: Notebook, held: protocol.Held, worker_id: str, context: Context) -> bool:
    """Renews a lease, or takes up an attempt again that was thought lost."""
    lease = book.leases.renew(held.task_id, worker_id, held.attempt, context.now)
    if lease is not None:
        if held.step is not None:
            lease.step, lease.total, lease.metrics = held.step, held.total, _small(held.metrics)
        return True
    task = reading.find(context.connection, held.task_id)
    if task is None:
        return True  # another queue's, or a restored database: its result is still welcome
    attempts = reading.attempts_of(context.connection, task.signature)
    attempt = reading.matching(attempts, held.attempt, worker_id)
    if attempt is None:
        return False
    if attempt.outcome is None:
        return True  # begun, or taken up again, in this very transaction
    if task.state is not State.PENDING or attempt.outcome not in _MAY_RESUME:
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
    holds = {(each.task_id, each.attempt) for each in request.holds}
    for attempt in reading.running_of_worker(context.connection, request.worker_id):
        if not holds & {(attempt.task_id, attempt.number), (attempt.task_id, None)}:
            task = taking_in.find(attempt.task_id, context)
            taking_in.give_back(book, task, attempt, "its worker started anew without it", context)
    held = protocol.Heartbeat(worker_id=request.worker_id, tasks=list(request.holds))
    return heartbeat(book, held, context)


def expire(book: Notebook, context: Context) -> int:
    """Ends the attempts whose lease is over; returns how many."""
    lapsed = book.leases.lapsed(context.now)
    for attempt in lapsed:
        task = reading.find(context.connection, attempt.task_id)
        book.drop_after(attempt, context)
        if task is None or task.state is not State.RUNNING:
            continue
        _lose(task, attempt, context)
    return len(lapsed)


def _lose(task: TaskRow, attempt: Attempt, context: Context) -> None:
    error = f"not heard of for {attempt.lease_seconds:g} s"
    report = Report(attempt.worker_id, context.wall, error=error)
    state = queue.fail(context.connection, task, attempt, Outcome.LOST, report)
    context.after.append(lambda: taking_in.log_failed(task, attempt, Outcome.LOST, state, error))
