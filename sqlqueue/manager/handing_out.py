"""Handing out: a worker requests, and gets a task under a lease, or one to look at beforehand.

Functions of the notebook, a request and the transaction's context.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.lifecycle import State
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Reply, TaskReply
from sqlqueue.store import memory, queue, reading, steering
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

log = logging.getLogger("sqlqueue.manager")


def request_task(book: Notebook, request: protocol.RequestTask, context: Context) -> Reply:
    book.hear(request.worker_id, context, request.host, request.device, request.worker_type)
    tasks = _asked_before(book, request, context)
    if not tasks and (end := _why_ending(book, request.worker_id, context.connection)):
        return protocol.NoTask(done=done(context.connection), end=end)
    tasks = tasks or _chosen(book, request, context)
    if not tasks:
        waits = steering.why_waiting(context.connection)
        return protocol.NoTask(done=done(context.connection), waits=waits)
    return tasks[0] if request.count == 1 else protocol.TasksReply(tasks=tasks)


def _why_ending(book: Notebook, worker_id: str, connection: Connection) -> str:
    seen = book.workers[worker_id]
    return steering.why_ending(connection, worker_id, seen.host, seen.device)


def _asked_before(
    book: Notebook, request: protocol.RequestTask, context: Context
) -> list[TaskReply]:
    """The same answer again, when the first was lost on its way."""
    if request.request_id is None or request.reserve:
        return []
    found = reading.requested(context.connection, request.worker_id, request.request_id)
    replies = []
    for attempt in found:
        task = reading.find(context.connection, attempt.task_id)
        assert task is not None
        book.grant_after(attempt, context)
        replies.append(_task_reply(task, attempt, context))
    return replies


def _chosen(book: Notebook, request: protocol.RequestTask, context: Context) -> list[TaskReply]:
    replies = []
    for task in _pick(book, request, context):
        if request.reserve:
            replies.append(_task_reply(task, None, context))
        else:
            replies.append(_begin_attempt(book, task, request, context))
    return replies


def _pick(book: Notebook, request: protocol.RequestTask, context: Context) -> list[TaskRow]:
    """The tasks for this request: its own reservation, else the first in order."""
    connection, wanted = context.connection, request.want
    if steering.is_queue_paused(connection):
        return []
    if wanted is not None and not request.reserve:
        task = reading.find(connection, wanted)
        if task is not None and _may_have(task, request):
            book.reservations.end(wanted)
            return [task]
    smallest = request.worker_type == "cpu"
    limit = request.count + book.reservations.count(context.now)
    pending = reading.candidates(connection, smallest, limit, request.without)
    keys = book.reservations.choose(pending, request, context.now)
    found = [reading.task_by_key(connection, key) for key in keys]
    return [task for task in found if task is not None]


def _may_have(task: TaskRow, request: protocol.RequestTask) -> bool:
    free = task.state is State.PENDING and not task.held
    return free and task.experiment not in request.without


def _begin_attempt(
    book: Notebook, task: TaskRow, request: protocol.RequestTask, context: Context
) -> TaskReply:
    report = Report(
        worker_id=request.worker_id,
        now=context.wall,
        host=request.host,
        device=request.device,
        code_version=request.code_version,
    )
    attempt = queue.claim(
        context.connection,
        task,
        report,
        request_id=request.request_id,
        lease_seconds=request.lease_seconds,
    )
    book.grant_after(attempt, context)
    context.after.append(
        lambda: log.info(
            "Task %s goes to %s (attempt %d)", task.task_id, attempt.worker_id, attempt.number
        )
    )
    return _task_reply(task, attempt, context)


def _task_reply(task: TaskRow, attempt: Attempt | None, context: Context) -> TaskReply:
    paths = [path for _, path in reading.directories_of(context.connection, task.signature)]
    return TaskReply(
        task_id=task.task_id,
        attempt=attempt.number if attempt else 0,
        phase=task.phase,
        experiment=task.experiment,
        config=task.parameters,
        seed=task.seed,
        output_dir=paths[0] if paths else "",
        output_dirs=paths,
        lease_seconds=attempt.lease_seconds if attempt else protocol.LEASE_SECONDS,
        signature=task.signature,
        timeout_seconds=task.timeout_seconds,
        command=memory.command_of(context.connection, task.experiment),
        rerun_after=task.rerun_after,
    )


def done(connection: Connection) -> bool:
    """Whether every task is finished; an empty queue is not done but waiting."""
    return not reading.unfinished(connection) and reading.any_task(connection)
