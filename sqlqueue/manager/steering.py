"""Steering: the owner's messages that try tasks again, cancel, weigh, pause and drain.

Functions of a request and the transaction's context, some of the notebook too.  Each decides task
by task, says of every one that was selected what was done or why not, and with `dry_run` does
nothing but say it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Final

from sqlqueue import protocol
from sqlqueue.errors import UsageError
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.manager import breaking
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan import selector
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.selector import EVERYTHING, Condition
from sqlqueue.protocol import SteeredReply
from sqlqueue.store import queue, selecting, steering, wishing
from sqlqueue.store.queue import Report
from sqlqueue.store.selecting import Bite, Chosen
from sqlqueue.store.steering import Drain

OF_WORKERS: Final = ("worker", "host", "device")
_NO_RETRY: Final = {
    State.PENDING: "pending already",
    State.RUNNING: "running now",
    State.COMPLETED: "completed: they have their results",
}

log = logging.getLogger("sqlqueue.manager")


# --- tasks --------------------------------------------------------------------------------


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
    chosen = [each for each in found.tasks if each.state not in _NO_RETRY]
    left = Counter(_NO_RETRY[each.state] for each in found.tasks if each.state in _NO_RETRY)
    if not request.dry_run:
        named = found.scope is not None or request.all
        steering.want_again(context.connection, found.tasks if named else chosen, found.scope)
        steering.retry(context.connection, chosen)
        _told(context, "Pending again", len(chosen))
    waiting = (State.PENDING, State.FAILED, State.CANCELLED)
    again = [each.signature for each in found.tasks if each.state in waiting]
    return _reply(found, chosen, left, breaking.tried_again(again, context, request.dry_run))


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
            left["another phase wants them: they go on"] += 1
            shared.append(each)
    if not request.dry_run:
        steering.withdraw(context.connection, unwanted + shared, found.scope)
        _cancel(book, unwanted, context)
        _told(context, "Cancelled", len(unwanted))
    return _reply(found, unwanted, left)


def _cancel(book: Notebook, chosen: Sequence[Chosen], context: Context) -> None:
    """The attempts end at once: their workers hear it with the next heartbeat."""
    for attempt in steering.cancel(context.connection, chosen):
        report = Report(attempt.worker_id, context.wall)
        queue.end_attempt(context.connection, attempt, Outcome.CANCELLED, report)
        book.drop_after(attempt, context)


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


# --- phases and workers ---------------------------------------------------------------------


def hold(
    book: Notebook, request: protocol.Pause | protocol.Resume | protocol.Drain, context: Context
) -> SteeredReply:
    """Pauses and drains, and their ends: of phases, of workers, or of all."""
    if request.after:
        return SteeredReply(next=wishing.settle_some(context.connection))
    meant = selector.parse(request.select, request.all)
    match request:
        case protocol.Pause():
            _only(meant, ("phase",), request.select, "pause takes `phase=`")
            notes = _pause(meant, request, context)
        case protocol.Drain():
            _only(meant, OF_WORKERS, request.select, "drain takes `worker=`, `host=`, `device=`")
            notes = _drain(book, meant, request, context)
        case protocol.Resume():
            of = ("phase", *OF_WORKERS)
            _only(meant, of, request.select, "resume takes `phase=`, or what was drained")
            notes = _resume(meant, request, context)
    if request.dry_run:
        return SteeredReply(notes=notes)
    context.after.append(lambda: _log_all(notes))
    return SteeredReply(notes=notes, next=wishing.settle_some(context.connection))


def _log_all(notes: Sequence[str]) -> None:
    for each in notes:
        log.info("%s", each)


def _only(meant: selector.Selector, names: Sequence[str], words: Sequence[str], takes: str) -> None:
    """Raises `UsageError` for a word that the verb does not take."""
    given = (*meant.phases, *meant.of_attempts)
    fitting = {each.word for each in given if each.name in names}
    if other := [each for each in words if each.strip() not in fitting and each not in fitting]:
        raise UsageError(f"{other[0]!r}: {takes}, or {EVERYTHING}")


def _named(conditions: Sequence[Condition], context: Context) -> dict[str, int]:
    """The phases named, by key; several words name one or the other."""
    keys = selecting.phase_keys(context.connection)
    found = {name for each in conditions for name in selector.fitting(each, keys)}
    return {name: key for name, key in keys.items() if name in found}


def _pause(meant: selector.Selector, request: protocol.Pause, context: Context) -> list[str]:
    connection = context.connection
    if request.all:
        if not request.dry_run:
            steering.pause_queue(connection, True)
        return ["the queue is paused: nothing is handed out, what runs goes on"]
    phases = _named(meant.phases, context)
    before, broken = set(steering.paused_phases(connection)), steering.broken_phases(connection)
    if not request.dry_run:
        steering.pause_phases(connection, phases.values(), True)
    return [
        f"phase {name} was paused already{' by the breaker' if name in broken else ''}"
        if name in before
        else f"phase {name} is paused: nothing new of it is handed out, what runs goes on"
        for name in phases
    ]


def _resume(meant: selector.Selector, request: protocol.Resume, context: Context) -> list[str]:
    connection = context.connection
    if request.all:
        return _resume_all(request, context)
    notes = []
    if meant.phases:
        phases = _named(meant.phases, context)
        before = set(steering.paused_phases(connection))
        if not request.dry_run:
            steering.pause_phases(connection, phases.values(), False)
        for name in phases:
            notes.append(f"phase {name} {'goes on' if name in before else 'was not paused'}")
        if steering.is_queue_paused(connection):
            notes.append("the queue is still paused: `sqlqueue resume --all` ends that")
    if meant.of_attempts:
        notes += _end_drains(meant, request, context)
    return notes


def _resume_all(request: protocol.Resume, context: Context) -> list[str]:
    connection = context.connection
    paused, drained = steering.paused_phases(connection), steering.all_drains(connection)
    whole = steering.is_queue_paused(connection)
    if not request.dry_run:
        steering.pause_queue(connection, False)
        steering.pause_phases(connection, selecting.phase_keys(connection).values(), False)
        steering.end_drains(connection, None)
    notes = ["the queue goes on"] if whole else []
    notes += [f"phase {name} goes on" for name in paused]
    return notes + [f"{each}: no longer drained" for each in drained] or ["nothing was paused"]


def _drains(meant: selector.Selector, wall: float) -> list[Drain]:
    """One for each combination of the words given; every worker where there are none."""
    values = {name: [""] for name in OF_WORKERS}
    for each in meant.of_attempts:
        values[each.name] = [*filter(None, values[each.name]), *each.values]
    return [Drain(w, h, d, wall) for w, h, d in product(*(values[name] for name in OF_WORKERS))]


def _drain(
    book: Notebook, meant: selector.Selector, request: protocol.Drain, context: Context
) -> list[str]:
    wanted = _drains(meant, context.wall)
    if not request.dry_run:
        steering.drain(context.connection, wanted)
    running = Counter(lease.worker_id for lease in book.leases)
    notes = []
    for each in wanted:
        here = [w for w in book.workers.values() if each.means(w.worker_id, w.host, w.device)]
        notes += [
            f"{seen.worker_id} starts nothing more"
            + (", and ends when it has finished what it runs" if running[seen.worker_id] else "")
            for seen in here
        ]
        if not here:
            notes.append(_nobody(each, context))
    return notes


def _nobody(drain: Drain, context: Context) -> str:
    known = steering.known_workers(context.connection)
    hint = ""
    if not any(drain.means(*each) for each in known) and drain.worker:
        names = [name for name, _, _ in known]
        hint = did_you_mean(drain.worker, names + [each.rpartition("-")[2] for each in names])
    return f"{drain}: no such worker is there now{hint}; it holds for those that come"


def _end_drains(meant: selector.Selector, request: protocol.Resume, context: Context) -> list[str]:
    connection = context.connection
    standing = {str(each): each for each in steering.all_drains(connection)}
    named = [str(each) for each in _drains(meant, 0.0)]
    if missing := [each for each in named if each not in standing]:
        stand = "; ".join(standing) or "nothing"
        raise UsageError(f"{missing[0]!r} is not drained; what is drained: {stand}")
    if not request.dry_run:
        steering.end_drains(connection, [standing[each] for each in named])
    return [f"{each}: no longer drained" for each in named]
