"""Which filesystem a folder lies on, and whether hosts may share it.

Promises: a filesystem that is not known for a local one by its name, but served by another
host or by a process (FUSE), counts as shared: there locks and shared memory are not to be
relied upon.  What is not here: what follows from that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mounts")
NETWORK_FILESYSTEMS: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "kafs", "coda", "ceph", "lustre",
     "gpfs", "beegfs", "glusterfs", "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "davfs",
     "ncpfs", "orangefs", "pvfs2", "panfs", "wekafs", "cvfs", "acfs", "gfs2", "ocfs2")
)  # fmt: skip
FUSE: Final = "fuse"
LOCAL_FUSE: Final = frozenset(("fuseblk",))
"""Served by a process, but from a disk of this machine."""


def filesystem(path: Path) -> str:
    """The type of the filesystem that holds `path`, as Linux names it; empty if unknown."""
    found, longest = "", -1
    try:
        mounts = MOUNTS.read_bytes()
    except OSError:
        return found
    target = path.resolve()
    for each in mounts.splitlines():
        _, point, kind, *_ = each.split(b" ")
        folder = os.fsdecode(_plain(point))
        if target.is_relative_to(folder) and len(folder) >= longest:
            found, longest = os.fsdecode(kind), len(folder)
    return found


def _plain(point: bytes) -> bytes:
    """A mount point without its escapes: a space stands there as an octal number."""
    return point.decode("unicode_escape").encode("latin-1")


def on_network(path: Path) -> bool:
    """Whether `path` lies on a network or FUSE filesystem, where WAL mode is unsafe."""
    kind = filesystem(path)
    if kind in LOCAL_FUSE:
        return False
    return kind in NETWORK_FILESYSTEMS or kind.startswith(FUSE)


def read_only(path: Path) -> bool:
    """Whether it is mounted so: no permission helps there."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
