"""Handing out to a batch of requests together: read at once, chosen one by one, written at once.

Only what is plain: a worker that is to go on, has no time limit and takes any experiment, asks for
tasks to run, and there are so many.  Every other is left to `handing_out.request_task`.  Promises:
who gets what is the same either way.  Functions of the notebook, requests and the transaction's
context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice

from sqlqueue.logs import together
from sqlqueue.manager.handing_out import report_of, task_reply
from sqlqueue.manager.notebook import Context, Notebook
from sqlqueue.plan.command import Command
from sqlqueue.protocol import Reply, RequestTask, TaskReply, TasksReply
from sqlqueue.store import memory, reading, starting, steering
from sqlqueue.store.reading import Attempt
from sqlqueue.store.starting import Free, Start

Chosen = dict[int, list[Free]]
"""What each request gets, by its place."""

log = logging.getLogger("sqlqueue.manager")


def request_all(
    book: Notebook, requests: Sequence[RequestTask], context: Context
) -> dict[int, Reply]:
    """Hands out to those that are plain: the answers by their places in `requests`."""
    connection = context.connection
    if steering.is_queue_paused(connection) or starting.any_drain(connection):
        return {}
    ids = [each.request_id for each in requests if each.request_id is not None]
    before = starting.asked_before(connection, ids)
    plain: dict[int, RequestTask] = {}
    for place, each in enumerate(requests):
        asked = (each.worker_id, each.request_id or str(place))
        if _is_plain(each) and asked not in before:
            plain[place] = each
            before.add(asked)
        if not each.reserve:
            book.leases.left(each.worker_id)
    chosen = _choose(book, plain, context)
    return _begin(book, requests, chosen, context) if chosen else {}


def _is_plain(request: RequestTask) -> bool:
    return not (request.reserve or request.without or request.left_seconds is not None)


def _choose(book: Notebook, plain: dict[int, RequestTask], context: Context) -> Chosen:
    """What each gets: what it reserved, else the first in order; no more from where there is not
    enough for one."""
    wishes = {each.want for each in plain.values() if each.want is not None}
    names = wishes - book.leases.leaving
    wanted = starting.wanted(context.connection, names)
    shelf = _Shelf(book, plain.values(), context)
    found: dict[int, Free] = {}
    picked: dict[int, list[int]] = {}
    for place, request in plain.items():
        free = wanted.pop(request.want, None) if request.want is not None else None
        if free is not None and shelf.take(free.key):
            book.reservations.end(free.task.task_id)
            found[free.key] = free
            picked[place] = [free.key]
        elif keys := shelf.pick(request):
            picked[place] = keys
        else:
            break
    rest = [key for each in picked.values() for key in each if key not in found]
    found |= starting.by_key(context.connection, rest)
    return {place: [found[key] for key in each] for place, each in picked.items()}


class _Shelf:
    """The tasks that wait, in the two orders in which workers take them."""

    def __init__(self, book: Notebook, requests: Collection[RequestTask], context: Context) -> None:
        self._reservations = book.reservations
        self._context = context
        self._reserved = book.reservations.count(context.now)
        self._leaving = book.leases.leaving
        self._most = sum(each.count for each in requests) + self._reserved + len(self._leaving)
        self._pending: dict[str, list[tuple[int, str]]] = {}
        self._taken: set[int] = set()

    def take(self, key: int) -> bool:
        """Takes that one, unless it is taken."""
        is_free = key not in self._taken
        self._taken.add(key)
        return is_free

    def pick(self, request: RequestTask) -> list[int]:
        """Takes the first ones for a request, by key; none unless there are as many."""
        kind = request.worker_type
        if kind not in self._pending:
            connection, smallest = self._context.connection, kind == "cpu"
            found = reading.candidates(connection, smallest, self._most)
            self._pending[kind] = [each for each in found if each[1] not in self._leaving]
        left = (each for each in self._pending[kind] if each[0] not in self._taken)
        head = list(islice(left, request.count + self._reserved))
        if len(head) < request.count:
            return []
        keys = self._reservations.choose(head, request, self._context.now)
        self._taken.update(keys)
        if not self._reserved:  # then all before the last one is taken
            self._pending[kind] = self._pending[kind][request.count :]
        return keys


def _begin(
    book: Notebook, requests: Sequence[RequestTask], chosen: Chosen, context: Context
) -> dict[int, Reply]:
    starts = {place: _starts(requests[place], frees, context) for place, frees in chosen.items()}
    flat = [each for some in starts.values() for each in some]
    for place in chosen:
        asker = requests[place]
        book.hear(asker.worker_id, context, asker.host, asker.device, asker.worker_type)
    attempts = iter(starting.begin(context.connection, flat))
    command_of = _commands(context)
    replies: dict[int, Reply] = {}
    begun: list[Attempt] = []
    for place, some in starts.items():
        tasks: list[TaskReply] = []
        for each in some:
            begun.append(next(attempts))
            task = each.free.task
            command = command_of(task.experiment)
            tasks.append(task_reply(task, begun[-1], each.free.directories, command))
        one = requests[place].count == 1
        replies[place] = tasks[0] if one else TasksReply(tasks=tasks)
    context.after.append(partial(_afterwards, book, begun, context.now))
    return replies


def _starts(request: RequestTask, frees: Sequence[Free], context: Context) -> list[Start]:
    report = report_of(request, context)
    return [Start(each, report, request.request_id, request.lease_seconds) for each in frees]


def _commands(context: Context) -> Callable[[str], Command | None]:
    known: dict[str, Command | None] = {}

    def command_of(experiment: str) -> Command | None:
        if experiment not in known:
            known[experiment] = memory.command_of(context.connection, experiment)
        return known[experiment]

    return command_of


def _afterwards(book: Notebook, begun: Sequence[Attempt], now: float) -> None:
    lines = []
    for each in begun:
        book.leases.grant(each, now)
        lines.append(f"Task {each.task_id} goes to {each.worker_id} (attempt {each.number})")
    together(log, lines)
