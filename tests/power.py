"""Loss of power: what no fsync made durable is gone.

A `Platter` notes, beside the queue, what is on stable storage: the content of a file when it
was last synced, the names in a folder when that was last synced.  `lose` makes the tree what a
machine finds when the power is back.  SQLite's own files are taken at their word: it syncs
what it commits.  What is not here: when the power goes (`faults.py`).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk

OWN: Final = ("queue.db", "manager.lock")
POLICIES: Final = ("nothing unsynced", "names without content")
"""What a filesystem may have written by itself: nothing; or every name, but no content."""

Tree = dict[str, Path | None]
"""By path: the note that has a file's content and mode; None for a folder."""


class Platter:
    """What is durable of the tree under `root`; itself a folder, so that it survives a death."""

    def __init__(self, root: Path, notes: Path) -> None:
        self.root = root
        self.notes = notes

    def begin(self) -> None:
        """Everything that is there now is durable."""
        shutil.rmtree(self.notes, ignore_errors=True)
        self.notes.mkdir()
        for folder, _, names in os.walk(self.root):
            self.note_names(Path(folder))
            for name in names:
                if not name.startswith(OWN):
                    self.note_content(Path(folder) / name)

    def note_content(self, path: Path) -> None:
        if path.is_file():
            shutil.copy(path, self._content(path.stat().st_ino))

    def note_names(self, folder: Path) -> None:
        names = {
            entry.name: (entry.inode(), entry.is_dir(follow_symlinks=False))
            for entry in os.scandir(folder)
            if not entry.name.startswith(OWN)
        }
        (self.notes / f"names-{folder.stat().st_ino}").write_text(json.dumps(names))

    def lose(self, policy: str) -> None:
        """The power was lost: the tree is what was durable."""
        tree: Tree = {}
        if policy == POLICIES[0]:
            self._durable(self.root.stat().st_ino, "", tree)
        else:
            self._named(tree)
        _make(self.root, tree)

    def _durable(self, inode: int, at: str, tree: Tree) -> None:
        notes = self.notes / f"names-{inode}"
        names = json.loads(notes.read_text()) if notes.exists() else {}
        for name, (number, is_folder) in names.items():
            path = f"{at}{name}"
            tree[path] = None if is_folder else self._content(number)
            if is_folder:
                self._durable(number, f"{path}/", tree)

    def _named(self, tree: Tree) -> None:
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if path.is_dir():
                tree[name] = None
            elif not path.name.startswith(OWN):
                tree[name] = self._content(path.stat().st_ino)

    def _content(self, inode: int) -> Path:
        return self.notes / f"content-{inode}"


def _make(root: Path, tree: Tree) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            if name not in tree:
                shutil.rmtree(path)
        elif not path.name.startswith(OWN):
            path.unlink()
    for name, note in sorted(tree.items()):
        if note is None:
            (root / name).mkdir(exist_ok=True)
        elif note.exists():
            shutil.copy(note, root / name)
        else:
            (root / name).touch(mode=0o600)


class NotingDisk(Disk):
    """Real disk calls; what they make durable is noted on a platter."""

    def __init__(self, platter: Platter) -> None:
        self.platter = platter

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.platter.note_content(Path(f"/proc/self/fd/{fd}").readlink())

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        self.platter.note_names(path)


class NoSyncOfCsv(NotingDisk):
    """Broken on purpose: appended rows are not synced."""

    def fsync(self, fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name != "final_results.csv":
            super().fsync(fd)


class NoSyncOfNames(NotingDisk):
    """Broken on purpose: no name is made durable."""

    def fsync_dir(self, path: Path) -> None:
        """Forgotten."""


class NoSyncOfNewFiles(NotingDisk):
    """Broken on purpose: a file takes its name before its content is durable."""

    def fsync(self, fd: int) -> None:
        if not Path(f"/proc/self/fd/{fd}").readlink().name.startswith("."):
            super().fsync(fd)
