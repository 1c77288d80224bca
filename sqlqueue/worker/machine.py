"""Which machine this is, for names that no other machine may have: `7c1e09ab`.

A host name says too little: cloned disks, containers and `localhost` bear the same.  So a mark is
a digest of a random id that is kept in a folder, of the boot, and of the process namespace.
Promises: the same for every process of this machine that uses the folder, until it boots anew;
another for a copy of the folder on another machine or in another container.  What is not here:
the names that are made with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import uuid
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk

FILE: Final = "machine.id"
MARK_CHARACTERS: Final = 8
_ID_BYTES: Final = 32
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_CONTAINER: Final = Path("/proc/self/ns/pid")
"""Containers of one host, made from one image, differ in nothing else."""

log = logging.getLogger("sqlqueue.worker")


def mark(folder: Path, disk: Disk | None = None) -> str:
    """That of this machine and that folder; one of this process alone where none can be kept."""
    try:
        kept = _kept(folder / FILE, disk or Disk())
    except OSError as error:
        log.warning("%s: no id of this machine can be kept (%s)", folder, error)
        kept = uuid.uuid4().hex.encode()
    known = b"\n".join((kept, _boot(), _container()))
    return hashlib.sha256(known).hexdigest()[:MARK_CHARACTERS]


def _kept(path: Path, disk: Disk) -> bytes:
    """The id in the file.  Whoever comes first makes it, the others wait for that."""
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        found = os.pread(fd, _ID_BYTES, 0)
        if len(found) < _ID_BYTES:  # new, or its maker died
            found = uuid.uuid4().hex.encode()
            disk.truncate(fd, 0)
            disk.append(fd, found)
            disk.fsync(fd)
        return found
    finally:
        os.close(fd)


def _boot() -> bytes:
    """Nothing where the system has no such id."""
    try:
        return _BOOT.read_bytes()
    except OSError:
        return b""


def _container() -> bytes:
    try:
        return bytes(_CONTAINER.readlink())
    except OSError:
        return b""
