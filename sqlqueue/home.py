"""The home folder: where everything of one queue lies.

Promises: the folder is private (0700) from its first instant; names only, no content
except the two small JSON files that say where a manager is and which queue this is.
What is not here: secrets and certificates (`keys.py`), the database (`store/`).
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlqueue.disk import Disk
from sqlqueue.errors import HomeError

NAME = ".sqlqueue"
VARIABLE = "SQLQUEUE_HOME"
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

    @property
    def database(self) -> Path:
        return self.path / "queue.db"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one process that may write: a manager, or a lone command."""
        return self.path / "manager.lock"

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

    def create(self, disk: Disk | None = None) -> str:
        """Makes the home if it is not there; returns the queue's id.  Idempotent."""
        disk = disk or Disk()
        try:
            self.path.mkdir(mode=0o700, parents=False, exist_ok=True)
        except FileNotFoundError:
            raise HomeError(f"{self.root}: no such folder to put the home in") from None
        except FileExistsError:
            raise HomeError(f"{self.path}: is a file; name a folder with --home") from None
        for folder in (self.logs, self.attempts, self.checkpoints, self.salvage,
                       self.unsubmitted, self.workers):  # fmt: skip
            folder.mkdir(mode=0o700, exist_ok=True)
        disk.fsync_dir(self.root)
        if not self.identity_file.exists():
            identity = {"format": 1, "queue": uuid.uuid4().hex}
            data = (json.dumps(identity) + "\n").encode()
            disk.write_beside(self.identity_file, data, 0o600)
        return self.queue_id()

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
        """What the running manager wrote of itself, or None when there is none."""
        try:
            found = json.loads(self.manager_file.read_text())
        except (FileNotFoundError, ValueError):
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
