"""Loss of power: what no fsync made durable is there, or not, or a part of it.

A `Platter` notes what is on stable storage: the content of a file when it was last synced, the
names in a folder when that was last synced.  `after_power_loss` says what a machine finds when
the power is back; the policies are what a filesystem may have written by itself meanwhile.
SQLite is taken at its word here: what it has committed is durable, with the names of its files;
that this is so is seen on a real filesystem that forgets (`forgetful.py`).  A database that we
copied, moved or put in place is a file as any other.  What is not here: when the power goes.
"""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.home import NAME

OWN: Final = ("queue.db", "manager.lock")
BUT_LOCKS: Final = ("queue.db-shm", "manager.lock")
"""Only what nobody needs after a loss of power."""
SECTOR_BYTES: Final = 512

Names = dict[str, tuple[int, bool]]
"""By name: the inode, and whether it is a folder."""

Tree = dict[str, bytes | None]
"""By path: a file's content; None for a folder."""


@dataclass
class Image:
    """The files and folders of a tree, by inode."""

    root: int
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, Names] = field(default_factory=dict)

    def copy(self) -> Image:
        return Image(self.root, dict(self.contents), dict(self.names))

    def moved(self, inodes: Mapping[int, int]) -> Image:
        """The same with other inodes, where the tree was copied."""

        def new(inode: int) -> int:
            return inodes.get(inode, -inode)

        names = {
            new(folder): {name: (new(inode), kind) for name, (inode, kind) in found.items()}
            for folder, found in self.names.items()
        }
        return Image(new(self.root), {new(k): v for k, v in self.contents.items()}, names)


Left = tuple[str, ...]
"""How the names begin that are left out."""


def image_of(root: Path, but: Left = OWN) -> Image:
    """What is there now."""
    image = Image(root.stat().st_ino)
    for folder in [root, *(each for each in root.rglob("*") if each.is_dir())]:
        names = image.names[folder.stat().st_ino] = names_in(folder, but)
        for name, (inode, is_folder) in names.items():
            if not is_folder:
                image.contents[inode] = (folder / name).read_bytes()
    return image


def names_in(folder: Path, but: Left = OWN) -> Names:
    """Files and folders; links and sockets are nothing that a result depends on."""
    found = (each for each in os.scandir(folder) if not (but and each.name.startswith(but)))
    return {
        each.name: (each.inode(), each.is_dir(follow_symlinks=False))
        for each in found
        if each.is_dir(follow_symlinks=False) or each.is_file(follow_symlinks=False)
    }


def inodes_of(old: Path, new: Path) -> dict[int, int]:
    """From the inodes of a tree to those of its copy."""
    return {
        each.stat().st_ino: (new / each.relative_to(old)).stat().st_ino
        for each in [old, *old.rglob("*")]
        if not each.name.startswith(OWN) and not each.is_symlink()
        if each.is_file() or each.is_dir()
    }


class Platter:
    """What is durable of the tree under `root`; at the beginning, all of it."""

    def __init__(self, root: Path, durable: Image | None = None, but: Left = OWN) -> None:
        self.durable = durable or image_of(root, but)
        self.but = but
        self.databases: set[int] = set()

    def note_content(self, path: Path) -> None:
        if path.is_file():
            self.durable.contents[path.stat().st_ino] = path.read_bytes()

    def note_names(self, folder: Path) -> None:
        self.durable.names[folder.stat().st_ino] = names_in(folder, self.but)

    def note_commit(self, database: Path) -> None:
        """From now on SQLite answers for the content of these files."""
        for path in (database, *(Path(f"{database}{end}") for end in ("-wal", "-journal"))):
            if path.exists() and not path.name.startswith(self.but):
                names = self.durable.names.get(path.parent.stat().st_ino, {})
                number = path.stat().st_ino
                self.durable.names[path.parent.stat().st_ino] = names | {path.name: (number, False)}
                self.databases.add(number)

    def durable_now(self, now: Image) -> Image:
        """What would be on stable storage if the power went at this moment."""
        kept = {each: now.contents[each] for each in self.databases & now.contents.keys()}
        self.durable.contents |= kept
        return self.durable.copy()


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


