"""The home folder: where everything of one queue lies.

Promises: the folder is private (0700) from its first instant, one that was there before as
soon as it becomes a home; names only, no content except the two small JSON files that say
where a manager is and which queue this is.
What is not here: secrets and certificates (`keys.py`), the database (`store/`).
"""

from __future__ import annotations

import json
import os
import stat
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlqueue.disk import Disk
from sqlqueue.errors import HomeError
from sqlqueue.whereabouts import speaks_of

NAME = ".sqlqueue"
VARIABLE = "SQLQUEUE_HOME"
TOKEN = "SQLQUEUE_TOKEN"
"""Holds the token of a worker elsewhere; no process that a worker starts gets it."""
OUTPUT_MARKER = ".sqlqueue.json"
"""In every output directory: says which queue's it is, and that the directory is there."""


@dataclass(frozen=True)
class Home:
    """Absolute paths of everything in the home."""

    path: Path

    @property
    def root(self) -> Path:
        """The folder that holds the home: relative output directories start here."""
        return self.path.parent

    @cached_property  # looked at with every commit
    def database(self) -> Path:
        return self.path / "queue.db"

    @property
    def recovered(self) -> Path:
        """A database rebuilt by `recover`, complete, about to take the place of the other."""
        return self.path / "queue.db.recovered"

    @cached_property  # looked at with every commit
    def seal(self) -> Path:
        """Says how whoever wrote last left the database: see `store/sealing.py`."""
        return self.path / "queue.db.seal"

    @cached_property  # looked at with every commit
    def lock(self) -> Path:
        """Held (flock) by the one process that may write: a manager, or a lone command."""
        return self.path / "manager.lock"

    @property
    def turn(self) -> Path:
        """Held (flock) for as long as something is being written: see `home_lock.py`."""
        return self.path / "manager.turn"

    @property
    def manager_file(self) -> Path:
        """Says where the running manager listens; absent when none runs."""
        return self.path / "manager.json"

    @property
    def socket(self) -> Path:
        return self.path / "manager.sock"

    @property
    def identity_file(self) -> Path:
        return self.path / "queue.json"

    @property
    def logs(self) -> Path:
        """Captured output: `logs/<task_id>/<attempt>.log`."""
        return self.path / "logs"

    @property
    def attempts(self) -> Path:
        """Outcomes that children wrote: `attempts/<task_id>-<attempt>/outcome.json`."""
        return self.path / "attempts"

    @property
    def checkpoints(self) -> Path:
        """`run.directory` of each task, kept across attempts: `checkpoints/<signature>/`."""
        return self.path / "checkpoints"

    @property
    def salvage(self) -> Path:
        """Bytes that were cut from CSVs and could not be accounted for."""
        return self.path / "salvage"

    @property
    def unsubmitted(self) -> Path:
        """Results that no manager acked yet and whose own directory was not writable."""
        return self.path / "unsubmitted"

    @property
    def workers(self) -> Path:
        """One lock file per worker name in use."""
        return self.path / "workers"

    def exists(self) -> bool:
        return self.identity_file.exists()

    def create(self, disk: Disk | None = None, queue: str | None = None) -> str:
        """Makes the home if it is not there; returns the queue's id.  Idempotent.

        `queue`: the id that it gets if it has none yet, instead of a fresh one.
        """
        disk = disk or Disk()
        for folder in (self.path, self.logs, self.attempts, self.checkpoints, self.salvage,
                       self.unsubmitted, self.workers):  # fmt: skip
            self._make(folder, disk)
        self._close_to_others()
        for folder in (self.path, self.root):  # whoever made them may have died before that
            disk.fsync_dir(folder)
        if not self.identity_file.exists():
            self._identify({"format": 1, "queue": queue or uuid.uuid4().hex}, disk)
        return self.queue_id()

    def _identity(self) -> dict[str, Any]:
        found = json.loads(self.identity_file.read_text())
        return found if isinstance(found, dict) else {}

    def _identify(self, identity: dict[str, Any], disk: Disk) -> None:
        data = (json.dumps(identity) + "\n").encode()
        disk.write_beside(self.identity_file, data, 0o600)

    def note_database(self, disk: Disk) -> None:
        """From now on a database that is missing, or empty, was lost."""
        if not self.had_database():
            self._identify({**self._identity(), "database": True}, disk)

    def had_database(self) -> bool:
        """Whether a database was ever there; unknown, and False, without `queue.json`."""
        try:
            return bool(self._identity().get("database"))
        except (OSError, ValueError):
            return False

    def name_anew(self, disk: Disk) -> str:
        """Gives a copy an id that no other queue has; returns it.

        It remembers the id that came with it, also when it is named once more.
        """
        changes = {"queue": uuid.uuid4().hex, "copy_of": self.former_id() or self.queue_id()}
        self._identify({**self._identity(), **changes}, disk)
        return self.queue_id()

    def former_id(self) -> str | None:
        """The id of the queue that this one was copied from, if it was."""
        found = self._identity().get("copy_of")
        return str(found) if found is not None else None

    def _make(self, folder: Path, disk: Disk) -> None:
        try:
            if not folder.is_dir():
                disk.make_folder(folder, 0o700)
        except FileNotFoundError:
            self.refuse_without_root()
            raise HomeError(
                f"{folder}: cannot be made there; name another home with --home"
            ) from None
        except FileExistsError:
            if not folder.is_dir():  # else somebody else was faster
                raise HomeError(f"{folder}: is a file; name a folder with --home") from None

    def refuse_without_root(self) -> None:
        """Raises `HomeError` where there is no folder that the home could lie in."""
        if not self.root.is_dir():
            raise HomeError(
                f"{self.root}: no such folder to put the home in; make it, or name another "
                "with --home"
            )

    def _close_to_others(self) -> None:
        """A folder that becomes a home is made private; an owner may let others look at theirs.

        Whoever can write in the home can put other secrets there, so that is never left.
        """
        found = stat.S_IMODE(self.path.stat().st_mode)
        others = 0o022 if self.exists() else 0o077
        if found & others:
            try:
                self.path.chmod(found & ~others)
            except OSError as error:
                raise HomeError(
                    f"{self.path}: other users can get at this folder (its mode is {found:04o}) "
                    f"and that cannot be changed ({error.strerror}); name another with --home"
                ) from None

    def queue_id(self) -> str:
        """The id that marker files in output directories carry; raises `HomeError`."""
        if not self.path.is_dir():
            raise HomeError(
                f"no queue here: {self.path} does not exist; "
                "run `sqlqueue init FILES...` first, or name the home with --home"
            )
        try:
            return str(json.loads(self.identity_file.read_text())["queue"])
        except FileNotFoundError:
            raise HomeError(
                f"{self.path}: not a sqlqueue home (no queue.json in it); "
                "name the folder of a queue with --home, or run `sqlqueue init FILES...`"
            ) from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise HomeError(f"{self.identity_file}: unreadable: {error}") from None

    def manager(self) -> dict[str, Any] | None:
        """What the running manager wrote of itself, or None when there is none.

        A home that was copied has a file that speaks of the original's manager: that is none.
        """
        found = self.manager_said()
        return found if found is not None and speaks_of(found, self.path) else None

    def manager_said(self) -> dict[str, Any] | None:
        """What stands in `manager.json`, of whichever home it speaks."""
        try:
            found = json.loads(self.manager_file.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def relative(self, path: Path) -> str:
        """The path as stored: relative to the root where it lies inside, else absolute."""
        root = self.root.resolve()
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def absolute(self, stored: str) -> Path:
        """The folder that a stored path means."""
        return self.root.resolve() / stored


def find(option: Path | None) -> Home:
    """The home that `--home`, `SQLQUEUE_HOME` or the current directory names, in that order."""
    chosen = option or os.environ.get(VARIABLE) or NAME
    return Home(Path(os.path.abspath(chosen)))
