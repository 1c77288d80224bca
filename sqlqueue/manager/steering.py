"""Steering: the owner's messages that try tasks again, run them once more, cancel and weigh them.

Functions of a request and the transaction's context, some of the notebook too.  Each decides task
by task, says of every one that was selected what was done or why not, and with `dry_run` does
nothing but say it.  What is not here: pauses and drains (`holding.py`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import Final

from sqlqueue import protocol
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.manager import breaking
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan import selector
from sqlqueue.protocol import SteeredReply
from sqlqueue.store import queue, selecting, steering
from sqlqueue.store.queue import Report
from sqlqueue.store.selecting import Bite, Chosen

_NO_RETRY: Final = {
    State.PENDING: "pending already",
    State.RUNNING: "running now",
    State.COMPLETED: "completed: they have their results",
}

_NO_RERUN: Final = "not completed: they have no result yet"
_UNDER_WAY: Final = "to run once more already"
_KEPT: Final = "those that were to run once more are completed, with the results that they had"
_SHARED_AGAIN: Final = (
    "to run once more, and another phase wants them: name all that do in one word (phase=a,b)"
)
_UNWANTED: Final = "wanted by no phase: `init` with their sweep file first"
_HOMELESS: Final = "in no output directory any more: `init` with their sweep file first"

log = logging.getLogger("sqlqueue.manager")


def _found(request: protocol.Steer, context: Context) -> Bite:
    meant = selector.parse(request.select, request.all)
    return selecting.bite(context.connection, meant, request.after)


def _reply(
    found: Bite, done: Sequence[Chosen], left: Counter[str], notes: Sequence[str] = ()
) -> SteeredReply:
    return SteeredReply(
        done=dict(Counter(each.state.value for each in done)),
        left=dict(left),
        phases=dict(Counter(each.phase for each in done)),
        met=sorted(found.met),
        notes=list(notes),
        next=found.next,
    )


def _told(context: Context, what: str, count: int) -> None:
    if count:
        context.after.append(lambda: log.info("%s: %d tasks", what, count))


def retry(request: protocol.Retry, context: Context) -> SteeredReply:
    found = _found(request, context)
    homes = steering.linked(context.connection, found.tasks)
    chosen, left = _apart(found.tasks, lambda each: _no_retry(each, homes))
    if not request.dry_run:
        named = found.scope is not None or request.all
        over = State.COMPLETED
        housed = [t for t in found.tasks if t.signature in homes and t.state is not over]
        steering.want_again(context.connection, housed if named else chosen, found.scope)
        steering.retry(context.connection, chosen)
        _told(context, "Pending again", len(chosen))
    waiting = (State.PENDING, State.FAILED, State.CANCELLED)
    again = [each.signature for each in found.tasks if each.state in waiting]
    return _reply(found, chosen, left, breaking.tried_again(again, context, request.dry_run))


def _apart(
    tasks: Sequence[Chosen], why_not: Callable[[Chosen], str]
) -> tuple[list[Chosen], Counter[str]]:
    """Those that a verb is done to, and of the others how many for which reason."""
    left: Counter[str] = Counter()
    chosen = []
    for each in tasks:
        if reason := why_not(each):
            left[reason] += 1
        else:
            chosen.append(each)
    return chosen, left


def _no_retry(task: Chosen, homes: Container[str]) -> str:
    return _NO_RETRY.get(task.state, "" if task.signature in homes else _HOMELESS)


def rerun(request: protocol.Rerun, context: Context) -> SteeredReply:
    found = _found(request, context)
    homes = steering.linked(context.connection, found.tasks)
    wanted = steering.wanted_by(context.connection, found.tasks)

    def why_not(task: Chosen) -> str:
        if task.state is not State.COMPLETED:
            return _UNDER_WAY if task.again else _NO_RERUN
        if not wanted.get(task.signature):
            return _UNWANTED
        return "" if task.signature in homes else _HOMELESS

    chosen, left = _apart(found.tasks, why_not)
    if not request.dry_run:
        steering.rerun(context.connection, chosen)
        _told(context, "To run once more", len(chosen))
    again = [*chosen, *(each for each in found.tasks if each.again)]
    names = [each.signature for each in again]
    return _reply(found, chosen, left, breaking.tried_again(names, context, request.dry_run))


def cancel(book: Notebook, request: protocol.Cancel, context: Context) -> SteeredReply:
    found = _found(request, context)
    wanted = steering.wanted_by(context.connection, found.tasks)
    unwanted: list[Chosen] = []
    shared: list[Chosen] = []
    left: Counter[str] = Counter()
    for each in found.tasks:
        if each.state in (State.COMPLETED, State.CANCELLED):
            over = each.state is State.COMPLETED
            left["completed: their results stay" if over else "cancelled already"] += 1
        elif found.scope is None or wanted[each.signature] <= found.scope:
            unwanted.append(each)
        else:
            left[_SHARED_AGAIN if each.again else "another phase wants them: they go on"] += 1
            shared.append(each)
    if not request.dry_run:
        plain = [each for each in (*unwanted, *shared) if not each.again]
        steering.withdraw(context.connection, plain, found.scope)
        _cancel(book, unwanted, context)
        _told(context, "Cancelled", len(unwanted))
    again = any(each.again for each in unwanted)
    return _reply(found, unwanted, left, [_KEPT] if again else [])


def _cancel(book: Notebook, chosen: Sequence[Chosen], context: Context) -> None:
    """The attempts end at once: their workers hear it with the next heartbeat.

    Until they say so their tasks, tried again, are not handed out: nothing runs twice.
    """
    for attempt in steering.cancel(context.connection, chosen):
        report = Report(attempt.worker_id, context.wall)
        queue.end_attempt(context.connection, attempt, Outcome.CANCELLED, report)
        book.cancel_after(attempt, context)


def set_priority(request: protocol.SetPriority, context: Context) -> SteeredReply:
    found = _found(request, context)
    meant = selector.parse(request.select, request.all)
    chosen = [each for each in found.tasks if each.state is not State.COMPLETED]
    left = Counter({"completed": len(found.tasks) - len(chosen)})
    notes = []
    if meant.is_of_phases_alone and found.scope is not None:
        notes.append("holds for the cells too that these phases will have")
    if not request.dry_run:
        steering.set_priority(context.connection, chosen, found.scope, request.priority)
        if notes and found.scope is not None:
            steering.set_priority_of_phases(context.connection, found.scope, request.priority)
        _told(context, f"Priority {request.priority}", len(chosen))
    return _reply(found, chosen, +left, notes)
