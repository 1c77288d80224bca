"""Holding back: the owner's messages that pause phases and drain workers, and end that.

Functions of a request and the transaction's context, some of the notebook too; each says what it
did, and with `dry_run` does nothing but say it.  What is not here: tasks (`steering.py`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Final

from sqlqueue import protocol
from sqlqueue.errors import UsageError
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan import selector
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.selector import EVERYTHING, Condition
from sqlqueue.protocol import SteeredReply
from sqlqueue.store import selecting, steering, wishing
from sqlqueue.store.steering import Drain

OF_WORKERS: Final = ("worker", "host", "device")

log = logging.getLogger("sqlqueue.manager")


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