# --- what a filesystem may have done by itself --------------------------------------------------


def no_new_names(durable: Names, _now: Names) -> Names:
    return durable


def all_names(_durable: Names, now: Names) -> Names:
    return now


def none_removed(durable: Names, now: Names) -> Names:
    return durable | now


def only_removed(durable: Names, now: Names) -> Names:
    return {name: found for name, found in durable.items() if name in now}


def no_content(durable: bytes, _now: bytes) -> bytes:
    return durable


def all_content(_durable: bytes, now: bytes) -> bytes:
    return now


def _cut(length: Callable[[int], int]) -> Callable[[bytes, bytes], bytes]:
    """Only the beginning of what was written came down; `length`: of so many bytes how many."""

    def cut(durable: bytes, now: bytes) -> bytes:
        if not now.startswith(durable):
            return durable
        return now[: len(durable) + length(len(now) - len(durable))]

    return cut


def _sectors(written: int) -> int:
    return written // SECTOR_BYTES * SECTOR_BYTES


def zeros(durable: bytes, now: bytes) -> bytes:
    """The length came down and the content did not."""
    return durable.ljust(len(now), b"\0") if now.startswith(durable) else durable


def later_blocks(durable: bytes, now: bytes) -> bytes:
    """Of what was written the second half came down and the first did not."""
    if not now.startswith(durable):
        return durable
    middle = (len(durable) + len(now)) // 2
    return durable.ljust(middle, b"\0") + now[middle:]


def any_sectors(durable: bytes, now: bytes) -> bytes:
    """Of what was written every sector came down or did not, as chance would have it."""
    size = max(len(durable), len(now))
    old, new = durable.ljust(size, b"\0"), now.ljust(size, b"\0")
    chance = random.Random(zlib.crc32(now))
    sectors = (
        (old, new)[chance.randrange(2)][at : at + SECTOR_BYTES]
        for at in range(0, size, SECTOR_BYTES)
    )
    return now if durable == now else b"".join(sectors)


POLICIES: Final = {
    "nothing unsynced": (no_new_names, no_content),
    "names without content": (all_names, no_content),
    "content without names": (no_new_names, all_content),
    "nothing that was removed is gone": (none_removed, all_content),
    "removed, but nothing new": (only_removed, all_content),
    "a write cut after its first byte": (all_names, _cut(lambda written: min(1, written))),
    "a write cut in the middle": (all_names, _cut(lambda written: written // 2)),
    "a write cut at a sector": (all_names, _cut(_sectors)),
    "a write without its last byte": (all_names, _cut(lambda written: max(0, written - 1))),
    "zeros where a write was": (all_names, zeros),
    "later blocks without the earlier": (all_names, later_blocks),
    "any sectors": (all_names, any_sectors),
    "old names, and a write cut in the middle": (none_removed, _cut(lambda written: written // 2)),
}


def after_power_loss(durable: Image, now: Image, policy: str) -> Tree:
    """The tree that is found when the power is back."""
    names, content = POLICIES[policy]
    tree: Tree = {}

    def walk(inode: int, at: str) -> None:
        found = names(durable.names.get(inode, {}), now.names.get(inode, {}))
        for name, (number, is_folder) in found.items():
            if is_folder:
                tree[f"{at}{name}"] = None
                walk(number, f"{at}{name}/")
            else:
                old = durable.contents.get(number, b"")
                tree[f"{at}{name}"] = content(old, now.contents.get(number, old))

    walk(now.root, "")
    return tree


def make(root: Path, tree: Tree, but: Left = OWN) -> None:
    """Brings the folder to that tree; what is as it should be is left alone."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if (but and path.name.startswith(but)) or path.is_symlink() or not path.exists():
            continue
        if path.is_dir():
            if name not in tree:
                shutil.rmtree(path)
        elif tree.get(name) is None or not path.is_file() or path.read_bytes() != tree[name]:
            path.unlink()
    for name, data in sorted(tree.items()):
        path = root / name
        if data is None:
            path.mkdir(0o700 if path.name == NAME else 0o755, exist_ok=True)
        elif not path.exists():
            path.touch(0o600 if NAME in path.parts else 0o644)
            path.write_bytes(data)
