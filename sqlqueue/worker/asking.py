"""One worker name's talk with the manager: ask for a task, hand back what came of it.

Promises: a report and the next request travel together, so that both share one commit and
the device does not wait; a request that got no answer is repeated under its own id; what
was given out is known here from the instant of its answer until its report is acked or
kept (`delivery.py`), so that an announcement never gives away a task just received.  What
is not here: running anything.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from sqlqueue.errors import ExperimentError, ManagerUnreachable, ProtocolError, QueueError
from sqlqueue.protocol import (
    Announce,
    Held,
    NoTask,
    Release,
    Reply,
    RequestTask,
    SubmitResult,
    TaskFailed,
    TaskReply,
)
from sqlqueue.worker.client import Client, wait_for_manager
from sqlqueue.worker.delivery import Delivery, Report
from sqlqueue.worker.devices import Device
from sqlqueue.worker.limit import TimeLimit
from sqlqueue.worker.names import Name, host
from sqlqueue.worker.outcome import Order
from sqlqueue.worker.place import Place
from sqlqueue.worker.unable import Unable

POLL_SECONDS: Final = 20.0
FIRST_POLL_SECONDS: Final = 1.0
"""So soon a worker without a task hears, and tells, what its tasks wait for."""
PAUSE_SECONDS: Final = 1.0
"""Between two questions that were answered at once: never a busy loop."""
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0

Answer = TypeVar("Answer")

log = logging.getLogger("sqlqueue.worker")


class Asker:
    """Used by its runner's thread; `announce` and `reserve` by others too."""

    def __init__(
        self, place: Place, delivery: Delivery, name: Name, device: Device,
        stop: threading.Event, *, wait: bool, lease_seconds: float,
        limit: TimeLimit | None = None,
    ) -> None:  # fmt: skip
        self.polling = False
        self.given: TaskReply | None = None
        self._delivery = delivery
        self._name = name
        self._device = device
        self._stop = stop
        self._wait = wait
        self._lease_seconds = lease_seconds
        self._limit = limit
        self._unable = Unable(place.root)
        self._reserved: str | None = None
        self._reserved_during: TaskReply | None = None
        self._unanswered: str | None = None
        self._waits = ""
        self._due: Callable[[], None] | None = None
        self._client = place.client()
        self._lock = threading.Lock()  # held while a task may be on its way to us

    def close(self) -> None:
        self._client.close()

    def held(self) -> list[Held]:
        """What stands in this name: the task given, and reports that nobody took yet."""
        given = self.given
        found = [] if given is None else [Held(task_id=given.task_id, attempt=given.attempt)]
        waiting = self._delivery.of(self._name.text)
        return found + [Held(task_id=each.task_id, attempt=each.attempt) for each in waiting]

    def introduce(self) -> None:
        """Says who this is, as soon as there is a manager."""
        with self._lock:
            self._insist(lambda: self._client.announce(self.announcement()))

    def announce(self, client: Client) -> None:
        """Says again what is held, unless an answer is just awaited (it will settle that)."""
        if self._lock.acquire(blocking=False):
            try:
                client.announce(self.announcement())
            finally:
                self._lock.release()

    def reserve_once(self, client: Client) -> None:
        """While a task runs, asks which could be next; that one stays free for others."""
        given = self.given
        if given is not None and given is not self._reserved_during:
            self._reserved_during = given
            reply = client.request_task(self._request(0.0, reserve=True))
            self._reserved = reply.task_id if isinstance(reply, TaskReply) else None

    def next_task(self) -> TaskReply | None:
        """Waits for a task; None when there is nothing left to do, or the worker stops."""
        wait_seconds = FIRST_POLL_SECONDS
        while not self._stop.is_set():
            begun = time.monotonic()
            unable = self._unable.now(begun)
            with self._lock:
                answer = self._poll(0.0 if unable and not self._wait else wait_seconds)
            # Of a time limit the manager knows what was left when it was asked.
            wait_seconds = POLL_SECONDS if self._limit is None else FIRST_POLL_SECONDS
            if not isinstance(answer, NoTask):
                return answer
            if self._is_to_end(answer):
                return None
            if answer.done and not self._wait:
                return None
            if unable and not self._wait:
                raise ExperimentError(self._unable.told(unable))
            if time.monotonic() - begun < PAUSE_SECONDS:
                self._stop.wait(PAUSE_SECONDS)
        return None

    def _is_to_end(self, answer: NoTask) -> bool:
        """Tells a person what waits, once, or why this worker ends although there is more."""
        if answer.waits and answer.waits != self._waits:
            log.warning("%s: %s", self._name.label, answer.waits)
        self._waits = answer.waits
        if answer.end:
            log.warning("%s: ends: %s", self._name.label, answer.end)
        return bool(answer.end)

    def hand_back(self, report: Report | None, order: Order | None) -> TaskReply | None:
        """Reports, and asks for the next task in the same breath; None when none came at once.

        `order`: whose report it is, if it was ever an order.
        """
        self.settle()
        with self._lock:
            ask = [] if self._stop.is_set() else [self._request(0.0)]
            reports = [] if report is None else [report]
            answers = self._client.pipeline([*reports, *ask])
            if report is not None:
                self._due = partial(self._delivery.settle, report, answers[0], order)
                self._log(report, answers[0])
                if isinstance(answers[0], QueueError):
                    self.settle()  # it is held all the while
            self.given = None
            if ask and isinstance(answers[-1], QueueError):
                self._unanswered = ask[0].request_id
            return self._take(answers[-1]) if ask else None

    def settle(self) -> None:
        """Removes what an acked report left on a disk: the next run need not wait for that."""
        if self._due is not None:
            due, self._due = self._due, None
            due()

    def cannot_run(self, experiment: str, why: str) -> None:
        """No task of that experiment is asked for, for a while."""
        self._reserved = None
        self._unable.note(experiment, why, time.monotonic())

    def _log(self, report: Report, answer: Reply | QueueError) -> None:
        if not isinstance(answer, QueueError):
            done = {SubmitResult: "submitted", Release: "gave back"}.get(type(report), "reported")
            log.info("%s: %s %s", self._name.label, done, report.task_id)

    def refuse(self, task: TaskReply, error: str) -> TaskReply | None:
        """Reports a task that cannot be run at all, and asks for the next."""
        report = TaskFailed(
            task_id=task.task_id, worker_id=self._name.text, attempt=task.attempt, error=error
        )
        return self.hand_back(report, None)

    def _poll(self, wait_seconds: float) -> TaskReply | NoTask | None:
        request = self._request(wait_seconds)
        self.polling = True
        try:
            answer = self._insist(lambda: self._client.request(request))
        finally:
            self.polling = False
        if answer is not None:
            self._unanswered = None
        return answer if isinstance(answer, NoTask) else self._take(answer)

    def _take(self, answer: Reply | QueueError | None) -> TaskReply | None:
        """The task in an answer, known as held from now on; errors are met by asking again."""
        if isinstance(answer, TaskReply):
            self.given = answer
            return answer
        if answer is None or isinstance(answer, NoTask):
            return None
        if isinstance(answer, QueueError):
            if not answer.retryable:
                raise answer
            return None
        raise ProtocolError(f"a task was asked for; the manager sent a {type(answer).__name__}")

    def _insist(self, ask: Callable[[], Answer]) -> Answer | None:
        """What `ask` returns, repeated while that may help; None when the worker stops."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                return ask()
            except QueueError as error:
                if not error.retryable:
                    raise
                self._wait_out(error, pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        return None

    def _wait_out(self, error: QueueError, pause_seconds: float) -> None:
        """Until a manager takes a connection again; then what is undelivered goes first."""
        self._stop.wait(pause_seconds)
        if isinstance(error, ManagerUnreachable):
            wait_for_manager(self._client, self._stop, self._notify)
            self._delivery.flush(self._client)

    def _notify(self, why: str) -> None:
        log.warning("%s: waiting for a manager: %s", self._name.label, why)

    def _request(self, wait_seconds: float, reserve: bool = False) -> RequestTask:
        wanted, self._reserved = (None, self._reserved) if reserve else (self._reserved, None)
        return RequestTask(
            worker_id=self._name.text,
            worker_type=self._device.worker_type,
            wait=wait_seconds,
            request_id=(None if reserve else self._unanswered) or uuid.uuid4().hex,
            lease_seconds=self._lease_seconds,
            host=host(),
            device=self._device.reported,
            reserve=reserve,
            want=wanted,
            without=self._unable.now(time.monotonic()),
            left_seconds=None if self._limit is None else self._limit.left_seconds(),
            limit_seconds=None if self._limit is None else self._limit.seconds,
        )

    def announcement(self) -> Announce:
        """Who this is, and all that it holds."""
        return Announce(
            worker_id=self._name.text,
            worker_type=self._device.worker_type,
            host=host(),
            device=self._device.reported,
            pid=os.getpid(),
            holds=self.held(),
        )
