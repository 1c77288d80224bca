"""The line to the manager while children run: heartbeats, and what is undelivered.

Two threads, so that a report which takes its time never delays a heartbeat.  A heartbeat
goes out every quarter of the lease (15 s at most), earlier when progress changed; the
first failure is a warning, the rest is silence; when the manager is back, every runner
says again what it holds.  What is not here: what to do with a cancelled attempt.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import UNSET

from sqlqueue.errors import QueueError
from sqlqueue.protocol import HEARTBEAT_SECONDS, Ack, Heartbeat, Held
from sqlqueue.worker.client import Client
from sqlqueue.worker.delivery import Delivery
from sqlqueue.worker.runner import Runner

TICK_SECONDS: Final = 2.0
"""How often progress may pass: `status` feels alive, and a beat costs a fraction of a ms."""
FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 30.0

log = logging.getLogger("sqlqueue.worker")


class Courier:
    """Offers what is undelivered again and again, ever less often."""

    def __init__(self, client: Client, delivery: Delivery) -> None:
        self._client = client
        self._delivery = delivery
        self._pause_seconds = FIRST_RETRY_SECONDS

    def hurry(self) -> None:
        """The next try is soon."""
        self._pause_seconds = FIRST_RETRY_SECONDS
        self._delivery.grew.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if self._delivery.count() == 0:
                self._delivery.grew.wait()
                self._delivery.grew.clear()
                self._pause_seconds = FIRST_RETRY_SECONDS
            stop.wait(self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_RETRY_SECONDS)
            self._delivery.flush(self._client)
        self._client.close()


class Beater:
    """Renews the leases of all runners of this process."""

    def __init__(
        self, client: Client, runners: Sequence[Runner], lease_seconds: float, courier: Courier
    ) -> None:
        self._client = client
        self._runners = runners
        self._interval_seconds = min(HEARTBEAT_SECONDS, lease_seconds / 4)
        self._courier = courier
        self._said: dict[str, tuple[list[Held], float]] = {}
        self._away = False

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; never raises what a manager could cause."""
        while not stop.wait(min(TICK_SECONDS, self._interval_seconds)):
            self.beat(time.monotonic())
        self._client.close()

    def beat(self, now: float) -> None:
        """Says what is due."""
        holding = [(each, each.held()) for each in self._runners]
        due = [(each, held) for each, held in holding if self._is_due(each.name.text, held, now)]
        beats = [Heartbeat(worker_id=each.name.text, tasks=list(held)) for each, held in due]
        answers = self._client.pipeline(beats) if beats else []
        for (runner, held), answer in zip(due, answers, strict=True):
            self._said[runner.name.text] = (held, now)
            self._hear(runner, held, answer)

    def _is_due(self, name: str, held: list[Held], now: float) -> bool:
        """Something is held, and it was not said lately, or it went further since."""
        said, at = self._said.get(name, ([], float("-inf")))
        return bool(held) and (now - at >= self._interval_seconds or held != said)

    def _hear(self, runner: Runner, held: list[Held], answer: object) -> None:
        if isinstance(answer, QueueError):
            self._failed(answer)
            return
        if self._away:
            self._back()
        cancelled = answer.cancel if isinstance(answer, Ack) else UNSET
        for each in held:
            if cancelled is not UNSET and each.task_id in cancelled:
                runner.cancel(each)
        self._quietly(runner.asker.reserve_once)

    def _failed(self, error: QueueError) -> None:
        if not self._away:
            log.warning("no answer to a heartbeat; what runs goes on: %s", error.message)
        self._away = True

    def _back(self) -> None:
        """Every runner says again what it holds, and what waited is offered."""
        log.info("the manager answers again")
        self._away = False
        for each in self._runners:
            self._quietly(each.asker.announce)
        self._courier.hurry()

    def _quietly(self, ask: Callable[[Client], None]) -> None:
        """A question that can wait: the next heartbeat will find out what is wrong."""
        with contextlib.suppress(QueueError):
            ask(self._client)
