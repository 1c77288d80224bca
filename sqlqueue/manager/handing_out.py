"""Handing out: a worker requests, and gets a task under a lease, or one to look at beforehand.

Functions of the notebook, a request and the transaction's context.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.lifecycle import State
from sqlqueue.manager.estimates import Deadline, Fitting, fitting
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan.command import Command
from sqlqueue.plan.pace import kind_of
from sqlqueue.protocol import Reply, TaskReply
from sqlqueue.store import memory, pace, queue, reading, records, states, steering
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

log = logging.getLogger("sqlqueue.manager")


def request_task(book: Notebook, request: protocol.RequestTask, context: Context) -> Reply:
    book.hear(request.worker_id, context, request.host, request.device, request.worker_type)
    if not request.reserve:
        book.leases.left(request.worker_id)
    tasks = _asked_before(book, request, context)
    if not tasks and (end := _why_ending(book, request.worker_id, context.connection)):
        return protocol.NoTask(done=done(context.connection), end=end)
    tasks = tasks or _chosen(book, request, context)
    if not tasks and (end := _out_of_time(book, request, context)):
        return protocol.NoTask(done=False, end=end)
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
        if task is not None and _may_have(book, task, request, context):
            book.reservations.end(wanted)
            return [task]
    leaving = book.leases.leaving
    limit = request.count + book.reservations.count(context.now) + len(leaving)
    if deadline := _deadline(book, request):
        pending = _fitting(book, deadline, request, limit, context).tasks
    else:
        smallest = request.worker_type == "cpu"
        pending = reading.candidates(connection, smallest, limit, request.without)
    pending = [each for each in pending if each[1] not in leaving]
    keys = book.reservations.choose(pending, request, context.now)
    found = [reading.task_by_key(connection, key) for key in keys]
    return [task for task in found if task is not None]


def _may_have(
    book: Notebook, task: TaskRow, request: protocol.RequestTask, context: Context
) -> bool:
    free = task.state is State.PENDING and not task.held
    free = free and task.task_id not in book.leases.leaving
    if not free or task.experiment in request.without:
        return False
    deadline = _deadline(book, request)
    if deadline is None:
        return True
    shape_id = pace.shape_id_of(context.connection, task.signature)
    kind, now = deadline.kind, context.now
    return deadline.fits(book.estimates.seconds(context.connection, shape_id, kind, now))


# --- time limits of workers ---------------------------------------------------------------


def _deadline(book: Notebook, request: protocol.RequestTask) -> Deadline | None:
    return Deadline.of(request, kind_of(request.device or book.workers[request.worker_id].device))


def _fitting(
    book: Notebook, deadline: Deadline, request: protocol.RequestTask, most: int, context: Context
) -> Fitting:
    return fitting(
        book.estimates, context.connection, deadline, context.now,
        smallest_first=request.worker_type == "cpu", most=most, without=request.without,
    )  # fmt: skip


def _out_of_time(book: Notebook, request: protocol.RequestTask, context: Context) -> str:
    """Why a worker with a time limit is to end, if tasks wait and none fits what is left of it."""
    deadline = _deadline(book, request)
    if deadline is None or steering.is_queue_paused(context.connection):
        return ""
    found = _fitting(book, deadline, request, 1, context)
    return found.told(deadline) if found.waiting and not found.tasks else ""


def _begin_attempt(
    book: Notebook, task: TaskRow, request: protocol.RequestTask, context: Context
) -> TaskReply:
    attempt = queue.claim(
        context.connection,
        task,
        report_of(request, context),
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


def report_of(request: protocol.RequestTask, context: Context) -> Report:
    """What a worker tells of the attempts that it is about to begin."""
    return Report(
        worker_id=request.worker_id,
        now=context.wall,
        host=request.host,
        device=request.device,
        code_version=request.code_version,
    )


def _task_reply(task: TaskRow, attempt: Attempt | None, context: Context) -> TaskReply:
    paths = [
        path
        for _, path in records.directories_of(context.connection, [task.signature])[task.signature]
    ]
    return task_reply(task, attempt, paths, memory.command_of(context.connection, task.experiment))


def task_reply(
    task: TaskRow, attempt: Attempt | None, paths: list[str], command: Command | None
) -> TaskReply:
    """What a worker is told of a task; `paths`: of the directories, the primary first."""
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
        command=command,
        rerun_after=task.rerun_after,
    )


def done(connection: Connection) -> bool:
    """Whether every task is finished; an empty queue is not done but waiting."""
    return not states.any_unfinished(connection) and states.any_task(connection)
