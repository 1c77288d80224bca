"""Pruning: what no sweep file wants any more is found, and withdrawn where it waits.

Functions of a request and the transaction's context.  Running and completed tasks are left alone,
and so is a cell that another phase wants.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict

from sqlqueue import protocol
from sqlqueue.lifecycle import State
from sqlqueue.manager.notebook import Context
from sqlqueue.store import filing, selecting, steering
from sqlqueue.store.selecting import Chosen

log = logging.getLogger("sqlqueue.manager")


def remember_files(request: protocol.RememberFiles, context: Context) -> protocol.FilesReply:
    found = filing.stands(context.connection, request.files)
    filing.remember(context.connection, request.files)
    return protocol.FilesReply(phases=found)


def prune(request: protocol.Prune, context: Context) -> protocol.PrunedReply:
    connection = context.connection
    found, following = filing.gone(connection, request.phases, request.given, request.after)
    shared = 0
    if not request.dry_run:
        waiting = {
            name: [each for each in chosen if each.state is State.PENDING]
            for name, chosen in found.items()
        }
        shared = _withdraw(waiting, context)
    counts = {name: Counter(each.state.value for each in chosen) for name, chosen in found.items()}
    phases = {name: dict(states) for name, states in counts.items()}
    return protocol.PrunedReply(phases=phases, shared=shared, next=following)


def _withdraw(waiting: dict[str, list[Chosen]], context: Context) -> int:
    """The wishes end, and with the last one of a task the task; returns how many go on.

    Of one that was to run once more the rerun ends; its result, and the wish for it, stay.
    """
    connection = context.connection
    keys = selecting.phase_keys(connection)
    pruned: dict[str, set[int]] = defaultdict(set)
    for name, chosen in waiting.items():
        plain = [each for each in chosen if not each.again]
        if plain:
            steering.withdraw(connection, plain, {keys[name]})
        for each in chosen:
            pruned[each.signature].add(keys[name])
    tasks = {each.signature: each for chosen in waiting.values() for each in chosen}
    wanted = steering.wanted_by(connection, list(tasks.values()))
    unwanted = [each for key, each in tasks.items() if wanted.get(key, set()) <= pruned[key]]
    steering.cancel(connection, unwanted)
    if tasks:
        context.after.append(
            lambda: log.info("Withdrawn, in no file any more: %d tasks", len(unwanted))
        )
    return len(tasks) - len(unwanted)
