"""What the manager has yet to hear of, kept until it acks: in a file, or in memory.

Promises: a result is in a durable file from when its submission failed until its ack,
and the file is removed only after the ack; a report that can never be taken is kept and
loudly said, and does not stop the next.  A result that no disk takes stays in memory and
is offered to the disks again with each try.  Thread-safe.  What is not here: deciding when to
try again (the courier), and asking for work.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sqlqueue import unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.errors import ManagerUnreachable, ProtocolError, QueueError
from sqlqueue.home import OUTPUT_MARKER
from sqlqueue.protocol import Release, Reply, SubmitResult, TaskFailed
from sqlqueue.worker import names, outcome
from sqlqueue.worker.client import Client
from sqlqueue.worker.place import Place

SAVE_SECONDS: Final = 10.0
"""A folder on a filesystem that hangs is given up after so long.  What is done there too late does
no harm: a result that is there twice is taken in once.
"""

IN_MEMORY: Final = "this worker's memory alone: make room before you stop it"

Report = SubmitResult | TaskFailed | Release
Done = TypeVar("Done")

log = logging.getLogger("sqlqueue.worker")


@dataclass
class Undelivered:
    """A report, where it also lies as a file, and what else the attempt may have left."""

    report: Report
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    output_dir: str = ""
    """Where a result that has no file yet may get one; empty where that is not known."""

    def kept(self) -> list[Path]:
        """Where the result lies on a disk."""
        return self.files or [each for each in self.folders if (each / outcome.FILE).exists()]


class Delivery:
    """Everything undelivered of this process."""

    def __init__(self, place: Place, disk: Disk | None = None) -> None:
        self._place = place
        self._disk = disk or Disk()
        self._waiting: list[Undelivered] = []
        self._lock = threading.Lock()  # of the list; never held while talking
        self._talking = threading.Lock()
        self.grew = threading.Event()

    def count(self) -> int:
        with self._lock:
            return len(self._waiting)

    def of(self, worker_id: str) -> list[Report]:
        """The reports in a worker's name: it holds those attempts until they are acked."""
        with self._lock:
            return [each.report for each in self._waiting if each.report.worker_id == worker_id]

    def settle(
        self, report: Report, answer: Reply | QueueError, order: outcome.Order | None
    ) -> None:
        """Takes note of what the manager answered to a report just made.

        One that was not acked is saved, and put on the list if that may help.
        """
        item = Undelivered(report)
        if order is not None:
            item.folders, item.output_dir = order.folders(), order.output_dir
        if not isinstance(answer, QueueError):
            self._delivered(item)
            return
        self._save(item, _reason(answer))
        self._keep(item, answer)

    def _keep(self, item: Undelivered, error: QueueError) -> None:
        if error.retryable:
            self._add(item)
        else:
            self._refused(item, error)

    def flush(self, client: Client) -> bool:
        """Offers everything to the manager, the oldest first; says whether nothing is left."""
        with self._talking:
            for item in self._snapshot():
                self._save_late(item)
                try:
                    client.request(item.report)
                except ManagerUnreachable:
                    return False
                except QueueError as error:
                    if error.retryable:
                        continue
                    self._refused(item, error)
                else:
                    self._delivered(item)
                self._remove(item)
        return self.count() == 0

    def adopt(self, own_names: Collection[str] = ()) -> int:
        """Takes over what earlier workers of this host left; returns how much.

        `own_names`: held by this process, which has run nothing yet.
        """
        before = self.count()
        for place in self._place.attempts:
            for folder in _entries(place):
                self._adopt_attempt(folder, own_names)
        for folder in self._place.own_folders():
            for path, result in unsubmitted.scan(folder, self._place.queue, _rejected):
                self._add(Undelivered(result, [path]))
        return self.count() - before

    def _adopt_attempt(self, folder: Path, own_names: Collection[str]) -> None:
        found = outcome.read(folder)
        order = outcome.begun(folder) if found is None else found[0]
        if order is None or not self._abandoned(order, own_names):
            return
        if found is None:
            self._clear(folder)
            return
        report = outcome.message(*found)
        if report is None:
            self._clear(folder)
        else:
            self._add(Undelivered(report, folders=[folder]))

    def _abandoned(self, order: outcome.Order, own_names: Collection[str]) -> bool:
        """Of this queue and host, and nobody works under that name, or we do now."""
        if (order.queue, order.host) != (self._place.queue, names.host()):
            return False
        if order.worker_id in own_names:
            return True
        return names.is_free(self._place.home.workers, order.worker_id)

    def _save(self, item: Undelivered, why: str) -> None:
        """A result into the first folder that takes it; the attempt's own file otherwise."""
        if not isinstance(item.report, SubmitResult) or not item.output_dir:
            return
        result, queue = item.report, self._place.queue
        for folder in self._place.unsubmitted_folders(item.output_dir):
            own = folder in self._place.own_folders()
            path = within(SAVE_SECONDS, partial(self._write, folder, result, queue, own))
            if path is not None:
                log.warning("Saved locally (%s): %s", why, path)
                item.files.append(path)
                return
        kept = ", ".join(map(str, item.kept())) or IN_MEMORY
        log.error("%s: could not be saved locally; kept in %s", result.task_id, kept)

    def _write(self, folder: Path, result: SubmitResult, queue: str, own: bool) -> Path:
        """Into a folder of sqlqueue's own, or beside the rows of a directory that is there.

        One that was moved away, or is not mounted, is not made anew: what is put in its place
        would be in its way when it comes back.
        """
        if not own and not (folder.parent / OUTPUT_MARKER).exists():
            raise FileNotFoundError(errno.ENOENT, "moved away or not mounted", str(folder.parent))
        return unsubmitted.write(folder, result, queue, self._disk)

    def _save_late(self, item: Undelivered) -> None:
        """What no disk took yet is offered to the disks again: room may have been made."""
        if not item.kept():
            self._save(item, "there is room again")

    def _delivered(self, item: Undelivered) -> None:
        for path in item.files:
            if isinstance(item.report, SubmitResult):
                within(SAVE_SECONDS, partial(unsubmitted.remove, path, item.report, self._disk))
        for folder in item.folders:
            self._clear(folder)
        if item.files:
            log.info("%s: delivered what was saved locally", item.report.task_id)

    def _refused(self, item: Undelivered, error: QueueError) -> None:
        log.error("%s: the manager refuses this report: %s", item.report.task_id, error.message)
        if isinstance(item.report, SubmitResult):
            kept = ", ".join(map(str, item.kept())) or IN_MEMORY
            log.error("%s: the result is kept in %s", item.report.task_id, kept)
        if item.files or not isinstance(item.report, SubmitResult):
            for folder in item.folders:
                self._clear(folder)

    def _clear(self, folder: Path) -> None:
        """An attempt's folder that nobody needs any more; what is left of it harms nobody."""
        with contextlib.suppress(OSError):
            self._disk.remove_tree(folder)

    def _add(self, item: Undelivered) -> None:
        with self._lock:
            self._waiting.append(item)
        self.grew.set()

    def _remove(self, item: Undelivered) -> None:
        with self._lock:
            self._waiting.remove(item)

    def _snapshot(self) -> list[Undelivered]:
        with self._lock:
            return list(self._waiting)


def within(seconds: float, act: Callable[[], Done]) -> Done | None:
    """What `act` returned; None when it failed or is not back in time."""
    done: list[Done] = []

    def attempt() -> None:
        try:
            done.append(act())
        except (OSError, ProtocolError) as error:
            log.warning("cannot save locally: %s", error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return done[0] if done else None


def _reason(error: QueueError) -> str:
    unreachable = isinstance(error, ManagerUnreachable)
    return "manager unreachable" if unreachable else error.message.splitlines()[0]


def _rejected(path: Path, why: str) -> None:
    log.warning("%s: not a result that can be handed in: %s", path, why)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
