"""How a command reaches the queue: the running manager, or the database itself.

Promises: while a manager runs, everything goes through it; with none, whoever changes the
queue holds the home's lock; whoever only looks changes nothing and takes no lock.  The
database is imported only when no manager answers.  What is not here: what is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeVar

from sqlqueue.disk import Disk
from sqlqueue.errors import ManagerRunning, ManagerStopping, ManagerUnreachable, QueueError
from sqlqueue.filesystems import on_network
from sqlqueue.holder import silent_manager
from sqlqueue.home import Home
from sqlqueue.protocol import (
    DescribeExperiments,
    ExperimentMemory,
    ExperimentsReply,
    Message,
    Reply,
    Request,
)
from sqlqueue.worker.client import Client

Ask = Callable[[Request], Reply]
Notice = Callable[[str], None]

LOOK_SECONDS: Final = 10.0
"""How long a command that only looks waits for the manager's answer."""
STATUS_SECONDS: Final = 30.0
"""The same for the figures: of a million tasks they take a while."""
CHANGE_SECONDS: Final = 600.0
"""How long a change may take: a batch may deliver many rows."""
PATIENCE_SECONDS: Final = 30.0
"""How long to wait for another command that has the queue to itself."""
RETRY_SECONDS: Final = 0.1


def manager_answers(home: Home) -> bool:
    """Whether a manager runs and takes connections."""
    if home.manager() is None:
        return False
    with Client(home, timeout_seconds=LOOK_SECONDS) as client:
        try:
            client.connect()
        except ManagerUnreachable:
            return False
    return True


def figures(home: Home) -> dict[str, Any]:
    """The figures of `status`, from the manager or else from the database.  Read-only."""
    home.queue_id()
    return _figures_asked(home) or _figures_read(home)


def _figures_asked(home: Home) -> dict[str, Any] | None:
    """None when there is no manager; raises `ManagerUnreachable` when there is one and it is
    silent: what the database says by itself would then be said in its place, or hang as it does.
    """
    if not manager_answers(home):
        return None
    began = time.monotonic()
    with Client(home, timeout_seconds=STATUS_SECONDS) as client:
        try:
            return client.status()
        except ManagerUnreachable:
            if time.monotonic() - began >= STATUS_SECONDS:
                raise
            return None


def _figures_read(home: Home) -> dict[str, Any]:
    from sqlqueue.store.summary import offline_status

    found = offline_status(home, gone=_gone_from(home))
    if (manager := silent_manager(home)) is not None:
        found["manager"] |= {
            "running": True,
            "pid": manager.pid,
            "host": manager.hostname,
            "started_at": manager.since,
        }
    return found


def _gone_from(home: Home) -> Callable[[str, str], bool]:
    """Tells by name and host which workers have ended: of this host and home, by their locks."""
    from sqlqueue.worker import names

    here = "" if on_network(home.path) else names.host()
    return lambda name, host: bool(here) and host == here and names.is_left(home.workers, name)


def ask_running(home: Home, request: Request) -> Reply | None:
    """What the manager answers, however long it takes; None when none is there."""
    if home.manager() is None:
        return None
    with Client(home, timeout_seconds=CHANGE_SECONDS) as client:
        try:
            return client.request(request)
        except ManagerUnreachable:
            return None


Kind = TypeVar("Kind", bound=Message)


def expect(reply: Reply, kind: type[Kind]) -> Kind:
    """The reply, which must be of that kind."""
    if not isinstance(reply, kind):
        raise QueueError(
            f"the manager answered with {type(reply).__name__}: is it of this version?"
        )
    return reply


def recall(ask: Ask, names: Sequence[str]) -> list[ExperimentMemory]:
    """What the home remembers of those experiments that it saw before; with no names, of all."""
    reply = ask(DescribeExperiments(names=list(names)))
    return reply.experiments if isinstance(reply, ExperimentsReply) else []


def recall_looking(home: Home, names: Sequence[str]) -> list[ExperimentMemory]:
    """The same without changing anything; a home that is not there remembers nothing."""
    if manager_answers(home):
        with Client(home, timeout_seconds=LOOK_SECONDS) as client:
            return recall(client.request, names)
    return _recalled(home, names) if home.database.exists() else []


def _recalled(home: Home, names: Sequence[str]) -> list[ExperimentMemory]:
    from sqlqueue.store import engine, memory

    with engine.Reader(home) as reader:
        return reader.read(lambda connection: memory.recall(connection, names))


@contextmanager
def owner(home: Home, notice: Notice, disk: Disk | None = None) -> Iterator[Owner]:
    """Asks the manager; with none, does what is asked itself, under the home's lock.

    Waits for another command that holds the lock and says so; raises `ManagerRunning`
    when that takes longer than `PATIENCE_SECONDS`.  A manager that leaves in between is
    replaced by whoever has the queue then: what was asked may be asked again.
    """
    with ExitStack() as stack:
        yield Owner(home, stack, notice, disk)


class Owner:
    """Asks whoever has the queue."""

    def __init__(self, home: Home, stack: ExitStack, notice: Notice, disk: Disk | None) -> None:
        self._home = home
        self._stack = stack
        self._notice = notice
        self._disk = disk
        self.is_alone = False
        """Whether that is this command, so that nobody waits while it does much at once."""
        self._ask = self._reached()

    def __call__(self, request: Request) -> Reply:
        try:
            return self._ask(request)
        except (ManagerUnreachable, ManagerStopping):
            self._ask = self._reached()
            return self._ask(request)

    def _reached(self) -> Ask:
        for _ in _patiently(self._notice):
            if manager_answers(self._home):
                client = Client(self._home, timeout_seconds=CHANGE_SECONDS)
                return self._stack.enter_context(client).request
            try:
                return self._alone()
            except ManagerRunning:
                continue
        return self._alone()

    def _alone(self) -> Ask:
        from sqlqueue.manager.local import open_local

        local = self._stack.enter_context(open_local(self._home, self._disk))
        self.is_alone = True
        return local.request


def _patiently(notice: Notice) -> Iterator[None]:
    """Once at once; then, after a notice, again and again until patience ends."""
    yield
    notice("another command is changing this queue: waiting for it to finish")
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(RETRY_SECONDS)
        yield
