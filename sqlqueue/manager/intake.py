"""Results that workers left as files: taken in when the manager starts and now and then.

Looks into `unsubmitted/` of every output directory and of the home.  A file is removed only
after its result is durable, and only while it still is what was taken in.  What is not here:
what such a file may be (`unsubmitted.py`), and what a result does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sqlqueue import unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.protocol import Ack, Error, Reply, SubmitResult
from sqlqueue.store.lanes import Lanes

PAUSE_SECONDS: Final = 15.0
HOPELESS_SECONDS: Final = 600.0
MOST_FILES: Final = 200
"""Taken in at once; the rest at the next look."""

log = logging.getLogger("sqlqueue.manager")


@dataclass(frozen=True, slots=True)
class _File:
    """Stands where a client's job has its connection."""

    path: Path
    result: SubmitResult


class Intake:
    """Knows when to look again and which files cannot be taken in."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Callable[[], float],
        disk: Disk | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self._home = home
        self._clock = clock
        self._next_look: float | None = None
        self._disk = disk or Disk()
        self._lanes = lanes or Lanes()
        self._hopeless: dict[Path, float] = {}

    def jobs(self, committer: Committer) -> list[Job]:
        """A submission for each file found, when it is time to look."""
        now = self._clock()
        if self._next_look is not None and now < self._next_look:
            return []
        self._next_look = now + PAUSE_SECONDS
        folders = [self._home.unsubmitted]
        folders += [folder / unsubmitted.FOLDER for folder in committer.folders()]
        calls = {
            each: partial(_scan, each, self._reject) for each in folders if not self._stuck(each)
        }
        found = [
            file
            for files in self._lanes.run(calls).values()
            if isinstance(files, list)
            for file in files
        ]
        fresh = [file for file in found if self._hopeless.get(file.path, now) <= now][:MOST_FILES]
        return [Job(file.result, "worker", file) for file in fresh]

    def _stuck(self, folder: Path) -> bool:
        return self._lanes.stuck(folder)

    def _reject(self, path: Path, reason: str) -> None:
        """Told once; tried again later, since its task may be added or the file replaced."""
        if path not in self._hopeless:
            log.warning("%s is left where it is: %s", path, reason)
        self._hopeless[path] = self._clock() + HOPELESS_SECONDS

    @staticmethod
    def sort(
        answers: list[tuple[Job, Reply]],
    ) -> tuple[list[tuple[Job, Reply]], list[tuple[Job, Reply]]]:
        """Answers to files, and answers to clients."""
        mine = [each for each in answers if isinstance(each[0].answer, _File)]
        theirs = [each for each in answers if not isinstance(each[0].answer, _File)]
        return mine, theirs

    def settle(self, answers: list[tuple[Job, Reply]]) -> None:
        """Removes the files whose result is durable now; waits for no folder that hangs."""
        done: dict[Path, list[_File]] = {}
        for job, reply in answers:
            file: _File = job.answer
            if isinstance(reply, Ack):
                done.setdefault(file.path.parent, []).append(file)
            elif isinstance(reply, Error) and not reply.retryable:
                self._reject(file.path, reply.message)
        self._lanes.run({folder: partial(self._remove, files) for folder, files in done.items()})

    def _remove(self, files: list[_File]) -> None:
        for each in files:
            if unsubmitted.remove(each.path, each.result, self._disk):
                log.info("Took in %s", each.path)


def _scan(folder: Path, reject: Callable[[Path, str], None]) -> list[_File]:
    """The results in one folder that name their task by signature."""
    found = []
    for path, result in unsubmitted.scan(folder, rejected=reject):
        if result.signature is None:
            reject(path, "it does not name its task by signature")
        else:
            found.append(_File(path, result))
    return found
