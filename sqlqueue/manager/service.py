"""What each message does: the manager's thinking, without sockets, threads or a clock of its own.

`handle` is one exhaustive match.  It works inside the caller's transaction, puts the rows that
the CSVs are to get into the context, and leaves whatever is to happen to the manager's memory
(leases, log lines) for after the commit.  What is not here: committing, the CSVs, time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.errors import IllegalMove, NotAuthorised, ProtocolError, UnknownTask
from sqlqueue.lifecycle import Outcome, State
from sqlqueue.manager.leases import Leases
from sqlqueue.manager.reservations import Reservations
from sqlqueue.plan.rows import apart_from, flatten
from sqlqueue.protocol import Ack, Reply, Request, TaskReply
from sqlqueue.store import adding, memory, queue, reading
from sqlqueue.store.csv_file import NAME
from sqlqueue.store.directories import Claims
from sqlqueue.store.outputs import Outputs, Values
from sqlqueue.store.queue import Report
from sqlqueue.store.reading import Attempt, TaskRow

log = logging.getLogger("sqlqueue.manager")


@dataclass(slots=True)
class Context:
    """One message's share of a transaction.

    `now`: monotonic; `wall`: seconds since 1970, for people.  `rows`: what each directory's CSV
    gets.  `after`: what to do once the commit is durable.
    """

    connection: Connection
    now: float
    wall: float
    rows: dict[int, list[Values]] = field(default_factory=dict)
    after: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class WorkerSeen:
    """A worker as the manager last heard of it."""

    worker_id: str
    host: str
    device: str
    worker_type: str
    heard: float


class Service:
    """Knows every running attempt, every reservation and every worker."""

    def __init__(self, outputs: Outputs, claims: Claims) -> None:
        self.outputs = outputs
        self.claims = claims
        self.leases = Leases()
        self.reservations = Reservations()
        self.workers: dict[str, WorkerSeen] = {}

    def begin(self, connection: Connection, now: float) -> None:
        """After a start: every running attempt gets one full lease."""
        for attempt in reading.running(connection):
            self.leases.grant(attempt, now)

    def handle(self, request: Request, role: str, context: Context) -> Reply:
        """Does what the message asks; raises a `QueueError` when it cannot be done."""
        if role != "owner" and isinstance(request, protocol.OWNER_ONLY):
            raise NotAuthorised(f"only the queue's owner may say {type(request).__name__}")
        match request:
            case protocol.RequestTask():
                return self._request_task(request, context)
            case protocol.SubmitResult():
                return self._submit(request, context)
            case protocol.TaskFailed():
                return self._fail(request, context)
            case protocol.Release():
                return self._release(request, context)
            case protocol.Heartbeat():
                return self._heartbeat(request, context)
            case protocol.Announce():
                return self._announce(request, context)
            case protocol.AddTasks():
                return self._add_tasks(request, context)
            case protocol.PrepareDirectories():
                return self._prepare(request, context)
            case protocol.DescribeExperiments():
                known = memory.recall(context.connection, request.names)
                return protocol.ExperimentsReply(experiments=known)
            case protocol.Hello() | protocol.StatusRequest() | protocol.Repair():
                raise ProtocolError(f"{type(request).__name__} is not for the writer")
            case _:
                assert_never(request)

    # --- handing out ------------------------------------------------------------------

    def _request_task(self, request: protocol.RequestTask, context: Context) -> Reply:
        self._hear(request.worker_id, context, request.host, request.device, request.worker_type)
        tasks = self._asked_before(request, context) or self._chosen(request, context)
        if not tasks:
            return protocol.NoTask(done=self.done(context.connection))
        return tasks[0] if request.count == 1 else protocol.TasksReply(tasks=tasks)

    def _asked_before(self, request: protocol.RequestTask, context: Context) -> list[TaskReply]:
        """The same answer again, when the first was lost on its way."""
        if request.request_id is None or request.reserve:
            return []
        found = reading.requested(context.connection, request.worker_id, request.request_id)
        replies = []
        for attempt in found:
            task = reading.find(context.connection, attempt.task_id)
            assert task is not None
            self._after_grant(attempt, context)
            replies.append(self._task_reply(task, attempt, context))
        return replies

    def _chosen(self, request: protocol.RequestTask, context: Context) -> list[TaskReply]:
        replies = []
        for task in self._pick(request, context):
            if request.reserve:
                replies.append(self._task_reply(task, None, context))
            else:
                replies.append(self._begin_attempt(task, request, context))
        return replies

    def _pick(self, request: protocol.RequestTask, context: Context) -> list[TaskRow]:
        """The tasks for this request: its own reservation, else the first in order."""
        connection, wanted = context.connection, request.want
        if wanted is not None and not request.reserve:
            task = reading.find(connection, wanted)
            if task is not None and task.state is State.PENDING:
                self.reservations.end(wanted)
                return [task]
        smallest = request.worker_type == "cpu"
        limit = request.count + self.reservations.count(context.now)
        pending = reading.candidates(connection, smallest, limit)
        keys = self.reservations.choose(pending, request, context.now)
        found = [reading.task_by_key(connection, key) for key in keys]
        return [task for task in found if task is not None]

    def _begin_attempt(
        self, task: TaskRow, request: protocol.RequestTask, context: Context
    ) -> TaskReply:
        report = Report(
            worker_id=request.worker_id,
            now=context.wall,
            host=request.host,
            device=request.device,
            code_version=request.code_version,
        )
        attempt = queue.claim(
            context.connection,
            task,
            report,
            request_id=request.request_id,
            lease_seconds=request.lease_seconds,
        )
        self._after_grant(attempt, context)
        context.after.append(
            lambda: log.info(
                "Task %s goes to %s (attempt %d)", task.task_id, attempt.worker_id, attempt.number
            )
        )
        return self._task_reply(task, attempt, context)

    def _task_reply(self, task: TaskRow, attempt: Attempt | None, context: Context) -> TaskReply:
        paths = [path for _, path in reading.directories_of(context.connection, task.signature)]
        return TaskReply(
            task_id=task.task_id,
            attempt=attempt.number if attempt else 0,
            phase=task.phase,
            experiment=task.experiment,
            config=task.parameters,
            seed=task.seed,
            output_dir=paths[0] if paths else "",
            output_dirs=paths,
            lease_seconds=attempt.lease_seconds if attempt else protocol.LEASE_SECONDS,
            signature=task.signature,
            timeout_seconds=task.timeout_seconds,
        )

    @staticmethod
    def done(connection: Connection) -> bool:
        """Whether every task is finished; an empty queue is not done but waiting."""
        return not reading.unfinished(connection) and reading.any_task(connection)

    # --- taking in ---------------------------------------------------------------------

    def _submit(self, request: protocol.SubmitResult, context: Context) -> Reply:
        connection = context.connection
        self._hear(request.worker_id, context)
        task = self._find(request.task_id, context, request.signature)
        metrics, renamed = apart_from(flatten(request.result_data), task.fixed)
        text = json.dumps(metrics)
        held = reading.attempts_of(connection, task.signature)
        attempt = reading.matching(held, request.attempt, request.worker_id)
        stored = reading.results_of(connection, task.signature)
        if _known(stored, text, attempt, task):
            return Ack()
        if attempt is not None and any(key == attempt.id for key, _, _ in stored):
            attempt = None  # that attempt has another result already: this is a further one
        report = _report(request, context)
        if task.state is State.COMPLETED:
            attempt = self._end(task, attempt, Outcome.SUPERSEDED, report, context)
            queue.keep_result(connection, task, attempt, text)
            context.after.append(lambda: _log_further(task, request.worker_id))
            return Ack()
        self._complete(task, attempt, held, text, metrics, report, context)
        for name in renamed:
            context.after.append(lambda name=name: _log_renamed(task, name))  # type: ignore[misc]
        return Ack()

    def _complete(
        self,
        task: TaskRow,
        attempt: Attempt | None,
        held: Sequence[Attempt],
        text: str,
        metrics: dict[str, Any],
        report: Report,
        context: Context,
    ) -> None:
        """A result wins: the task is completed and its row goes into every linked CSV."""
        directories = reading.directories_of(context.connection, task.signature)
        self.outputs.require(directories)
        attempt = self._end(task, attempt, Outcome.COMPLETED, report, context)
        for other in held:
            if other.outcome is None and other.id != attempt.id:
                self._end(
                    task, other, Outcome.SUPERSEDED, Report(other.worker_id, context.wall), context
                )
        queue.complete(context.connection, task, attempt, text)
        values = task.fixed | metrics
        for key, _ in directories:
            context.rows.setdefault(key, []).append(values)
        context.after.append(lambda: _log_saved(task, [path for _, path in directories]))

    def _end(
        self,
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
        self._after_drop(attempt, context)
        return attempt

    def _fail(self, request: protocol.TaskFailed, context: Context) -> Reply:
        self._hear(request.worker_id, context)
        task = self._find(request.task_id, context)
        attempt = self._attempt_of(task, request.attempt, request.worker_id, context)
        if attempt.outcome is None:
            outcome = Outcome(request.outcome)
            report = _report(request, context)
            state = queue.fail(context.connection, task, attempt, outcome, report)
            self._after_drop(attempt, context)
            context.after.append(lambda: _log_failed(task, attempt, outcome, state, request.error))
        return Ack()

    def _release(self, request: protocol.Release, context: Context) -> Reply:
        self._hear(request.worker_id, context)
        task = self._find(request.task_id, context)
        attempt = self._attempt_of(task, request.attempt, request.worker_id, context)
        if attempt.outcome is None:
            self._give_back(task, attempt, request.reason or "released", context)
        return Ack()

    def _give_back(self, task: TaskRow, attempt: Attempt, reason: str, context: Context) -> None:
        report = Report(attempt.worker_id, context.wall, error=reason)
        queue.release(context.connection, task, attempt, report)
        self._after_drop(attempt, context)
        context.after.append(
            lambda: log.info("Task %s was given back by %s", task.task_id, attempt.worker_id)
        )

    # --- keeping in touch -----------------------------------------------------------------

    def _heartbeat(self, request: protocol.Heartbeat, context: Context) -> Reply:
        self._hear(request.worker_id, context)
        held = [
            each if isinstance(each, protocol.Held) else protocol.Held(task_id=each)
            for each in request.tasks
        ]
        cancel = [
            each.task_id for each in held if not self._renew(each, request.worker_id, context)
        ]
        return Ack(cancel=cancel)

    def _renew(self, held: protocol.Held, worker_id: str, context: Context) -> bool:
        """Renews a lease, or takes up an attempt again that was thought lost."""
        lease = self.leases.renew(held.task_id, worker_id, held.attempt, context.now)
        if lease is not None:
            if held.step is not None:
                lease.step, lease.total, lease.metrics = held.step, held.total, held.metrics
            return True
        task = reading.find(context.connection, held.task_id)
        if task is None:
            return True  # another queue's, or a restored database: its result is still welcome
        attempts = reading.attempts_of(context.connection, task.signature)
        attempt = reading.matching(attempts, held.attempt, worker_id)
        if attempt is None or task.state is not State.PENDING:
            return False
        if attempt.outcome not in (Outcome.LOST, Outcome.RELEASED):
            return False
        queue.resume(context.connection, task, attempt)
        self._after_grant(attempt, context)
        return True

    def _announce(self, request: protocol.Announce, context: Context) -> Reply:
        self._hear(request.worker_id, context, request.host, request.device, request.worker_type)
        queue.announce(
            context.connection,
            {
                "worker_id": request.worker_id,
                "host": request.host,
                "device": request.device,
                "worker_type": request.worker_type,
                "pid": request.pid,
                "announced_at": context.wall,
            },
        )
        holds = {(each.task_id, each.attempt) for each in request.holds}
        for attempt in reading.running_of_worker(context.connection, request.worker_id):
            if not holds & {(attempt.task_id, attempt.number), (attempt.task_id, None)}:
                task = self._find(attempt.task_id, context)
                self._give_back(task, attempt, "its worker started anew without it", context)
        held = protocol.Heartbeat(worker_id=request.worker_id, tasks=list(request.holds))
        return self._heartbeat(held, context)

    def expire(self, context: Context) -> int:
        """Ends the attempts whose lease is over; returns how many."""
        lapsed = self.leases.lapsed(context.now)
        for attempt in lapsed:
            task = reading.find(context.connection, attempt.task_id)
            self._after_drop(attempt, context)
            if task is None or task.state is not State.RUNNING:
                continue
            self._lose(task, attempt, context)
        return len(lapsed)

    def _lose(self, task: TaskRow, attempt: Attempt, context: Context) -> None:
        error = f"not heard of for {attempt.lease_seconds:g} s"
        report = Report(attempt.worker_id, context.wall, error=error)
        state = queue.fail(context.connection, task, attempt, Outcome.LOST, report)
        context.after.append(lambda: _log_failed(task, attempt, Outcome.LOST, state, error))

    # --- the owner's -------------------------------------------------------------------------

    def _add_tasks(self, request: protocol.AddTasks, context: Context) -> Reply:
        connection = context.connection
        memory.remember(connection, request.experiments, context.wall)
        if not request.tasks:
            return protocol.AddedReply(phases={}, delivered=0)
        keys = self.claims.keys(connection, (each.output_dir for each in request.tasks))
        counts, due = adding.add(connection, request.tasks, keys, context.wall)
        if due:
            self._deliver_known(due, context)
        return protocol.AddedReply(phases=counts, delivered=len(due))

    def _deliver_known(self, due: Sequence[tuple[str, int]], context: Context) -> None:
        """A link to a completed task gets its row at once."""
        spelled = {key: spelling for spelling, key in self.claims.known().items()}
        self.outputs.require((key, spelled.get(key, "")) for _, key in due)
        values = reading.accepted_rows(context.connection, {signature for signature, _ in due})
        for signature, key in due:
            context.rows.setdefault(key, []).append(values[signature])

    def _prepare(self, request: protocol.PrepareDirectories, context: Context) -> Reply:
        moved = self.claims.claim(
            context.connection, request.output_dirs, context.wall, set_aside=request.set_aside
        )
        return protocol.PreparedReply(set_aside=moved)

    # --- small things ----------------------------------------------------------------------------

    def _find(self, task_id: str, context: Context, signature: str | None = None) -> TaskRow:
        task = reading.find(context.connection, task_id, signature)
        if task is None:
            raise UnknownTask(f"no task {signature or task_id!r} in this queue")
        return task

    def _attempt_of(
        self, task: TaskRow, number: int | None, worker_id: str, context: Context
    ) -> Attempt:
        held = reading.attempts_of(context.connection, task.signature)
        attempt = reading.matching(held, number, worker_id)
        if attempt is None:
            raise IllegalMove(f"{worker_id} never held {task.task_id}; request a task first")
        return attempt

    def _after_grant(self, attempt: Attempt, context: Context) -> None:
        context.after.append(lambda: self.leases.grant(attempt, context.now))

    def _after_drop(self, attempt: Attempt, context: Context) -> None:
        context.after.append(lambda: self.leases.drop(attempt))

    def _hear(
        self, worker_id: str, context: Context, host: str = "", device: str = "", kind: str = ""
    ) -> None:
        seen = self.workers.pop(worker_id, None) or WorkerSeen(worker_id, "", "", "gpu", 0.0)
        seen.host, seen.device = host or seen.host, device or seen.device
        seen.worker_type, seen.heard = kind or seen.worker_type, context.now
        self.workers[worker_id] = seen
        if len(self.workers) > 10_000:
            del self.workers[next(iter(self.workers))]


def _known(
    stored: Sequence[tuple[int, str, bool]], text: str, attempt: Attempt | None, task: TaskRow
) -> bool:
    """Whether exactly this result is stored already."""
    if task.state is State.COMPLETED:
        return any(metrics == text for _, metrics, _ in stored)
    own = attempt.id if attempt is not None else None
    return any(key == own and metrics == text for key, metrics, _ in stored)


def _report(request: protocol.SubmitResult | protocol.TaskFailed, context: Context) -> Report:
    return Report(
        worker_id=request.worker_id,
        now=context.wall,
        host=request.host,
        device=request.device,
        seconds=request.seconds,
        code_version=request.code_version,
        log_file=request.log_file,
        error=request.error if isinstance(request, protocol.TaskFailed) else None,
    )


def _log_saved(task: TaskRow, paths: list[str]) -> None:
    for path in paths:
        log.info("Saved result for %s to %s/%s", task.task_id, path, NAME)
    noun = "directory" if len(paths) == 1 else "directories"
    log.info("Result saved to %d %s for task %s", len(paths), noun, task.task_id)


def _log_further(task: TaskRow, worker_id: str) -> None:
    log.warning(
        "Another result for the completed task %s came from %s: kept, not a second row",
        task.task_id,
        worker_id,
    )


def _log_renamed(task: TaskRow, name: str) -> None:
    log.warning(
        "Task %s returned %s with another value than its parameter: stored as %s_returned",
        task.task_id,
        name,
        name,
    )


def _log_failed(
    task: TaskRow, attempt: Attempt, outcome: Outcome, state: State, error: str
) -> None:
    last = (error.strip().splitlines() or [""])[-1]
    then = "it runs again" if state is State.PENDING else f"it is {state} now"
    log.warning(
        "Task %s attempt %d on %s: %s: %s; %s",
        task.task_id,
        attempt.number,
        attempt.worker_id,
        outcome,
        last,
        then,
    )
