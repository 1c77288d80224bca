"""One runner: a device's slot, which runs one task after another in its child.

Promises: the first child comes up while the first task is asked for; a child is kept while it
is fit for the next task, and replaced when it is not; every way in which an attempt can end is
reported, or given back when the worker stops.  A runner is one thread; the heartbeat looks at
`held`.  What is not here: the talk with the manager (`asking.py`), one attempt's watch
(`attempt.py`), signals.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from sqlqueue.errors import EXIT_DONE, EXIT_FAILED, ProtocolError, QueueError
from sqlqueue.plan.headline import headline
from sqlqueue.protocol import Held, TaskReply
from sqlqueue.worker import outcome
from sqlqueue.worker.asking import Asker
from sqlqueue.worker.attempt import Attempt, Cancel, Stop
from sqlqueue.worker.captured import capture
from sqlqueue.worker.children import ChildProcess
from sqlqueue.worker.delivery import Report
from sqlqueue.worker.devices import Device
from sqlqueue.worker.names import Name
from sqlqueue.worker.outcome import COMPLETED, Ending, Order
from sqlqueue.worker.place import Place

log = logging.getLogger("sqlqueue.worker")


class Runner:
    """Runs tasks under one name until there are none left, or the worker stops."""

    def __init__(
        self, name: Name, device: Device, place: Place, asker: Asker,
        environment: dict[str, str], grace_seconds: float,
    ) -> None:  # fmt: skip
        self.name = name
        self.asker = asker
        self.attempt: Attempt | None = None
        self.exit_status = EXIT_DONE
        self.endings: Counter[str] = Counter()
        """How often attempts ended in which way."""
        self._device = device
        self._place = place
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._child: ChildProcess | None = None
        self._put_off: list[Callable[[], None]] = []

    def run(self) -> None:
        """Never raises: what went wrong is logged and in `exit_status`."""
        try:
            self._work()
        except QueueError as error:
            log.error("%s: %s", self.name.label, error.message)
            self.exit_status = error.exit_status
        except Exception:
            log.exception("%s: the runner broke", self.name.label)
            self.exit_status = EXIT_FAILED
        finally:
            self._drop_child()
            self._catch_up()
            self.asker.close()

    def held(self) -> list[Held]:
        """What this runner holds, with how far the running attempt is."""
        return [self._with_progress(each) for each in self.asker.held()]

    def stop(self, stop: Stop) -> None:
        """Wakes a running attempt, which then ends."""
        self._inbox.put(stop)

    def cancel(self, held: Held) -> None:
        """The manager wants a held task no more."""
        self._inbox.put(Cancel(held.task_id, held.attempt or 0))

    def _work(self) -> None:
        with contextlib.suppress(OSError):  # told as soon as one is needed
            self._child = self._new_child("", Path(os.devnull))
        self.asker.introduce()
        task = self.asker.next_task()
        while task is not None:
            task = self._perform(task) or self._next_task()

    def _next_task(self) -> TaskReply | None:
        self._catch_up()
        return self.asker.next_task()

    def _catch_up(self) -> None:
        """What was put off until the device has something to do again."""
        self.asker.settle()
        while self._put_off:
            self._put_off.pop(0)()

    def _perform(self, task: TaskReply) -> TaskReply | None:
        """Runs and reports a task; returns the next one if it came with the ack."""
        try:
            order = self._place.order(task, self.name.text, self._device)
        except ProtocolError as error:
            return self.asker.refuse(task, error.message)
        order, output = capture(order, self._place.spare_logs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(output)
            following = self._run(order, task)
            self._put_off.append(stack.pop_all().close)
        return following

    def _run(self, order: Order, task: TaskReply) -> TaskReply | None:
        try:
            self._ready_child(order)
        except OSError as error:
            self.asker.hand_back(outcome.release(order, None, f"no child process: {error}"), order)
            raise QueueError(f"cannot start a child process: {error}") from error
        return self._attempt(order, task)

    def _attempt(self, order: Order, task: TaskReply) -> TaskReply | None:
        assert self._child is not None
        limit = task.timeout_seconds
        attempt = Attempt(self._child, order, limit, self._grace_seconds, self._inbox)
        log.info("%s: running %s (attempt %d)", self.name.label, order.task_id, order.attempt)
        self.attempt = attempt
        attempt.begin()
        self._catch_up()
        ending = attempt.wait()
        if ending.outcome == outcome.UNAVAILABLE:
            self.asker.cannot_run(order.experiment, headline(ending.error))
        following = self.asker.hand_back(self._report(attempt, ending), order)
        self.attempt = None
        if ending.retire or attempt.child_lost or attempt.why is not None:
            self._drop_child()
        return following

    def _report(self, attempt: Attempt, ending: Ending) -> Report | None:
        """What to tell the manager of it: of what it cancelled, that it is over."""
        self.endings[ending.outcome] += 1
        self._log_ending(attempt.order, ending)
        if attempt.why == "cancel" and ending.outcome != COMPLETED:
            return outcome.release(attempt.order, ending, "cancelled")
        reason = attempt.reason or "the worker stops"
        told = outcome.message(attempt.order, ending)
        return told or outcome.release(attempt.order, ending, reason)

    def _log_ending(self, order: Order, ending: Ending) -> None:
        label, task_id = self.name.label, order.task_id
        if ending.outcome == COMPLETED:
            log.debug("%s: completed %s after %.1f s", label, task_id, ending.seconds)
        elif ending.outcome == outcome.STOPPED:
            log.info("%s: stopped %s", label, task_id)
        else:
            log.warning("%s: %s %s: %s", label, ending.outcome, task_id, headline(ending.error))

    # --- the child --------------------------------------------------------------------

    def _ready_child(self, order: Order) -> None:
        """Keeps the child if it is fit for this order, else starts another."""
        if self._child is not None and not self._child.fit_for(order.experiment):
            self._drop_child()
        if self._child is None:
            self._child = self._new_child(order.experiment, Path(order.log))

    def _new_child(self, experiment: str, log: Path) -> ChildProcess:
        return ChildProcess(self._place.root, experiment, self._environment, log, self._inbox)

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _with_progress(self, held: Held) -> Held:
        attempt = self.attempt
        if attempt is None or attempt.progress is None:
            return held
        if (held.task_id, held.attempt) != (attempt.order.task_id, attempt.order.attempt):
            return held
        said = attempt.progress
        return msgspec.structs.replace(held, step=said.step, total=said.total, metrics=said.metrics)
