"""`work`: a worker, that is one runner per device and slot, each with a warm child.

Promises: begins with what earlier workers of this host left undelivered; a SIGTERM or
Ctrl-C stops the children, hands back what they ran and ends; a second one ends at once,
the children with it.  SIGUSR1 announces that the machine will be taken away: the children
are told and have the time that they need, until a SIGTERM follows.  Exit status: 0 when
every task is finished or the time limit is over, 1 when a runner broke or something could
not be delivered, 128 + the signal when it was stopped.
What is not here: the database; torch.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Literal

from sqlqueue.errors import EXIT_DONE, EXIT_FAILED, QueueError, UsageError
from sqlqueue.home import Home
from sqlqueue.protocol import LEASE_SECONDS
from sqlqueue.worker import devices, names
from sqlqueue.worker import place as places
from sqlqueue.worker.asking import Asker
from sqlqueue.worker.attempt import STOP_SIGNALS, Stop
from sqlqueue.worker.delivery import Delivery
from sqlqueue.worker.devices import Device
from sqlqueue.worker.heartbeat import Beater, Courier
from sqlqueue.worker.limit import TimeLimit
from sqlqueue.worker.names import Name
from sqlqueue.worker.outcome import COMPLETED, STOPPED, UNAVAILABLE
from sqlqueue.worker.place import Place
from sqlqueue.worker.runner import Runner

GRACE_SECONDS: Final = 5.0
LAST_WORDS_SECONDS: Final = 10.0
"""For handing back, after the grace: then the leases will tell the manager."""

LOOK_SECONDS: Final = 0.5
"""The system may hand a signal to any thread, and only the main one runs what it is for: it must
not sleep for ever."""

WORDS: Final = {COMPLETED: "completed", STOPPED: "given back", UNAVAILABLE: "could not run here"}

log = logging.getLogger("sqlqueue.worker")


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """`home`, or `address` and `token` without one.  No `gpus` and no `cpu`: what is there.

    `wait`: stay when every task is finished.  `grace_seconds`: what a child that is told to
    stop may still take.  `time_limit_seconds`: when to be over with everything.
    """

    home: Home | None = None
    address: str | None = None
    token: str | None = None
    gpus: Sequence[int] | Literal["all"] = ()
    cpu: bool = False
    slots: int = 1
    require_gpu: bool = False
    wait: bool = False
    lease_seconds: float = LEASE_SECONDS
    grace_seconds: float = GRACE_SECONDS
    time_limit_seconds: float | None = None


def work(options: WorkOptions) -> int:
    """Works until every task is finished, or until it is stopped; the exit status."""
    place = _place(options)
    available = 0 if options.cpu and not options.gpus else devices.count_gpus()
    chosen = devices.choose(options.gpus, options.cpu, options.require_gpu, available)
    return Supervisor(place, [each for each in chosen for _ in range(options.slots)], options).run()


def _place(options: WorkOptions) -> Place:
    if options.slots < 1:
        raise UsageError(f"--slots {options.slots}: expected 1 or more")
    if options.address is not None:
        return places.remote(options.address, options.token)
    if options.home is None:
        raise UsageError("a worker needs a home, or --manager host:port")
    return places.shared(options.home)


class Supervisor:
    """The runners of one process, and the threads that serve them all."""

    def __init__(self, place: Place, slots: Sequence[Device], options: WorkOptions) -> None:
        self._place = place
        self._options = options
        limit = options.time_limit_seconds
        self._limit = None if limit is None else TimeLimit(limit)
        self._stop = threading.Event()
        self._over = threading.Event()
        self._news: SimpleQueue[int | None] = SimpleQueue()
        """Numbers of signals that came, and None for each runner that ended."""
        self._delivery = Delivery(place)
        taken = (names.take(place.home.workers, each.label, place.machine) for each in slots)
        named = list(zip(taken, slots, strict=True))
        self._runners = [self._runner(name, device, len(slots)) for name, device in named]
        self._courier = Courier(place.client(), self._delivery)
        self._beater = Beater(place.client(), self._runners, options.lease_seconds, self._courier)

    def run(self) -> int:
        """The exit status."""
        self._delivery.adopt([each.name.text for each in self._runners])
        with self._signals():
            threads = [self._start(each) for each in self._runners]
            for serve in (self._beater.run, self._courier.run):
                threading.Thread(target=serve, args=(self._over,), daemon=True).start()
            stopped_by = self._wait(len(threads))
        self._finish()
        self._sum_up()
        return self._status() if stopped_by is None else 128 + stopped_by

    def _runner(self, name: Name, device: Device, runners: int) -> Runner:
        asker = Asker(
            self._place, self._delivery, name, device, self._stop,
            wait=self._options.wait, lease_seconds=self._options.lease_seconds,
            limit=self._limit,
        )  # fmt: skip
        environment = devices.child_environment(device, runners)
        grace_seconds = self._options.grace_seconds
        return Runner(name, device, self._place, asker, environment, grace_seconds)

    def _start(self, runner: Runner) -> threading.Thread:
        """The thread starts the runner's children, and they die with it: it lives as long."""

        def target() -> None:
            runner.run()
            self._news.put(None)

        thread = threading.Thread(target=target, name=runner.name.label, daemon=True)
        thread.start()
        return thread

    # --- ending -----------------------------------------------------------------------

    def _wait(self, running: int) -> int | None:
        """Until all runners have ended; the signal that stopped them, if one did."""
        while running:
            with contextlib.suppress(Empty):
                news = self._news.get(timeout=LOOK_SECONDS)
                if news is not None:
                    self._stop_all(self._stop_for(news), running)
                    return news
                running -= 1
            if running and (over := self._limit_over()) is not None:
                self._stop_all(over, running)
                return None
        return None

    def _limit_over(self) -> Stop | None:
        """How to stop because the time limit is over, if it is."""
        if self._limit is None or self._limit.left_seconds():
            return None
        log.warning("the time limit is over: stopping, what runs is given back")
        return Stop("the worker's time limit", self._limit.grace_seconds)

    def _stop_for(self, number: int) -> Stop:
        """What a signal means for what runs."""
        name = signal.Signals(number).name
        if number == signal.SIGUSR1:
            log.warning("%s: what runs may save its state and is given back; SIGTERM hurries", name)
            return Stop(f"preempted ({name})", math.inf)
        log.warning("%s: stopping; once more ends at once", name)
        return Stop(f"the worker stops ({name})")

    def _stop_all(self, stop: Stop, running: int) -> None:
        """Runners give back what they run; those that only wait for work are left waiting.

        A signal hurries whoever has more time than usual; the next one ends all at once.
        """
        self._stop.set()
        deadline, hurried = self._tell(stop), stop.grace_seconds is None
        announced = deadline == math.inf  # then the time limit ends it, if nothing else does
        while running > self._polling() and (left := deadline - time.monotonic()) > 0:
            if announced and not hurried and (over := self._limit_over()) is not None:
                deadline, announced = self._tell(over), False
            with contextlib.suppress(Empty):
                news = self._news.get(timeout=min(left, 0.1))
                if news is None:
                    running -= 1
                elif news != signal.SIGUSR1:
                    if hurried:
                        os._exit(128 + news)  # the guards end the children
                    deadline, hurried = self._tell(self._stop_for(news)), True

    def _tell(self, stop: Stop) -> float:
        """Tells every runner; by when they are to be over."""
        for each in self._runners:
            each.stop(stop)
        usual, own = self._options.grace_seconds, stop.grace_seconds
        return time.monotonic() + (usual if own is None else own) + LAST_WORDS_SECONDS

    def _polling(self) -> int:
        return sum(each.asker.polling for each in self._runners)

    def _finish(self) -> None:
        """The last words: what is undelivered, and that nothing else is held."""
        self._over.set()
        self._delivery.grew.set()
        with self._place.client(LAST_WORDS_SECONDS) as client, contextlib.suppress(QueueError):
            self._delivery.flush(client)
            for each in self._runners:
                if each.asker.polling:
                    client.announce(each.asker.announcement())
        for each in self._runners:
            each.name.release()

    def _sum_up(self) -> None:
        """What became of the attempts of this worker."""
        endings: Counter[str] = Counter()
        for each in self._runners:
            endings.update(each.endings)
        told = ", ".join(f"{count} {WORDS.get(how, how)}" for how, count in endings.items())
        failed = not endings.keys() <= {COMPLETED, STOPPED}
        why = "; `sqlqueue failures` tells why" if failed else ""
        log.info("Ended: %s", f"{told}{why}" if told else "nothing was run")

    def _status(self) -> int:
        left = self._delivery.count()
        if left:
            log.error("%d reports could not be delivered; the next `sqlqueue work` tries", left)
        return max(
            [EXIT_FAILED if left else EXIT_DONE, *(each.exit_status for each in self._runners)]
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals become news; only the main thread may ask for that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            signal.signal(number, lambda caught, _: self._news.put(caught))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
