"""Importing: the owner's messages by which results come in that were computed by other means.

Functions of a request and the transaction's context, one of the notebook too.  A row that is
adopted is an attempt of its own, by the worker `import`, which says where it came from and has no
duration: nothing is learnt from it of how long cells take.  A task that has a result keeps it.
What is not here: which row is of which task; whoever asks has found that out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.errors import DirectoryUnavailable, UnknownTask
from sqlqueue.manager import taking_in
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan import selector
from sqlqueue.plan.rows import Scalar, apart_from, cell, flatten, same
from sqlqueue.protocol import DescribedReply, ImportedReply, RefusedRow, Reply
from sqlqueue.store import describing, reading
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import TaskRow

WORKER: Final = "import"
"""The worker of attempts that were none of ours."""


def describe_tasks(request: protocol.DescribeTasks, context: Context) -> Reply:
    meant = selector.parse(request.select, request.all)
    found, rest = describing.some(context.connection, meant, request.after)
    return DescribedReply(tasks=found, next=rest)


def import_rows(book: Notebook, request: protocol.ImportRows, context: Context) -> Reply:
    known = reading.with_metrics(context.connection, (each.signature for each in request.rows))
    adopted: list[int] = []
    there: list[int] = []
    refused: list[RefusedRow] = []
    delivered = 0
    for number, row in enumerate(request.rows):
        if row.signature not in known:
            raise UnknownTask(f"no task {row.signature!r} in this queue")
        task, stored = known[row.signature]
        metrics, renamed = apart_from(flatten(row.result_data), task.fixed)
        if stored is not None:
            if why := _difference(metrics, stored):
                refused.append(RefusedRow(row=number, reason="other_result", message=why))
            else:
                there.append(number)
            continue
        try:
            if not request.dry_run:
                delivered += _adopt(book, row, request.host, task, metrics, context)
                context.after.append(partial(taking_in.log_renamed, task, renamed))
        except DirectoryUnavailable as error:
            away = RefusedRow(row=number, reason="directory_unavailable", message=error.message)
            refused.append(away)
            continue
        known[row.signature] = (task, metrics)
        adopted.append(number)
    return ImportedReply(adopted=adopted, known=there, refused=refused, delivered=delivered)


def _difference(metrics: Mapping[str, Scalar], stored: Mapping[str, Any]) -> str:
    """What a row says that the result does not; "" for a row that says nothing else."""
    for name, value in metrics.items():
        if name not in stored:
            return f"{name} is {cell(value)!r:.80}, which its result has not"
        if not same(value, stored[name]):
            return f"{name} is {cell(value)!r:.80}, its result has {cell(stored[name])!r:.80}"
    return ""


def _adopt(
    book: Notebook,
    row: protocol.ImportedRow,
    host: str,
    task: TaskRow,
    metrics: dict[str, Any],
    context: Context,
) -> int:
    """Completes the task as a result does; returns to how many directories it was delivered."""
    held = reading.attempts_of(context.connection, task.signature)
    came_from = f"imported from {row.source or 'elsewhere'}"
    report = Report(WORKER, context.wall, host=host, error=came_from)
    return taking_in.complete(book, task, None, held, json.dumps(metrics), metrics, report, context)
