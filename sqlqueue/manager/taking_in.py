"""Taking in: results, failures, tasks given back.

A result always wins: it completes its task from any state but COMPLETED, whoever held the
lease.  The same result again changes nothing; another one for a completed task is kept as a
further attempt, and so is one of an attempt from before its task was to run once more.
Functions of the notebook, a request and the transaction's context.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlqueue import protocol
from sqlqueue.errors import IllegalMove, UnknownTask
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.logs import together
from sqlqueue.manager import breaking
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan.headline import headline
from sqlqueue.plan.pace import kind_of
from sqlqueue.plan.quick_json import read, written
from sqlqueue.plan.rows import apart_from, flatten
from sqlqueue.protocol import Ack, Reply
from sqlqueue.store import pace, queue, reading, records
from sqlqueue.store.csv_file import NAME
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

log = logging.getLogger("sqlqueue.manager")


def submit(book: Notebook, request: protocol.SubmitResult, context: Context) -> Reply:
    connection = context.connection
    book.hear(request.worker_id, context)
    task = find(request.task_id, context, request.signature)
    metrics, renamed = apart_from(flatten(request.result_data), task.fixed)
    text = written(metrics)
    held = reading.attempts_of(connection, task.signature)
    attempt = reading.matching(held, request.attempt, request.worker_id)
    stored = reading.results_of(connection, task.signature)
    if _known(stored, text, attempt, task):
        return Ack()
    number = attempt.number if attempt is not None else request.attempt
    of_before = number is not None and 0 < number <= task.rerun_after
    if attempt is not None and any(key == attempt.id for key, _, _ in stored):
        attempt = None  # that attempt has another result already: this is a further one
    report = report_of(request, context)
    if task.state is State.COMPLETED or of_before:
        attempt = _end(book, task, attempt, Outcome.SUPERSEDED, report, context)
        queue.keep_result(connection, task, attempt, text)
        context.after.append(lambda: _log_further(task, request.worker_id))
        return Ack()
    complete(book, task, attempt, held, text, metrics, report, context)
    context.after.append(lambda: log_renamed(task, renamed))
    return Ack()


def complete(
    book: Notebook,
    task: TaskRow,
    attempt: Attempt | None,
    held: Sequence[Attempt],
    text: str,
    metrics: dict[str, Any],
    report: Report,
    context: Context,
) -> int:
    """A result wins: the task is completed and its row goes into every linked CSV.

    Returns into how many.  Raises `DirectoryUnavailable`, having changed nothing.
    """
    directories = records.directories_of(context.connection, [task.signature])[task.signature]
    book.outputs.require(directories)
    attempt = _end(book, task, attempt, Outcome.COMPLETED, report, context)
    for other in held:
        if other.outcome is None and other.id != attempt.id:
            _end(
                book,
                task,
                other,
                Outcome.SUPERSEDED,
                Report(other.worker_id, context.wall),
                context,
            )
    queue.complete(context.connection, task, attempt, text)
    breaking.completed([task.signature], context)
    _learn(book, task, held, report, context)
    values = task.fixed | metrics
    for key, _ in directories:
        context.rows.setdefault(key, {})[task.signature] = values
    if task.has_result:
        context.again.add(task.signature)
    lines = saved(task.task_id, [path for _, path in directories])
    context.after.append(lambda: together(log, lines))
    return len(directories)


def _learn(
    book: Notebook, task: TaskRow, held: Sequence[Attempt], report: Report, context: Context
) -> None:
    """What it took tells what similar cells will take; of one that was tried before, a part may
    have been done then."""
    tried = [each for each in held if each.number > task.rerun_after]
    if len(tried) > 1 or report.seconds is None:
        return
    kind = kind_of(report.device or book.workers[report.worker_id].device)
    if pace.learn(context.connection, task.signature, kind, report.seconds):
        context.after.append(book.estimates.note)


def _end(
    book: Notebook,
    task: TaskRow,
    attempt: Attempt | None,
    outcome: Outcome,
    report: Report,
    context: Context,
) -> Attempt:
    """Ends the attempt, or records one that the queue did not know of."""
    if attempt is None:
        return queue.record_attempt(context.connection, task, outcome, report)
    queue.end_attempt(context.connection, attempt, outcome, report)
    book.drop_after(attempt, context)
    return attempt


def fail(book: Notebook, request: protocol.TaskFailed, context: Context) -> Reply:
    book.hear(request.worker_id, context)
    task = find(request.task_id, context)
    attempt = _attempt_of(task, request.attempt, request.worker_id, context)
    if attempt.outcome is None:
        outcome = Outcome(request.outcome)
        report = report_of(request, context)
        state = queue.fail(context.connection, task, attempt, outcome, report)
        book.drop_after(attempt, context)
        context.after.append(lambda: log_failed(task, attempt, outcome, state, request.error))
        breaking.failed(book, task.signature, outcome, request.error, context)
    elif attempt.outcome is Outcome.CANCELLED:
        _say_cancelled(book, attempt, report_of(request, context), context)
    return Ack()


def release(book: Notebook, request: protocol.Release, context: Context) -> Reply:
    book.hear(request.worker_id, context)
    task = find(request.task_id, context)
    attempt = _attempt_of(task, request.attempt, request.worker_id, context)
    if attempt.outcome is None:
        ran = (request.code_version, request.log_file, _json(request.versions))
        give_back(book, task, attempt, request.reason or "released", context, ran)
    elif attempt.outcome is Outcome.CANCELLED:
        report = Report(
            attempt.worker_id, context.wall, code_version=request.code_version,
            log_file=request.log_file, versions=_json(request.versions),
        )  # fmt: skip
        _say_cancelled(book, attempt, report, context)
    return Ack()


def _say_cancelled(book: Notebook, attempt: Attempt, report: Report, context: Context) -> None:
    """Its worker has ended a cancelled attempt: what it ran with, and that it runs no more."""
    queue.end_attempt(context.connection, attempt, Outcome.CANCELLED, report)
    book.drop_after(attempt, context)


def give_back(
    book: Notebook, task: TaskRow, attempt: Attempt, reason: str, context: Context,
    ran: tuple[str, str, str] = ("", "", ""),
) -> None:  # fmt: skip
    """`ran`: the version of its code, its log, and the versions beside, where they are known."""
    code, log_file, versions = ran
    report = Report(
        attempt.worker_id, context.wall, error=reason, code_version=code, log_file=log_file,
        versions=versions,
    )  # fmt: skip
    queue.release(context.connection, task, attempt, report)
    book.drop_after(attempt, context)
    context.after.append(
        lambda: log.info(
            "Task %s was given back by %s: %s", task.task_id, attempt.worker_id, headline(reason)
        )
    )


def find(task_id: str, context: Context, signature: str | None = None) -> TaskRow:
    task = reading.find(context.connection, task_id, signature)
    if task is None:
        raise UnknownTask(f"no task {signature or task_id!r} in this queue")
    return task


def _attempt_of(task: TaskRow, number: int | None, worker_id: str, context: Context) -> Attempt:
    held = reading.attempts_of(context.connection, task.signature)
    attempt = reading.matching(held, number, worker_id)
    if attempt is None:
        raise IllegalMove(f"{worker_id} never held {task.task_id}; request a task first")
    return attempt


def _known(
    stored: Sequence[tuple[int, str, bool]], text: str, attempt: Attempt | None, task: TaskRow
) -> bool:
    """Whether exactly this result is stored already."""
    if task.state is State.COMPLETED or attempt is None:
        # Of one that is not known: it was recorded under another attempt, if at all.
        return any(_same(metrics, text) for _, metrics, _ in stored)
    return any(key == attempt.id and _same(metrics, text) for key, metrics, _ in stored)


def _same(stored: str, text: str) -> bool:
    """Whether both mean one result; older versions spelled it otherwise."""
    return stored == text or json.dumps(read(stored)) == json.dumps(read(text))


def report_of(request: protocol.SubmitResult | protocol.TaskFailed, context: Context) -> Report:
    return Report(
        worker_id=request.worker_id,
        now=context.wall,
        host=request.host,
        device=request.device,
        seconds=_finite(request.seconds),
        code_version=request.code_version,
        log_file=request.log_file,
        error=request.error if isinstance(request, protocol.TaskFailed) else None,
        versions=_json(request.versions),
    )


def _json(versions: Mapping[str, str]) -> str:
    return json.dumps(versions) if versions else ""


def _finite(seconds: float | None) -> float | None:
    """A duration that is no number is not known; the result that came with it counts."""
    return seconds if seconds is not None and math.isfinite(seconds) else None


def saved(task_id: str, paths: Sequence[str]) -> list[str]:
    """Lines of the log that say so."""
    noun = "directory" if len(paths) == 1 else "directories"
    return [
        *(f"Saved result for {task_id} to {path}/{NAME}" for path in paths),
        f"Result saved to {len(paths)} {noun} for task {task_id}",
    ]


def _log_further(task: TaskRow, worker_id: str) -> None:
    log.warning(
        "Another result for %s, which has one, came from %s: kept, not a second row",
        task.task_id,
        worker_id,
    )


def log_renamed(task: TaskRow, renamed: dict[str, str]) -> None:
    for name, stored in renamed.items():
        log.warning(
            "Task %s returned %s with another value than its parameter: stored as %s",
            task.task_id,
            name,
            stored,
        )


def log_failed(task: TaskRow, attempt: Attempt, outcome: Outcome, state: State, error: str) -> None:
    kept = "it keeps the result that it had" if state is State.COMPLETED else f"it is {state} now"
    then = "it runs again" if state is State.PENDING else kept
    log.warning(
        "Task %s attempt %d on %s: %s: %s; %s",
        task.task_id,
        attempt.number,
        attempt.worker_id,
        outcome,
        headline(error),
        then,
    )
