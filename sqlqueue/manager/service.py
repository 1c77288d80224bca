"""What each message does: the manager's thinking, without sockets, threads or a clock of its own.

`handle` is one exhaustive match; the rooms beside it hold the verbs.  A verb works inside the
caller's transaction, puts the rows that the CSVs are to get into the context, and leaves whatever
is to happen to the manager's memory for after the commit.  What is not here: committing, time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.errors import NotAuthorised, ProtocolError
from sqlqueue.manager import (
    adding_to,
    handing_out,
    handing_out_many,
    holding,
    importing,
    keeping_touch,
    pruning,
    steering,
    taking_in,
    taking_in_many,
    unlinking,
)
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.protocol import Reply, Request
from sqlqueue.store import memory, reading


def begin(book: Notebook, connection: Connection, now: float) -> None:
    """After a start, and when it is not known what was committed: every attempt that runs gets
    one full lease, and no other has any."""
    book.leases.settle(reading.running(connection), now)


def handle_together(
    book: Notebook, requests: Sequence[Request], context: Context
) -> dict[int, Reply]:
    """Does what messages of one kind ask that can be done in few statements: the answers by their
    places.  Nothing was done of the others.  After an error all of it is to be rolled back."""
    results = [each for each in requests if isinstance(each, protocol.SubmitResult)]
    if results and len(results) == len(requests):
        return taking_in_many.submit_all(book, results, context)
    asked = [each for each in requests if isinstance(each, protocol.RequestTask)]
    if asked and len(asked) == len(requests):
        return handing_out_many.request_all(book, asked, context)
    return {}


def handle(book: Notebook, request: Request, role: str, context: Context) -> Reply:
    """Does what the message asks; raises a `QueueError` when it cannot be done."""
    if role != "owner" and isinstance(request, protocol.OWNER_ONLY):
        raise NotAuthorised(f"only the queue's owner may say {type(request).__name__}")
    match request:
        case protocol.RequestTask():
            return handing_out.request_task(book, request, context)
        case protocol.SubmitResult():
            return taking_in.submit(book, request, context)
        case protocol.TaskFailed():
            return taking_in.fail(book, request, context)
        case protocol.Release():
            return taking_in.release(book, request, context)
        case protocol.Heartbeat():
            return keeping_touch.heartbeat(book, request, context)
        case protocol.Announce():
            return keeping_touch.announce(book, request, context)
        case protocol.AddTasks():
            return adding_to.add_tasks(book, request, context)
        case protocol.PrepareDirectories():
            return adding_to.prepare(book, request, context)
        case protocol.DescribeExperiments():
            known = memory.recall(context.connection, request.names)
            return protocol.ExperimentsReply(experiments=known)
        case protocol.RememberFiles():
            return pruning.remember_files(request, context)
        case protocol.Prune():
            return pruning.prune(request, context)
        case protocol.Retry():
            return steering.retry(request, context)
        case protocol.Cancel():
            return steering.cancel(book, request, context)
        case protocol.Rerun():
            return steering.rerun(request, context)
        case protocol.SetPriority():
            return steering.set_priority(request, context)
        case protocol.Pause() | protocol.Resume() | protocol.Drain():
            return holding.hold(book, request, context)
        case protocol.DescribeTasks():
            return importing.describe_tasks(request, context)
        case protocol.ImportRows():
            return importing.import_rows(book, request, context)
        case protocol.Unlink():
            return unlinking.unlink(book, request, context)
        case protocol.Hello() | protocol.StatusRequest() | protocol.Repair() | protocol.Audit():
            raise ProtocolError(f"{type(request).__name__} is not for the writer")
        case _:
            assert_never(request)
