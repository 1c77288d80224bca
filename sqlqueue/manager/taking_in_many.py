"""Taking in the results of a batch together: read at once, thought through one by one, written
at once.

Only the plain case, which nearly every result is: its task runs, under the attempt that is spoken
of, and has no result yet.  Every other is left to `taking_in.submit`.  Promises: what comes of a
result is the same either way.  Functions of the notebook, requests and the transaction's context.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from sqlqueue.errors import DirectoryUnavailable
from sqlqueue.logs import together
from sqlqueue.manager import breaking
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.manager.taking_in import log_renamed, report_of, saved
from sqlqueue.plan.pace import kind_of
from sqlqueue.plan.quick_json import written
from sqlqueue.plan.rows import apart_from, flatten
from sqlqueue.protocol import Ack, Reply, SubmitResult
from sqlqueue.store import finishing, pace
from sqlqueue.store.finishing import Ended, Run

log = logging.getLogger("sqlqueue.manager")


def submit_all(
    book: Notebook, requests: Sequence[SubmitResult], context: Context
) -> dict[int, Reply]:
    """Takes in those that are plain: the answers by their places in `requests`.

    Of several results for one task only the first can be plain.
    """
    first: dict[str, int] = {}
    for place, each in enumerate(requests):
        first.setdefault(each.task_id, place)
    runs = finishing.runs_of(context.connection, first)
    plain = {
        place: (requests[place], run)
        for task_id, run in runs.items()
        if _is_plain(book, requests[place := first[task_id]], run)
    }
    if plain:
        _take_in(book, [plain[place] for place in sorted(plain)], context)
    return dict.fromkeys(plain, Ack())


def _is_plain(book: Notebook, request: SubmitResult, run: Run) -> bool:
    attempt, task = run.attempt, run.task
    if request.worker_id != attempt.worker_id or request.attempt not in (None, attempt.number):
        return False
    if request.signature not in (None, task.signature):
        return False
    try:
        book.outputs.require(run.directories)
    except DirectoryUnavailable:
        return False
    return True


def _take_in(book: Notebook, plain: Sequence[tuple[SubmitResult, Run]], context: Context) -> None:
    ended, took = [], []
    for request, run in plain:
        report = report_of(request, context)
        task, fixed = run.task, run.task.fixed
        book.hear(request.worker_id, context)
        metrics, renamed = apart_from(flatten(request.result_data), fixed)
        ended.append(Ended(run, written(metrics), report))
        values = fixed | metrics
        for key, _ in run.directories:
            context.rows.setdefault(key, {})[task.signature] = values
        if run.attempt.number == 1 and report.seconds is not None:
            device = report.device or book.workers[request.worker_id].device
            took.append((run.shape_id, kind_of(device), report.seconds))
        if renamed:
            context.after.append(partial(log_renamed, task, renamed))
    finishing.complete(context.connection, ended, context.wall)
    breaking.completed([each.run.task.signature for each in ended], context)
    if pace.learn_all(context.connection, took):
        context.after.append(book.estimates.note)
    context.after.append(partial(_afterwards, book, ended))


def _afterwards(book: Notebook, ended: Sequence[Ended]) -> None:
    lines: list[str] = []
    for each in ended:
        book.leases.drop(each.run.attempt)
        lines += saved(each.run.task.task_id, [path for _, path in each.run.directories])
    together(log, lines)
