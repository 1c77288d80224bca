"""Adding to the queue: the owner's messages that `init` is made of.

Functions of the notebook, a request and the transaction's context.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlqueue import protocol
from sqlqueue.errors import ProtocolError
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Reply
from sqlqueue.store import adding, filing, memory, reading
from sqlqueue.store.added import reused

log = logging.getLogger("sqlqueue.manager")


def add_tasks(book: Notebook, request: protocol.AddTasks, context: Context) -> Reply:
    connection = context.connection
    memory.remember(connection, request.experiments, context.wall)
    _know_experiments(request, context)
    if not request.tasks:
        return protocol.AddedReply(phases={}, delivered=0)
    keys = book.claims.keys(connection, (each.output_dir for each in request.tasks))
    seconds = book.estimates.paces(connection, context.now).usually
    added = adding.add(
        connection, request.tasks, keys, context.wall, given=request.given, seconds=seconds,
        shaped=book.shaped,
    )  # fmt: skip
    context.after.append(book.estimates.note)
    if added.due:
        _deliver_known(book, added.due, context)
    cells = {(each.phase, each.signature): each.experiment for each in request.tasks}
    completed = any(each.completed for each in added.phases.values())
    return protocol.AddedReply(
        phases=added.phases,
        delivered=len(added.due),
        reused=reused(connection, cells) if completed else [],
        shared_with=added.shared_with,
    )


def _know_experiments(request: protocol.AddTasks, context: Context) -> None:
    named = sorted({each.experiment for each in request.tasks})
    known = {each.name for each in memory.recall(context.connection, named)} if named else set()
    if missing := [name for name in named if name not in known]:
        raise ProtocolError(
            f"the tasks name the experiment {missing[0]!r}, which this queue does not know; "
            "list it in `experiments`"
        )


def _deliver_known(book: Notebook, due: Sequence[tuple[str, int]], context: Context) -> None:
    """A link to a completed task gets its row at once."""
    spelled = {key: spelling for spelling, key in book.claims.known().items()}
    book.outputs.require((key, spelled.get(key, "")) for _, key in due)
    values = reading.accepted_rows(context.connection, {signature for signature, _ in due})
    for signature, key in due:
        context.rows.setdefault(key, {})[signature] = values[signature]


def prepare(book: Notebook, request: protocol.PrepareDirectories, context: Context) -> Reply:
    if gone := book.claims.restore(context.connection, request.output_dirs):
        book.outputs.rebuild(gone)
    moved = book.claims.claim(
        context.connection, request.output_dirs, context.wall, set_aside=request.set_aside
    )
    return protocol.PreparedReply(set_aside=moved, given=filing.next_given(context.connection))
