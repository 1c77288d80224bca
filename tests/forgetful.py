"""A disk that forgets: a real filesystem, mounted, whose power can be cut at any moment.

`forgetful.c` is a FUSE layer over a folder in memory that notes what each sync makes durable.
`cut` kills it in the midst of whatever it was doing; `power_on` brings back what was durable,
and of the rest what the policy says (`power.POLICIES`): the database is no exception.
`local`: the kernel takes it for a disk of this machine, so that SQLite keeps its log in shared
memory; otherwise it is a filesystem that hosts may share.  `restart(lie=)`: from now on syncs of
what has such a name are answered and not done.  `fail`: calls that fail until the disk is
`heal`ed; what a sync that failed was to make durable is forgotten, and the next one says that
all is well, as Linux has it.  What is not here: who works on it, and what must hold.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crash_proof import MEMORY
from needs import need
from power import POLICIES, Image, Names, after_power_loss, image_of, make
from small_disks import command, unmount

from support import wait_until

SOURCE: Final = Path(__file__).with_suffix(".c")
NOTHING: Final = ""
"""No name fits."""
DEVICE_BYTES: Final = 1 << 20
FAULT: Final = struct.Struct("16s40siiii")
"""As `forgetful.c` declares it: call, names, error, after, left, met."""
LEFT: Final = struct.Struct("i")
LEFT_AT: Final = struct.calcsize("16s40sii")
MOST_FAULTS: Final = 8
ALWAYS: Final = -1


@contextmanager
def forgetful_disk(place: Path, *, local: bool = False, sockets: bool = True) -> Iterator[Disk]:
    """A disk with power, mounted at `place`; everything of it is gone when the `with` ends.

    `sockets`: whether a Unix socket can be made on it.
    """
    base = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base, prefix="sqlqueue-disk-") as folder:
        disk = Disk(place, Path(folder), compiled(Path(folder), sockets), local)
        try:
            disk.power_on()
            yield disk
        finally:
            disk.end()


def compiled(folder: Path, sockets: bool = True) -> Path:
    """The layer as a program; skips the test where it cannot be made or mounted."""
    need(os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK), "root and /dev/fuse, to mount")
    need(shutil.which("cc") is not None, "a C compiler (`cc`)")
    ask = ["pkg-config", "--cflags", "--libs", "fuse3"]
    flags = subprocess.run(ask, capture_output=True, text=True, check=False)
    need(flags.returncode == 0, "pkg-config and the headers of FUSE (libfuse3-dev)")
    without = [] if sockets else ["-DNO_SOCKETS"]
    command("cc", "-O2", *without, "-o", folder / "forgetful", SOURCE, *flags.stdout.split())
    return folder / "forgetful"


@dataclass
class Disk:
    """`folder` holds what lies under the mount (`now`), and what is durable of it."""

    place: Path
    folder: Path
    program: Path
    local: bool = False
    lie: str = NOTHING
    cuts: int = 0
    _layer: subprocess.Popen[bytes] | None = None
    _device: str = ""
    _before: Image = field(default_factory=lambda: Image(0))
    _faults: int = 0

    def __post_init__(self) -> None:
        with (self.folder / "faults").open("w+b") as file:
            file.truncate(MOST_FAULTS * FAULT.size)
            self._ails = mmap.mmap(file.fileno(), 0)

    @property
    def now(self) -> Path:
        return self.folder / "now"

    @property
    def durable(self) -> Path:
        return self.folder / "durable"

    def power_on(self, policy: str = "") -> bool:
        """Mounts what a loss of power left, by that policy; whether something was forgotten."""
        forgot = bool(policy) and self._forget(policy)
        self.now.mkdir(exist_ok=True)
        shutil.rmtree(self.durable, ignore_errors=True)
        self.durable.mkdir()
        self._before = image_of(self.now, ())
        for inode, content in self._before.contents.items():
            (self.durable / f"{inode}.data").write_bytes(content)
        self._mount()
        return forgot

    def fail(
        self, call: str, names: str = "*", error: int = errno.EIO, times: int = ALWAYS,
        after: int = 0,
    ) -> None:  # fmt: skip
        """From now on those calls on what has such a name fail, always or so often.

        Patterns: `write`, `fsync`, `open`, `create` (folders too), `rename` (of the new name; and
        further names), `unlink`, `truncate`, `read`; names of folders have a slash after them.
        `after`: so many are done first.
        """
        assert self._faults < MOST_FAULTS
        place = self._faults * FAULT.size
        FAULT.pack_into(self._ails, place, call.encode(), names.encode(), error, after, 0, 0)
        LEFT.pack_into(self._ails, place + LEFT_AT, times)  # it holds from here on
        self._faults += 1

    def met(self) -> int:
        """How many calls have failed since the disk was healed."""
        places = range(0, self._faults * FAULT.size, FAULT.size)
        return sum(int(FAULT.unpack_from(self._ails, each)[-1]) for each in places)

    def heal(self) -> int:
        """Nothing fails any more; returns how many calls have."""
        met = self.met()
        for number in range(self._faults):
            LEFT.pack_into(self._ails, number * FAULT.size + LEFT_AT, 0)
        self._faults = 0
        return met

    def cut(self) -> None:
        """From here on not one more call is done."""
        if self._layer is not None:
            self._layer.kill()
            self._layer.wait()
            self._layer = None
            self.cuts += 1

    def leave(self) -> None:
        """Takes the place of the mount away, once nobody holds it."""
        wait_until(self._unmounted, 20.0, f"nobody in {self.place}")
        if self._device:
            subprocess.run(["losetup", "-d", self._device], capture_output=True, check=False)
            self._device = ""

    def restart(self, *, lie: str = NOTHING) -> None:
        """The machine goes down in good order, with nobody at work, and comes back."""
        self.leave()
        if self._layer is not None:
            self._layer.wait()
        self.lie = lie
        self.power_on()

    def end(self) -> None:
        self.cut()
        unmount(self.place)
        self.leave()

    def _unmounted(self) -> bool:
        subprocess.run(["umount", self.place], capture_output=True, check=False)
        return str(self.place) not in Path("/proc/self/mounts").read_text()

    def _mount(self) -> None:
        options = "allow_other,default_permissions,fsname=forgetful"
        if self.local:
            self._device = self._a_device()
            options = f"allow_other,default_permissions,blkdev,fsname={self._device}"
        self.place.mkdir(parents=True, exist_ok=True)
        words = [self.program, self.now, self.durable, self.lie, self.folder / "faults"]
        words += ["-f", "-o", options, self.place]
        self._layer = subprocess.Popen(list(map(str, words)))
        wait_until(self.place.is_mount, 10.0, f"{self.place} being mounted")

    def _a_device(self) -> str:
        """The kernel wants one for a disk of this machine; nothing is ever read from it."""
        with (self.folder / "device").open("wb") as file:
            file.truncate(DEVICE_BYTES)
        ask = ["losetup", "--find", "--show", str(self.folder / "device")]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        need(done.returncode == 0, "a loop device")
        return done.stdout.strip()

    def _forget(self, policy: str) -> bool:
        now, durable = image_of(self.now, ()), self._before
        for note in self.durable.glob("*.data"):
            durable.contents[int(note.stem)] = note.read_bytes()
        for note in self.durable.glob("*.names"):
            durable.names[int(note.stem)] = _names(note.read_bytes())
        assert set(POLICIES) >= {policy}
        tree = after_power_loss(durable, now, policy)
        there = after_power_loss(now, now, policy)
        make(self.now, tree, ())
        return tree != there


def _names(note: bytes) -> Names:
    """The names in a folder, as `forgetful.c` writes them."""
    found = (each.decode().split(" ", 2) for each in note.split(b"\0")[:-1])
    return {
        name: (int(inode), kind == "d")
        for inode, kind, name in found
        if kind in "df" and name not in (".", "..")
    }
